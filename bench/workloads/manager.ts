// `manager`: shards created, read, changed and deleted through the management API, each on a database of its own that
// nobody has used before. Peer: one connection to such a database and the definition of our schema as one statement,
// which no way of creating a shard can do without. Postgres, manager, catalog and callers share the machine's cores.
import pg from 'pg'
import { installStatements } from '../../packages/server/src/engine/mod.ts'
import { medianRuns, ratio, type Rounds } from '../harness/alternate.ts'
import {
  call,
  createShard,
  dropDatabases,
  freshDatabases,
  startBenchManager,
  type BenchManager,
} from '../harness/manager.ts'
import type { Measured } from '../harness/process.ts'
import { startBenchServer, type BenchServer } from '../harness/server.ts'
import { atLeast, atMost, describeMachine, median, type Report, type Run } from '../harness/report.ts'

const shardCount = 64
const rounds = 3
/** One at a time, and as many as tools of operators may run side by side. */
const callerCounts = [1, 16]
const readsPerShard = 8

/** Figures of one number of callers, by variant. */
type Figures = Map<string, Run[]>

/** Measures the manager's operations and its memory. */
export async function manager(onRun: (run: Run) => void): Promise<Report> {
  await using server = await startBenchServer()
  await using process = await startBenchManager(server, Math.max(...callerCounts))
  const idleRssMb = await shardsAndMemory(process, server)
  const measured: Rounds[] = []
  for (const clients of callerCounts) {
    const runs: Figures = new Map()
    for (let round = 0; round < rounds; round += 1) {
      for (const run of await oneRound(process, server, clients)) {
        runs.set(run.variant, [...(runs.get(run.variant) ?? []), run])
        onRun(run)
      }
    }
    measured.push({ clients, runs })
  }
  const [one, many] = measured
  if (one === undefined || many === undefined) throw new Error('nothing was measured')
  const throughput = (run: Run): number => run.ops_per_s
  const rate = (variant: string): number => median((many.runs.get(variant) ?? []).map(throughput))
  const callers = String(many.clients)
  return {
    workload: 'manager',
    machine: `${describeMachine()}, PostgreSQL ${server.version}`,
    runs: measured.flatMap(medianRuns),
    ratios: {
      'create / floor, throughput at 1': ratio(one, 'create', 'floor', throughput),
      [`create / floor, throughput at ${callers}`]: ratio(many, 'create', 'floor', throughput),
    },
    targets: [
      atLeast(
        `each kind once in turn, with ${callers} callers, ops/s`,
        operationsMin,
        inTurn(kinds.map(rate)),
      ),
      ...kinds.map((variant) =>
        atLeast(`${variant} with ${callers} callers, ops/s`, operationsMin, rate(variant)),
      ),
      atMost('resident memory with one shard, MiB', rssBaseMb + rssPerShardMb, idleRssMb),
    ],
    notes: [
      `${String(shardCount)} databases, made anew for every round of create and of floor`,
      'cpu µs/op is that of the manager (floor: of this process); Postgres and the callers come on top',
    ],
  }
}

/** Operations on a shard, as often as each other in its life. */
const kinds = ['create', 'get', 'patch', 'delete']
/** Operations a second of somebody who does one of each kind, again and again. */
const inTurn = (rates: readonly number[]): number =>
  rates.length / rates.reduce((seconds, rate) => seconds + 1 / rate, 0)
const operationsMin = 100
const rssBaseMb = 100
const rssPerShardMb = 2

/** Memory with one shard, some requests after the start. */
async function shardsAndMemory(manager: BenchManager, server: BenchServer): Promise<number> {
  const [name = ''] = await freshDatabases(server, 1)
  await createShard(manager, server, name)
  for (let read = 0; read < 100; read += 1) await call(manager, `GET /api/v1/shards/${name}`, 200)
  const rssMb = manager.rssMb()
  await call(manager, `DELETE /api/v1/shards/${name}`, 204)
  await dropDatabases(server, [name])
  return rssMb
}

/** All operations on a fresh set of databases, and the floor on another. */
async function oneRound(manager: BenchManager, server: BenchServer, clients: number): Promise<Run[]> {
  const bare = await freshDatabases(server, shardCount)
  const own: Pick<Measured, 'cpuMs' | 'rssMb'> = {
    cpuMs: () => (process.cpuUsage().user + process.cpuUsage().system) / 1000,
    rssMb: () => process.memoryUsage.rss() / 2 ** 20,
  }
  const floor = await timed({ variant: 'floor', measured: own, clients }, bare, (name) =>
    defineSchema(server, name),
  )
  await dropDatabases(server, bare)
  const names = await freshDatabases(server, shardCount)
  const shard = (name: string): string => `/api/v1/shards/${name}`
  const reads = Array.from({ length: readsPerShard }, () => names).flat()
  const of = (variant: string): Trial => ({ variant, measured: manager, clients })
  const runs = [
    floor,
    await timed(of('create'), names, (name) => createShard(manager, server, name)),
    await timed(of('get'), reads, (name) => call(manager, `GET ${shard(name)}`, 200)),
    await timed(of('patch'), names, (name) =>
      call(manager, `PATCH ${shard(name)}`, 200, { status: 'readonly' }),
    ),
    await timed(of('delete'), names, (name) => call(manager, `DELETE ${shard(name)}`, 204)),
  ]
  await dropDatabases(server, names)
  return runs
}

/** What is measured, whose CPU time and memory count, and how many callers there are. */
interface Trial {
  readonly variant: string
  readonly measured: Pick<Measured, 'cpuMs' | 'rssMb'>
  readonly clients: number
}

/** Runs the work on every item, that many at a time. */
async function timed(
  { variant, measured, clients }: Trial,
  items: readonly string[],
  work: (item: string) => Promise<void>,
): Promise<Run> {
  const queue = items.values()
  const times: number[] = []
  const cpuMs = measured.cpuMs()
  const begun = performance.now()
  const caller = async (): Promise<void> => {
    for (const item of queue) {
      const sent = performance.now()
      await work(item)
      times.push(performance.now() - sent)
    }
  }
  await Promise.all(Array.from({ length: clients }, caller))
  const elapsedMs = performance.now() - begun
  const sorted = times.toSorted((a, b) => a - b)
  const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? NaN
  return {
    variant,
    clients,
    ops_per_s: (items.length * 1000) / elapsedMs,
    p50_ms: at(0.5),
    p99_ms: at(0.99),
    cpu_us_per_op: ((measured.cpuMs() - cpuMs) * 1000) / items.length,
    rss_mb: measured.rssMb(),
  }
}

async function defineSchema({ host, port, user, password }: BenchServer, database: string): Promise<void> {
  const client = new pg.Client({ host, port, user, password, database })
  await client.connect()
  await client.query(installStatements(false, user).join(';\n'))
  await client.end()
}
