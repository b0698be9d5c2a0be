// `wire`: pgbench over the Postgres protocol, straight to the server, through pgbouncer and through the router, in
// turn. Reads in both ways to send statements, and pgbench's own transaction, on one shard; reads by key over two.
// The server, the pooler and pgbench share the machine's cores.
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { alternate, difference, medianRuns, ratio, type Rounds, type Variant } from '../harness/alternate.ts'
import { startBenchCluster, type BenchCluster } from '../harness/cluster.ts'
import {
  makePgbenchTables,
  pgTargetOf,
  runPgbench,
  type PgbenchOrder,
  type PgTarget,
} from '../harness/pgbench.ts'
import { hasPgbouncer, startPgbouncer } from '../harness/pgbouncer.ts'
import type { Measured } from '../harness/process.ts'
import { atLeast, atMost, describeMachine, type Report, type Run, type Target } from '../harness/report.ts'

const rounds = 3
/** Before the first run of a load, each way: what compiles its code as it runs has done so by then. */
const warmupFirst = { clients: 16, seconds: 10 }
const warmupSeconds = 1
const seconds = 4
/** pgbench counts the time that its clients take to log in: so many milliseconds each. */
const loginMsEach = 40
/** 400,000 rows: all in memory, and enough of them that clients seldom meet. */
const scale = 4
const keyedRows = 100_000
const settings = { max_connections: '400', shared_buffers: '256MB', max_wal_size: '2GB' }

/** What is sent. */
type Load = 'select simple' | 'select prepared' | 'write simple' | 'keyed prepared'

/** One way to the database. */
interface Way {
  readonly name: 'direct' | 'pgbouncer' | 'router'
  readonly target: PgTarget
  /** The process in between; null for none. */
  readonly process: Measured | null
}

/** Measures the wire protocol. */
export async function wire(onRun: (run: Run) => void): Promise<Report> {
  await using stack = new AsyncDisposableStack()
  const cluster = stack.use(await startBenchCluster(1, { settings }))
  const server = pgTargetOf(cluster.nodeUrl('shard-1-a'))
  await makePgbenchTables(server, scale)
  const bouncer = hasPgbouncer ? stack.use(await startPgbouncer(server)) : null
  const ways: Way[] = [
    { name: 'direct', target: server, process: null },
    ...(bouncer === null ? [] : [{ name: 'pgbouncer' as const, target: bouncer.target, process: bouncer }]),
    routerWay(cluster, server),
  ]
  const measured = new Map<string, Rounds>()
  const measure = async (
    load: Load,
    able: readonly Way[],
    clientCounts: readonly number[],
  ): Promise<void> => {
    for (const way of able) await runPgbench({ ...orderOf(way, load), ...warmupFirst })
    for (const clients of clientCounts) {
      const variants = able.map((way) => variantOf(way, load))
      measured.set(`${load} ${String(clients)}`, await alternate(variants, clients, rounds, onRun))
    }
  }
  await measure('select simple', ways, [1, 16, 64, 256])
  const prepares = ways.filter(({ name }) => name !== 'pgbouncer')
  await measure('select prepared', prepares, [1, 16, 64, 256])
  await measure('write simple', ways, [16, 64])
  const keyed = stack.use(await startKeyed())
  await measure('keyed prepared', keyed.ways, [16, 64])
  return {
    workload: 'wire',
    machine: `${describeMachine()}, PostgreSQL ${cluster.postgresVersion}`,
    runs: [...measured.values()].flatMap(medianRuns),
    ratios: ratiosOf(measured),
    targets: targetsOf(measured),
    notes: [
      'pgbench, the pooler or router, and Postgres share the cores',
      'pgbouncer pools transactions with 40 connections; this version of it has no prepared statements then',
      'cpu µs/op is that of the pooler or router alone',
    ],
  }
}

function routerWay({ router }: BenchCluster, server: PgTarget): Way {
  const target = { ...server, host: '127.0.0.1', port: router.wirePort, database: 'default' }
  return { name: 'router', target, process: router }
}

/**
 * A cluster of two shards with a table sharded by its number. Each server has all rows, so that one of them alone can
 * be the peer; the router reads each row from the shard that its key belongs to.
 */
