// Patroni as Debian packages it, as a peer for failovers: two nodes on the installed Postgres and one etcd. Each node
// reaches etcd, and is reached by everybody else, through links of its own, which can be cut.
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { postgresProcessesOf } from '../../packages/server/src/agent/mod.ts'
import { FaultProxy } from '../../tests/faults/kit/proxy.ts'
import { freePort, installedPostgres } from '../harness/program.ts'
import { untilTrue, type Contestant, type Fault, type Strike } from '../workloads/failover/contestant.ts'

/** What decides how soon it takes over. */
export interface PatroniSettings {
  readonly name: string
  /** Seconds, as the other two. */
  readonly ttl: number
  readonly loopWait: number
  readonly retryTimeout: number
  readonly isSynchronous: boolean
}

/**
 * Its defaults, and the shortest times that its documentation allows (Dynamic Configuration Settings: ttl 20, loop_wait
 * 1, retry_timeout 3), with commits that a replica has confirmed.
 */
export const patroniSettings: readonly PatroniSettings[] = [
  { name: 'patroni, defaults', ttl: 30, loopWait: 10, retryTimeout: 10, isSynchronous: false },
  { name: 'patroni, fastest safe', ttl: 20, loopWait: 1, retryTimeout: 3, isSynchronous: true },
]

/** Why it cannot be measured here; null when it can. */
export async function patroniObstacle(): Promise<string | null> {
  if (installedPostgres() === null) return 'patroni was not measured: no Postgres is installed'
  for (const program of ['patroni', 'etcd']) {
    const isThere = await promisify(execFile)(program, ['--version']).then(
      () => true,
      () => false,
    )
    if (!isThere) return `patroni was not measured: ${program} is not installed`
  }
  return null
}

interface Node {
  readonly name: string
  readonly dataDir: string
  /** Where it listens itself. */
  readonly port: number
  readonly apiPort: number
  /** By these it is known to others. */
  readonly postgres: FaultProxy
  readonly api: FaultProxy
  /** Its way to etcd. */
  readonly etcd: FaultProxy
  /** Starts its Patroni. */
  run: () => ChildProcess
  child: ChildProcess | null
}

/** Postgres refuses to run as root. */
interface Owner {
  readonly uid: number
  readonly gid: number
}

const superuser = 'postgres'
/** What is shown of the log of one that did not start. */
const logTailChars = 2_000

