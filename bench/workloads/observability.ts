// `observability`: what metrics, logs, traces and TLS cost on the Postgres port. pgbench through routers that differ in
// one of these only, in turn, over one shard; the server, pgbench and the router at work share the machine's cores, and so
// does what spans are sent to.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { testAuthority } from '../../packages/server/src/security/testing.ts'
import { alternate, medianRuns, ratio, type Rounds, type Variant } from '../harness/alternate.ts'
import { startBenchCluster, type BenchCluster, type BenchRouter } from '../harness/cluster.ts'
import {
  makePgbenchTables,
  pgTargetOf,
  runPgbench,
  type PgbenchOrder,
  type PgTarget,
} from '../harness/pgbench.ts'
import { atLeast, describeMachine, type Report, type Run } from '../harness/report.ts'

const rounds = 5
/** Of a router that has just been started, and before each run. */
const firstWarmupSeconds = 4
const warmupSeconds = 1
const seconds = 4
const clients = 16
const scale = 4
const settings = { max_connections: '400', shared_buffers: '256MB', max_wal_size: '2GB' }
/** Of the throughput with metrics and logs off, what is left as shipped. */
const leftWanted = 0.95

type Protocol = 'simple' | 'prepared'
const protocols: readonly Protocol[] = ['simple', 'prepared']

/** A router and what is special about it. */
interface Way {
  readonly name: string
  readonly router: BenchRouter
  readonly target: PgTarget
}

const off = 'all off'
const shipped = 'as shipped'
const ways = [off, shipped, 'traces 1 %', 'traces 100 %', 'TLS'] as const
type WayName = (typeof ways)[number]

/** Measures the cost of being seen. */
export async function observability(onRun: (run: Run) => void): Promise<Report> {
  await using stack = new AsyncDisposableStack()
  const cluster = stack.use(await startBenchCluster(1, { settings }))
  const server = pgTargetOf(cluster.nodeUrl('shard-1-a'))
  await makePgbenchTables(server, scale)
  const sink = stack.use(await startSink())
  const authority = stack.use(await testAuthority())
  const { certificate, key } = (await authority.write('router')).paths
  const wordsOf: Readonly<Record<WayName, readonly string[]>> = {
    [off]: ['--metrics-enabled=false', '--log-slow-statement-ms=0'],
    [shipped]: [],
    'traces 1 %': ['--trace-otlp-url', sink.url, '--trace-sample-percent', '1'],
    'traces 100 %': ['--trace-otlp-url', sink.url, '--trace-sample-percent', '100'],
    TLS: ['--router-wire-tls-cert', certificate ?? '', '--router-wire-tls-key', key ?? ''],
  }
  const running: Way[] = []
  for (const name of ways)
    running.push(await startWay(stack, { cluster, server, name, words: wordsOf[name] }))
  const measured = new Map<Protocol, Rounds>()
  for (const protocol of protocols) {
    const variants = running.map((way) => variantOf(way, protocol))
    measured.set(protocol, await alternate(variants, clients, rounds, onRun))
  }
  return {
    workload: 'observability',
    machine: `${describeMachine()}, PostgreSQL ${cluster.postgresVersion}`,
    runs: [...measured.values()].flatMap(medianRuns),
    ratios: Object.fromEntries([...measured].flatMap(([protocol, of]) => ratiosOf(protocol, of))),
    targets: [...measured].map(([protocol, of]) =>
      atLeast(`${shipped} / ${off}, ${protocol}`, leftWanted, shareOf(of, protocol, shipped, off)),
    ),
    notes: [
      'pgbench, the router, Postgres and what takes the spans share the cores',
      'all off: no metrics, no log of slow statements, log.level silent; statistics of statements are always kept',
      'as shipped: metrics, and log.level info into a file',
      'recorded statements are parsed once more by the server, since they carry their trace',
      'cpu µs/op is that of the router alone',
    ],
  }
}

async function startWay(
  stack: AsyncDisposableStack,
  {
    cluster,
    server,
    name,
    words,
  }: {
    readonly cluster: BenchCluster
    readonly server: PgTarget
    readonly name: WayName
    readonly words: readonly string[]
  },
): Promise<Way> {
  const file = join(cluster.dataDir, `${name.replaceAll(/\W+/g, '-')}.log`)
  const log = { level: name === off ? 'silent' : 'info', file }
  const router = stack.use(await cluster.startRouter({ name: name.replaceAll(/\W+/g, '-'), words, log }))
  const target = { ...server, host: '127.0.0.1', port: router.wirePort, database: 'default' }
  const way: Way = { name, router, target: { ...target, tls: name === 'TLS' ? 'require' : 'disable' } }
  for (const protocol of protocols)
    await runPgbench({ ...orderOf(way, protocol), seconds: firstWarmupSeconds })
  return way
}

const orderOf = ({ target }: Way, protocol: Protocol): Omit<PgbenchOrder, 'seconds'> => ({
  target,
  script: ['-b', 'select-only', '-s', String(scale)],
  protocol,
  clients,
})

function variantOf(way: Way, protocol: Protocol): Variant {
  const { name, router } = way
  const variant = `${name}, ${protocol}`
  const order = orderOf(way, protocol)
  return {
    name: variant,
    async run() {
      await runPgbench({ ...order, seconds: warmupSeconds })
      const before = router.cpuMs()
      const { tps, transactions, p50Ms, p99Ms } = await runPgbench({ ...order, seconds })
      return {
        variant,
        clients,
        ops_per_s: tps,
        p50_ms: p50Ms,
        p99_ms: p99Ms,
        cpu_us_per_op: ((router.cpuMs() - before) * 1000) / transactions,
        rss_mb: router.rssMb(),
      }
    },
  }
}

const shareOf = (of: Rounds, protocol: Protocol, one: WayName, other: WayName): number =>
  ratio(of, `${one}, ${protocol}`, `${other}, ${protocol}`, ({ ops_per_s: rate }) => rate)

function ratiosOf(protocol: Protocol, of: Rounds): readonly (readonly [string, number])[] {
  const compared: readonly (readonly [WayName, WayName])[] = [
    [shipped, off],
    ['traces 1 %', shipped],
    ['traces 100 %', shipped],
    ['TLS', shipped],
  ]
  return compared.map(([one, other]) => [`${one} / ${other}, ${protocol}`, shareOf(of, protocol, one, other)])
}

/** Takes spans and drops them. */
async function startSink(): Promise<AsyncDisposable & { readonly url: string }> {
  const http = createServer((request, response) => {
    request.resume().once('end', () => {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${String((http.address() as AddressInfo).port)}`,
    async [Symbol.asyncDispose]() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}
