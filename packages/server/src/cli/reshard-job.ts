// What the commands of `reshard` share: targets as they are written on the command line, and following a job.
import { FleetError } from '@fleetshard/core'
import type { ReshardJob, ReshardPlan, ReshardTarget } from '@fleetshard/core/contract'
import type { CommandContext } from './context.ts'
import { endpointOf } from './endpoint.ts'
import { EXIT, type ExitCode } from './exit-codes.ts'
import { usage } from './options.ts'
import { printOne, printPlan, say, type Plan } from './print.ts'
import { runSteps } from './progress.ts'
import { dryRunFlag, outputFlag, reasonFlag, type FlagSpec } from './spec.ts'
import { reshardJobView } from './views.ts'

/** Between two looks at a job. */
const pollMs = 250

/** Flags of the commands that begin a job. */
export const targetFlags: readonly FlagSpec[] = [
  {
    flags: '--to <target>',
    doc: 'a target: NAME, or NAME=postgres://… for a new shard on that server; may be given several times',
    many: true,
    required: true,
  },
  { flags: '--embedded', doc: 'start fresh servers for targets without an endpoint, by an agent' },
  { flags: '--replicas <count>', doc: 'replicas of the fresh servers; 0 if left out' },
  { flags: '--vnodes <count>', doc: 'virtual nodes of each target; 256 if left out' },
  {
    flags: '--reversible-seconds <seconds>',
    doc: 'for how long the rows can be brought back afterwards; not at all if left out',
  },
  { flags: '--detach', doc: 'do not wait for the end' },
  outputFlag,
  dryRunFlag,
  reasonFlag,
]

/** The targets of a call. @throws FleetError `invalid_usage` */
export function targetsOf({ options, env }: CommandContext): readonly ReshardTarget[] {
  const isEmbedded = options.isSet('embedded')
  const replicaCount = options.int('replicas', 0, 5)
  if (!isEmbedded && replicaCount !== undefined) throw usage('--replicas goes with --embedded')
  const vnodes = options.int('vnodes', 1, 4096)
  return options.list('to').map((text) => {
    const [, name = '', endpoint] = /^([^=]+)(?:=(.+))?$/.exec(text) ?? []
    if (name === '') throw usage(`${JSON.stringify(text)} is no target`, 'write NAME, or NAME=postgres://…')
    return {
      name,
      ...(vnodes === undefined ? {} : { vnode_count: vnodes }),
      ...(endpoint === undefined ? {} : { primary_endpoint: endpointOf(endpoint, env) }),
      ...(endpoint === undefined && isEmbedded ? { nodes: 'embedded' as const } : {}),
      ...(endpoint === undefined && replicaCount !== undefined ? { replica_count: replicaCount } : {}),
    }
  })
}

/** How long the rows are to be reversible, where a flag says it. @throws FleetError `invalid_usage` */
export function reversibleOf({ options }: CommandContext): { readonly reversible_seconds?: number } {
  const seconds = options.int('reversibleSeconds', 1, 604_800)
  return seconds === undefined ? {} : { reversible_seconds: seconds }
}

/** The one target of a merge or move. @throws FleetError `invalid_usage` */
export function targetOf(context: CommandContext): ReshardTarget {
  const [target, ...others] = targetsOf(context)
  if (target !== undefined && others.length === 0) return target
  throw usage('give --to once: all rows go to one shard')
}

/** What would be done, printed. */
export function printReshardPlan(
  context: CommandContext,
  call: Pick<Plan, 'path' | 'body'>,
  plan: ReshardPlan,
): ExitCode {
  const share = (index: number): string => `${((plan.target_shares[index] ?? 0) * 100).toFixed(1)}%`
  return printPlan(context, {
    method: 'POST',
    ...call,
    effects: [
      `${String(plan.ranges)} ranges of ${plan.source_shards.join(', ')} would change hands, with all their rows`,
      ...plan.target_shards.map((name, index) => `shard ${name} would get ${share(index)} of the ring`),
      `about ${String(plan.rows)} rows and ${String(plan.bytes)} bytes, of ${plan.tables.length === 0 ? 'no table' : plan.tables.join(', ')}`,
      `at the end these would be held: ${plan.held}`,
      keepsPart(plan, context)
        ? 'rows that have moved would be removed from the sources then, which keep the rest'
        : 'the sources would own nothing then, and keep their rows until they are deleted',
      wayBackText(plan),
    ],
  })
}

function wayBackText({ reversible_seconds: seconds, not_reversible_because: reason }: ReshardPlan): string {
  if (reason !== null) return `the rows could not be brought back: ${reason}`
  return seconds === 0
    ? 'the rows could not be brought back: no --reversible-seconds'
    : `the rows could be brought back for ${String(seconds)} s after it`
}

const keepsPart = ({ type }: ReshardPlan, { options }: CommandContext): boolean =>
  type === 'rebalance' || (type === 'split' && options.isSet('keepSource'))

/** Follows a job that was begun, or says how to. */
export async function followBegun(context: CommandContext, job: ReshardJob): Promise<ExitCode> {
  if (!context.options.isSet('detach')) return followReshard(context, job.id)
  const code = printOne(context, job, reshardJobView)
  say(context, `fleetshard reshard watch ${job.id} follows it`)
  return code
}

/** Shows the job until it has ended, or its rows have moved and could come back; Ctrl-C leaves it alone. */
export async function followReshard(context: CommandContext, id: string): Promise<ExitCode> {
  const { admin, clock, stop, terminal } = context
  let last: ReshardJob | undefined
  const step = {
    title: `job ${id}`,
    async run(sayProgress: (text: string) => void) {
      let said = ''
      for (;;) {
        last = await admin.reshard.get(id, { signal: stop })
        const text = progressText(last)
        if (text !== said) sayProgress(text)
        said = text
        if (isOver(last)) return
        await clock.sleep(pollMs, stop)
      }
    },
  }
  try {
    await runSteps(terminal, [step])
  } catch (error) {
    if (stop.aborted) say(context, `the job goes on; fleetshard reshard watch ${id} follows it`)
    throw error
  }
  if (last === undefined) throw new FleetError('internal', 'a job that was never seen')
  printOne(context, last, reshardJobView)
  if (last.phase === 'reversible') {
    say(
      context,
      `the rows have moved; until ${last.reversible_until ?? 'then'} fleetshard reshard reverse ${id}`,
    )
    say(context, `brings them back, and fleetshard reshard complete ${id} gives that up`)
    return EXIT.ok
  }
  const isRefused = last.order === 'reverse' && last.not_reversible_because !== null
  if ((last.status === 'completed' && !isRefused) || last.phase === 'rolled_back') return EXIT.ok
  const reason = last.error_message ?? last.not_reversible_because
  say(context, `job ${id} ${last.status}${reason === null ? '' : `: ${reason}`}`)
  return EXIT.failed
}

const isOver = ({ status, phase, order }: ReshardJob): boolean =>
  status === 'completed' ||
  status === 'failed' ||
  status === 'cancelled' ||
  (phase === 'reversible' && order !== 'reverse' && order !== 'complete')

function progressText(job: ReshardJob): string {
  const rows = job.total_keys === 0 ? '' : `, ${String(job.keys_migrated)} of ${String(job.total_keys)} rows`
  const waiting = job.waits_for ?? job.throttle
  const waits = waiting === null ? '' : `, waits: ${waiting}`
  const eta = job.eta_ms === null ? '' : `, ${String(Math.ceil(job.eta_ms / 1000))} s left`
  return `${job.phase} ${(job.progress * 100).toFixed(0)}%${rows}${eta}${waits}`
}