async function startKeyed(): Promise<AsyncDisposable & { readonly ways: readonly Way[] }> {
  const cluster = await startBenchCluster(2, { settings })
  const made = await fetch(`${cluster.managerUrl}/api/v1/keyspaces/default/tables`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ddl: 'CREATE TABLE keyed_accounts (aid int PRIMARY KEY, abalance int NOT NULL, filler char(84))',
      tables: [{ name: 'keyed_accounts', kind: 'sharded', key_column: 'aid' }],
    }),
  })
  if (made.status !== 201) throw new Error(`the table was not created: ${await made.text()}`)
  const urls = ['shard-1-a', 'shard-2-a'].map((node) => cluster.nodeUrl(node))
  for (const url of urls) {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query(
      `INSERT INTO keyed_accounts SELECT n, 0, '' FROM generate_series(1, ${String(keyedRows)}) n`,
    )
    await client.query('VACUUM ANALYZE keyed_accounts')
    await client.end()
  }
  const server = pgTargetOf(urls[0] ?? '')
  return {
    ways: [{ name: 'direct', target: server, process: null }, routerWay(cluster, server)],
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  }
}

function scriptOf(load: Load): readonly string[] {
  if (load === 'keyed prepared') return ['-f', fileURLToPath(new URL('../load/keyed.sql', import.meta.url))]
  return ['-b', load === 'write simple' ? 'tpcb-like' : 'select-only', '-s', String(scale)]
}

const orderOf = (way: Way, load: Load): Omit<PgbenchOrder, 'clients' | 'seconds'> => ({
  target: way.target,
  script: scriptOf(load),
  protocol: load.endsWith('prepared') ? 'prepared' : 'simple',
})

function variantOf(way: Way, load: Load): Variant {
  const name = `${way.name}, ${load}`
  const order = orderOf(way, load)
  return {
    name,
    async run(clients) {
      const loginSeconds = Math.ceil((clients * loginMsEach) / 1000)
      await runPgbench({ ...order, clients, seconds: warmupSeconds + loginSeconds })
      const before = way.process?.cpuMs() ?? 0
      const { tps, transactions, p50Ms, p99Ms } = await runPgbench({
        ...order,
        clients,
        seconds: seconds + loginSeconds,
      })
      const cpuMs = (way.process?.cpuMs() ?? 0) - before
      return {
        variant: name,
        clients,
        ops_per_s: tps,
        p50_ms: p50Ms,
        p99_ms: p99Ms,
        cpu_us_per_op: way.process === null ? null : (cpuMs * 1000) / transactions,
        rss_mb: way.process?.rssMb() ?? null,
      }
    },
  }
}

const throughput = (run: Run): number => run.ops_per_s
const median = (run: Run): number => run.p50_ms ?? NaN

/** The router against each peer, and pgbouncer against the direct way. */
function ratiosOf(measured: ReadonlyMap<string, Rounds>): Record<string, number> {
  const found: Record<string, number> = {}
  for (const [what, measuredRounds] of measured) {
    const load = what.replace(/ \d+$/, '')
    for (const [one, other] of [
      ['router', 'direct'],
      ['router', 'pgbouncer'],
      ['pgbouncer', 'direct'],
    ] as const) {
      const [variant, peer] = [`${one}, ${load}`, `${other}, ${load}`]
      if (!measuredRounds.runs.has(variant) || !measuredRounds.runs.has(peer)) continue
      found[`${one} / ${other}, ${what}`] = ratio(measuredRounds, variant, peer, throughput)
    }
  }
  return found
}

/** The numbers to reach; none where the router or the peer was not measured. */
function targetsOf(measured: ReadonlyMap<string, Rounds>): Target[] {
  const ratios = ratiosOf(measured)
  const wanted: readonly (readonly [string, number])[] = [
    ['router / direct, select simple 16', 0.95],
    ['router / direct, select prepared 16', 0.95],
    ['router / pgbouncer, select simple 64', 1.5],
    ['router / pgbouncer, select simple 256', 2],
    ['router / pgbouncer, write simple 16', 0.9],
    ['router / pgbouncer, write simple 64', 0.9],
  ]
  const targets = wanted.flatMap(([name, want]) => {
    const got = ratios[name]
    return got === undefined ? [] : [atLeast(name, want, got)]
  })
  for (const load of ['select simple', 'select prepared']) {
    const one = measured.get(`${load} 1`)
    if (one === undefined || !one.runs.has(`router, ${load}`)) continue
    const added = difference(one, `router, ${load}`, `direct, ${load}`, median)
    targets.push(atMost(`median latency added to one client, ${load}, ms`, 0.15, added))
  }
  return targets
}