/** Starts a cluster. */
export async function startPatroni(settings: PatroniSettings): Promise<Contestant> {
  await using stack = new AsyncDisposableStack()
  const folder = mkdtempSync('/var/tmp/fleetshard-bench-patroni-')
  stack.defer(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const owner = ownerOf()
  chmodSync(folder, 0o755)
  if (owner !== null) chownSync(folder, owner.uid, owner.gid)
  const etcdPort = await startEtcd(stack, folder, owner)
  const nodes = await Promise.all(
    ['a', 'b'].map((name) => makeNode(stack, join(folder, name), { name, etcdPort, owner })),
  )
  for (const node of nodes) {
    const path = join(folder, `${node.name}.yml`)
    // What is JSON is YAML as well.
    writeFileSync(path, JSON.stringify(configurationOf(node, settings)))
    node.run = () => start('patroni', [path], { folder, owner, log: `${node.name}.log` })
    node.child = node.run()
    stack.defer(() => endNode(node))
    // Two that begin at once would both make a database.
    await untilTrue(
      `${node.name} of ${settings.name} runs`,
      async () => node.child?.exitCode !== null || (await askNode(node)) !== null,
    )
    if (node.child.exitCode !== null) {
      const log = readFileSync(join(folder, `${node.name}.log`), 'utf8')
      throw new Error(`patroni ended: ${log.slice(-logTailChars)}`)
    }
  }
  await untilTrue(`${settings.name} has a leader`, async () => (await leaderOf(nodes)) !== null)
  await query(
    (await leaderOf(nodes))?.port ?? 0,
    'create table counter (key text primary key, n bigint not null default 0)',
  )
  const owned = stack.move()
  return {
    name: settings.name,
    target: { ports: nodes.map(({ postgres }) => postgres.port), user: superuser, database: 'postgres' },
    whole: () => untilTrue(`${settings.name} is whole`, () => isWhole(nodes, settings)),
    strike: (fault) => strike(nodes, fault),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function makeNode(
  stack: AsyncDisposableStack,
  folder: string,
  {
    name,
    etcdPort,
    owner,
  }: { readonly name: string; readonly etcdPort: number; readonly owner: Owner | null },
): Promise<Node> {
  mkdirSync(folder)
  if (owner !== null) chownSync(folder, owner.uid, owner.gid)
  const [port, apiPort] = [await freePort(), await freePort()]
  const link = async (to: number): Promise<FaultProxy> =>
    stack.use(await FaultProxy.open({ host: '127.0.0.1', port: to }))
  return {
    name,
    dataDir: join(folder, 'data'),
    port,
    apiPort,
    postgres: await link(port),
    api: await link(apiPort),
    etcd: await link(etcdPort),
    run: () => {
      throw new Error(`${name} is not configured yet`)
    },
    child: null,
  }
}

function configurationOf(
  node: Node,
  { ttl, loopWait, retryTimeout, isSynchronous }: PatroniSettings,
): object {
  const trust = [
    'local all all trust',
    'host all all 127.0.0.1/32 trust',
    'host replication all 127.0.0.1/32 trust',
  ]
  return {
    scope: 'bench',
    name: node.name,
    restapi: {
      listen: `127.0.0.1:${String(node.apiPort)}`,
      connect_address: `127.0.0.1:${String(node.api.port)}`,
    },
    // Whoever is a proxy is not asked who else there is: no way leads past the link.
    etcd3: { hosts: [`127.0.0.1:${String(node.etcd.port)}`], use_proxies: true },
    bootstrap: {
      dcs: {
        ttl,
        loop_wait: loopWait,
        retry_timeout: retryTimeout,
        synchronous_mode: isSynchronous,
        postgresql: { use_pg_rewind: true, use_slots: true },
      },
      initdb: [{ encoding: 'UTF8' }, { locale: 'C' }, 'data-checksums'],
    },
    postgresql: {
      listen: `127.0.0.1:${String(node.port)}`,
      connect_address: `127.0.0.1:${String(node.postgres.port)}`,
      data_dir: node.dataDir,
      bin_dir: installedPostgres(),
      pgpass: join(node.dataDir, '..', 'pgpass'),
      authentication: { superuser: { username: superuser }, replication: { username: superuser } },
      parameters: { unix_socket_directories: join(node.dataDir, '..') },
      pg_hba: trust,
      remove_data_directory_on_rewind_failure: true,
      remove_data_directory_on_diverged_timelines: true,
    },
  }
}

async function startEtcd(stack: AsyncDisposableStack, folder: string, owner: Owner | null): Promise<number> {
  const [port, peerPort] = [await freePort(), await freePort()]
  const url = `http://127.0.0.1:${String(port)}`
  const peerUrl = `http://127.0.0.1:${String(peerPort)}`
  const words = [
    ['--data-dir', join(folder, 'etcd')],
    ['--listen-client-urls', url, '--advertise-client-urls', url],
    ['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
    ['--initial-cluster', `default=${peerUrl}`],
  ].flat()
  const child = start('etcd', words, { folder, owner, log: 'etcd.log' })
  stack.defer(() => end(child, 'SIGKILL'))
  await untilTrue('etcd answers', async () => (await fetch(`${url}/health`)).ok)
  return port
}

function start(
  program: string,
  words: readonly string[],
  { folder, owner, log }: { readonly folder: string; readonly owner: Owner | null; readonly log: string },
): ChildProcess {
  const line = `exec "$0" "$@" >>'${join(folder, log)}' 2>&1`
  const child = spawn('/bin/sh', ['-c', line, program, ...words], { stdio: 'ignore', cwd: folder, ...owner })
  // Whoever interrupts the bench ends them as well.
  process.once('exit', () => child.kill('SIGTERM'))
  return child
}

/** Ends a node's Patroni, and its Postgres where that has not done so. */
async function endNode({ child, dataDir }: Node, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child !== null) await end(child, signal)
  for (const pid of await postgresProcessesOf(dataDir)) process.kill(pid, 'SIGKILL')
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill(signal)
  await ended
}

/** `postgres` when this is root; null for whoever runs the bench. */
function ownerOf(): Owner | null {
  if (process.getuid?.() !== 0) return null
  const number = (flag: string): number => Number(execFileSync('id', [flag, superuser], { encoding: 'utf8' }))
  return { uid: number('-u'), gid: number('-g') }
}

/** What a node says of itself. */
interface Told {
  readonly state?: string
  readonly role?: string
  readonly sync_standby?: boolean
}

async function askNode({ apiPort }: Node): Promise<Told | null> {
  const answer = await fetch(`http://127.0.0.1:${String(apiPort)}/patroni`).catch(() => null)
  const told = (await answer?.json().catch(() => null)) as Told | null | undefined
  return told?.state === 'running' ? told : null
}

async function query<T>(port: number, text: string): Promise<readonly T[]> {
  const client = new Client({
    host: '127.0.0.1',
    port,
    user: superuser,
    database: 'postgres',
    connectionTimeoutMillis: 1_000,
    query_timeout: 2_000,
  })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query(text)).rows as readonly T[]
  } finally {
    void client.end().catch(() => undefined)
  }
}

async function isPrimary({ port }: Node): Promise<boolean> {
  const rows = await query<{ led: boolean }>(port, 'select not pg_is_in_recovery() as led').catch(() => [])
  return rows[0]?.led === true
}

/** The only one that takes writes; null when there is none, or more than one. */
async function leaderOf(nodes: readonly Node[]): Promise<Node | null> {
  const leading: Node[] = []
  for (const node of nodes) if (await isPrimary(node)) leading.push(node)
  return leading.length === 1 ? (leading[0] ?? null) : null
}

/** One leads, the other one streams from it and would take over. */
async function isWhole(nodes: readonly Node[], { isSynchronous }: PatroniSettings): Promise<boolean> {
  const leader = await leaderOf(nodes)
  if (leader === null) return false
  const told = await Promise.all(nodes.map(askNode))
  if (told.includes(null)) return false
  const wanted = isSynchronous ? "and sync_state = 'sync'" : ''
  const streams = await query(
    leader.port,
    `select from pg_stat_replication where state = 'streaming' ${wanted}`,
  )
  return streams.length === 1 && (!isSynchronous || told.some((one) => one?.sync_standby === true))
}

async function strike(nodes: readonly Node[], fault: Fault): Promise<Strike> {
  const leader = await leaderOf(nodes)
  const other = nodes.find((node) => node !== leader)
  if (leader === null || other === undefined) throw new Error('nobody leads')
  return { ...(await hurt(leader, fault)), isOver: () => isPrimary(other) }
}

async function hurt(leader: Node, fault: Fault): Promise<Pick<Strike, 'atMs' | 'mend'>> {
  switch (fault) {
    case 'kill -9': {
      const control = join(leader.dataDir, 'global', 'pg_control')
      const pid = Number(readFileSync(join(leader.dataDir, 'postmaster.pid'), 'utf8').split('\n')[0])
      renameSync(control, `${control}.gone`)
      process.kill(pid, 'SIGKILL')
      return {
        atMs: performance.now(),
        mend: () => {
          if (existsSync(`${control}.gone`)) renameSync(`${control}.gone`, control)
        },
      }
    }
    case 'SIGSTOP': {
      const pids = await postgresProcessesOf(leader.dataDir)
      for (const pid of pids) process.kill(pid, 'SIGSTOP')
      return {
        atMs: performance.now(),
        // As a host that hangs is started anew. One that goes on where it stopped takes its leadership back at times, and
        // then nobody follows it any more.
        mend: async () => {
          await endNode(leader, 'SIGKILL')
          leader.child = leader.run()
        },
      }
    }
    case 'cut link': {
      const links = [leader.postgres, leader.api, leader.etcd]
      for (const link of links) link.hang()
      return {
        atMs: performance.now(),
        mend: () => {
          for (const link of links) link.heal()
        },
      }
    }
    case 'switchover': {
      const atMs = performance.now()
      const answer = await fetch(`http://127.0.0.1:${String(leader.apiPort)}/switchover`, {
        method: 'POST',
        body: JSON.stringify({ leader: leader.name }),
      })
      if (!answer.ok) throw new Error(`the switchover was refused: ${await answer.text()}`)
      return { atMs, mend: () => undefined }
    }
  }
}
