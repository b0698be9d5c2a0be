// `client`: point reads and writes by the TypeScript client, direct and over HTTP, beside a plain pg.Pool and one pg
// connection on the same database, in the same run. Postgres, the router and the clients share the machine's cores.
import { connect, type FleetShard } from '@fleetshard/client'
import pg from 'pg'
import { alternate, medianRuns, ratio, type Rounds, type Variant } from '../harness/alternate.ts'
import { startBenchCluster, type BenchCluster } from '../harness/cluster.ts'
import { atLeast, atMost, describeMachine, round, type Report, type Run } from '../harness/report.ts'
import { fillUsers, userKey } from './users.ts'

const rounds = 3
const warmupMs = 1_000
const measureMs = 3_000
const shardForCalls = 1_000_000
const read = 'select id, user_id, name, email from users where user_id = $1'
const write = 'update users set name = $2 where user_id = $1'

/** One operation of a load; `index` counts up over all its clients. */
type Operation = (index: number) => Promise<unknown>

/** Something that reads and writes users. */
interface Subject extends AsyncDisposable {
  readonly read: Operation
  readonly write: Operation
}

/** Measures the client. */
export async function client(onRun: (run: Run) => void): Promise<Report> {
  await using cluster = await startBenchCluster(1)
  const url = await fillUsers(cluster)
  const subjects = {
    direct: () => openClient(cluster, 'direct'),
    http: () => openClient(cluster, 'http'),
    'pg.Pool': () => openPool(url),
    'one pg connection': () => openConnection(url),
  }
  const of = (kind: 'read' | 'write'): Variant[] =>
    Object.entries(subjects).map(([name, open]) => loadOf(`${name}, ${kind}s`, open, kind))
  const measured = new Map<string, Rounds>()
  for (const kind of ['read', 'write'] as const) {
    for (const clients of [1, 16, 64]) {
      measured.set(`${kind} ${String(clients)}`, await alternate(of(kind), clients, rounds, onRun))
    }
  }
  const times = (kind: 'read' | 'write', clients: number, mode: string): number =>
    ratio(
      measured.get(`${kind} ${String(clients)}`) as Rounds,
      `${mode}, ${kind}s`,
      `pg.Pool, ${kind}s`,
      (run) => run.ops_per_s,
    )
  const lookupUs = await measureShardFor(cluster)
  return {
    workload: 'client',
    machine: `${describeMachine()}, PostgreSQL ${cluster.postgresVersion}`,
    runs: [...measured.values()].flatMap((alternation) => medianRuns(alternation)),
    ratios: Object.fromEntries(
      (['read', 'write'] as const).flatMap((kind) =>
        [1, 16, 64].flatMap((clients) =>
          ['direct', 'http'].map((mode): [string, number] => [
            `${mode} / pg.Pool, ${kind}s at ${String(clients)}`,
            times(kind, clients, mode),
          ]),
        ),
      ),
    ),
    targets: [
      atLeast('direct / pg.Pool, reads at 64 concurrent', 5, times('read', 64, 'direct')),
      atLeast('direct / pg.Pool, writes at 64 concurrent', 1, times('write', 64, 'direct')),
      atMost('shardFor, µs', 0.5, lookupUs),
    ],
    notes: [
      `shardFor takes ${String(round(lookupUs))} µs`,
      'pg.Pool has its defaults: 10 connections, queries without a name',
      'cpu µs/op is that of the process with the client; Postgres and the router come on top',
    ],
  }
}

function loadOf(name: string, open: () => Promise<Subject>, kind: 'read' | 'write'): Variant {
  return {
    name,
    async run(clients) {
      await using subject = await open()
      const operation = subject[kind]
      await load(operation, clients, warmupMs)
      const cpuBefore = process.cpuUsage()
      const { times, elapsedMs } = await load(operation, clients, measureMs)
      const cpu = process.cpuUsage(cpuBefore)
      const sorted = times.toSorted((a, b) => a - b)
      const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? NaN
      return {
        variant: name,
        clients,
        ops_per_s: (times.length * 1000) / elapsedMs,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_us_per_op: (cpu.user + cpu.system) / times.length,
        rss_mb: process.memoryUsage.rss() / 2 ** 20,
      }
    },
  }
}

/** That many loops, each with one operation at a time. */
async function load(
  operation: Operation,
  clients: number,
  forMs: number,
): Promise<{ times: number[]; elapsedMs: number }> {
  const times: number[] = []
  const begun = performance.now()
  let index = 0
  const loop = async (): Promise<void> => {
    for (;;) {
      const sent = performance.now()
      if (sent - begun >= forMs) return
      index += 1
      await operation(index)
      times.push(performance.now() - sent)
    }
  }
  await Promise.all(Array.from({ length: clients }, loop))
  return { times, elapsedMs: performance.now() - begun }
}

async function openClient(cluster: BenchCluster, mode: 'http' | 'direct'): Promise<Subject> {
  const db: FleetShard = await connect({
    url: `http://127.0.0.1:${String(cluster.router.port)}`,
    mode,
    fallback: false,
  })
  return {
    read: (index) => db.query(read, [userKey(index)]),
    write: (index) => db.query(write, [userKey(index), `name ${String(index)}`]),
    [Symbol.asyncDispose]: () => db.close(),
  }
}

async function openPool(url: string): Promise<Subject> {
  const pool = new pg.Pool({ connectionString: url })
  await pool.query('select 1')
  return {
    read: (index) => pool.query(read, [userKey(index)]),
    write: (index) => pool.query(write, [userKey(index), `name ${String(index)}`]),
    [Symbol.asyncDispose]: () => pool.end(),
  }
}

async function openConnection(url: string): Promise<Subject> {
  const connection = new pg.Client({ connectionString: url })
  await connection.connect()
  return {
    read: (index) => connection.query(read, [userKey(index)]),
    write: (index) => connection.query(write, [userKey(index), `name ${String(index)}`]),
    [Symbol.asyncDispose]: () => connection.end(),
  }
}

/** Microseconds of one local lookup. */
async function measureShardFor(cluster: BenchCluster): Promise<number> {
  await using db = await connect({ url: `http://127.0.0.1:${String(cluster.router.port)}` })
  const keys = Array.from({ length: 1_000 }, (_, index) => userKey(index))
  const run = (): number => {
    const begun = performance.now()
    for (let index = 0; index < shardForCalls; index += 1) db.shardFor(keys[index % keys.length] ?? '')
    return ((performance.now() - begun) * 1000) / shardForCalls
  }
  run()
  return run()
}
