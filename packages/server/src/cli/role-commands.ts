// The commands that are processes of their own. Their words and flags are here; what they do is in roles/, which this
// folder does not know: main.ts hands the functions in.
import type { CommandContext } from './context.ts'
import type { ExitCode } from './exit-codes.ts'
import { outputFlag, timeoutFlag, yesFlag, type CommandSpec, type FlagSpec } from './spec.ts'

const certsFlags: readonly FlagSpec[] = [
  { flags: '--dir <path>', doc: 'folder of the authority; certs here by default' },
  {
    flags: '--host <name>',
    doc: 'name or address by which others reach it, besides those of this machine; may be given several times',
    many: true,
  },
  { flags: '--days <count>', doc: 'how long certificates are valid; 365 by default' },
]

/** Runs a role until it is done or stopped; `context.stop` and `context.forced` tell when. */
export type RoleRunner = (context: CommandContext) => Promise<ExitCode>

const SPECS = {
  up: {
    summary:
      'run a whole cluster on this machine: catalog, manager, router, worker and real Postgres servers',
    details:
      'Starts what the data directory holds, or a new cluster. Ctrl-C stops it; the data stays. A default port that is ' +
      'taken is replaced by the next free one; a port that was asked for is not.',
    user: 'up',
    flags: [{ flags: '-d, --detach', doc: 'start it in the background and return when it is ready' }],
    examples: [
      'up',
      'up --detach',
      'up --shards 4 --replicas 2 --data-dir ./data',
      'up --pg-bin /usr/lib/postgresql/15/bin',
    ],
  },
  down: {
    summary: 'stop the cluster that runs on the data directory',
    user: 'cli',
    flags: [timeoutFlag, { flags: '--destroy', doc: 'remove the data directory as well' }, yesFlag],
  },
  quickstart: {
    summary: 'run a cluster with a users table and 1,000 rows in it, and show what to try',
    user: 'up',
  },
  demo: {
    summary: 'show all of it on real data in a temporary directory, check every row, and stop',
    user: 'up',
    flags: [
      { flags: '--json', doc: 'print the figures as one JSON object' },
      { flags: '--cities <count>', doc: 'write only the first cities; all of them by default' },
      { flags: '--users <count>', doc: 'how many users to make; 20,000 by default' },
    ],
    examples: ['demo', 'demo --json', 'demo --shards 4 --replicas 0 --cities 10000 --users 1000'],
  },
  doctor: {
    summary: 'check this machine and the running fleet, and say what to do about what is wrong',
    user: 'cli',
    flags: [outputFlag],
  },
  'support-bundle': {
    summary: 'write what helps to find out what is wrong into one file, without secrets and rows',
    details:
      'Versions, settings, what the doctor says, topology, jobs, failovers, metrics, and the last lines of the logs. ' +
      'What cannot be read is told in manifest.json and left out. Look through it before you give it away.',
    user: 'cli',
    flags: [
      { flags: '--file <path>', doc: 'where to write it; fleetshard-support-TIME.tar.gz here by default' },
      { flags: '--lines <count>', doc: 'last lines of each log; 2,000 by default' },
    ],
    examples: ['support-bundle', 'support-bundle --file /tmp/bundle.tar.gz --lines 500'],
  },
  'certs init': {
    summary: 'make a private authority, and certificates for every process of a fleet',
    details:
      'Writes ca.crt, and for router, manager, worker, agent, postgres, etcd and client a .crt and a .key. Keys are ' +
      'readable for their owner only. An authority that is there is kept.',
    user: 'cli',
    flags: certsFlags,
    examples: ['certs init', 'certs init --dir /etc/fleetshard/certs --host db1.example --host 10.0.0.7'],
  },
  'certs issue': {
    summary: 'make a certificate of that authority, or renew one',
    details: 'Processes that use the files take new ones over without a restart.',
    user: 'cli',
    args: [{ name: 'name', doc: 'of the files and of their owner: router, db1, alice' }],
    flags: certsFlags,
    examples: ['certs issue router --host router1.example', 'certs issue alice --days 30'],
  },
  router: {
    summary: 'run a router',
    user: 'router',
    examples: ['router --catalog-url postgres://fleetshard@db/catalog'],
  },
  manager: { summary: 'run a manager', user: 'manager' },
  worker: { summary: 'run a worker', user: 'worker' },
  agent: { summary: 'run an agent, which supervises the Postgres servers of its machine', user: 'agent' },
} as const satisfies Readonly<Record<string, Omit<CommandSpec, 'path' | 'permission' | 'run'>>>

/** Commands that need a function from roles/. */
export type RoleCommandName = keyof typeof SPECS

/** All of them, in the order of help. */
export const ROLE_COMMAND_NAMES = Object.keys(SPECS) as readonly RoleCommandName[]

/** The functions there are; a command without one does not exist. */
export type RoleRunners = { readonly [Name in RoleCommandName]?: RoleRunner }

/** The commands whose functions are given. */
export function roleCommands(runners: RoleRunners): readonly CommandSpec[] {
  return ROLE_COMMAND_NAMES.flatMap((name) => {
    const run = runners[name]
    return run === undefined ? [] : [{ ...SPECS[name], path: name, permission: null, run }]
  })
}
