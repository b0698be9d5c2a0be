// What moving rows costs: the copy of a split beside `COPY (binary) | COPY (binary)` between the same servers, how fast
// changes follow, and how long statements are held by a cutover under 2,000 writes a second.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { HASHES, makeHash64, parseLsn, parseShardId } from '@fleetshard/core'
import { Client } from 'pg'
import type { FleetNode, ReshardJob, Shard } from '@fleetshard/core/contract'
import {
  createReshardEngine,
  type MovedTable,
  type NodeTarget,
} from '../../packages/server/src/engine/mod.ts'
import { systemClock } from '../../packages/server/src/runtime/mod.ts'
import { SourceMover, streamedUnits, type Place } from '../../packages/server/src/workers/reshard/mod.ts'
import { alternate, medianRuns, ratio, type Variant } from '../harness/alternate.ts'
import { startBenchCluster, type BenchCluster } from '../harness/cluster.ts'
import { atLeast, atMost, describeMachine, median, type Report, type Run } from '../harness/report.ts'
import { writePaced, type PacedWrite } from '../load/paced-writer.ts'

const rows = 1_000_000
const copyRounds = 5
/** Changed while nobody follows. */
const changedRows = 300_000
const cutovers = 20
const writesPerSecond = 2_000
const keyCount = 5_000

const tableDdl = `create table item (id bigint primary key, owner text not null, name text, at timestamptz, body text)`
const fillSql = `insert into item select i, 'owner-' || i, 'name of ' || i, now(), repeat('x', 60)
  from generate_series(1, ${String(rows)}) i`

/** The workload. */
export async function reshard(onRun: (run: Run) => void): Promise<Report> {
  const { copied, caughtUp } = await copies(onRun)
  const { holds, writes, refused, rate } = await measureCutovers(onRun)
  const sorted = holds.toSorted((a, b) => a - b)
  const p99 = sorted[Math.ceil(sorted.length * 0.99) - 1] ?? Infinity
  const felt = writes.toSorted((a, b) => a - b)
  return {
    workload: 'reshard',
    machine: describeMachine(),
    runs: medianRuns(copied),
    ratios: {
      'copy of a split / COPY | COPY': ratio(copied, 'split in two', 'psql | psql', (run) => run.ops_per_s),
      'changed rows applied a second': caughtUp,
      'hold, median ms': median(holds),
      'hold, p99 ms': p99,
      'longest write of a cutover, median ms': median(felt),
    },
    targets: [
      atLeast(
        'copy beside COPY | COPY',
        0.8,
        ratio(copied, 'split in two', 'psql | psql', (run) => run.ops_per_s),
      ),
      atLeast('changed rows applied a second', 100_000, caughtUp),
      atMost(`hold, p99 of ${String(cutovers)} cutovers, ms`, 100, p99),
      atMost('writes refused', 0, refused),
    ],
    notes: [
      `${rows.toLocaleString('en')} rows of about 120 bytes, read from one server and written to two databases of another`,
      `${changedRows.toLocaleString('en')} of them changed by one statement each tenth, then followed into both databases`,
      `${String(cutovers)} moves to fresh servers under ${writesPerSecond.toLocaleString('en')} writes a second over HTTP`,
      `writes that were answered: ${Math.round(rate).toLocaleString('en')} a second`,
      `hold of each cutover, ms: ${sorted.map((ms) => ms.toFixed(0)).join(' ')}`,
      `longest write of each cutover, ms: ${felt.map((ms) => ms.toFixed(0)).join(' ')}`,
    ],
  }
}

/** The two servers of a cluster, each by a URL without a database. */
async function copies(onRun: (run: Run) => void) {
  await using cluster = await startBenchCluster(2)
  const { nodes } = await send<{ nodes: FleetNode[] }>(cluster, 'GET', '/api/v1/nodes')
  const [from = '', to = ''] = nodes.map(({ id }) => cluster.nodeUrl(id))
  const source = await emptyDatabase(from)
  await run(source, fillSql, 'vacuum analyze item')
  const variants: Variant[] = [
    { name: 'psql | psql', run: () => psqlCopy(source, to) },
    { name: 'split in two', run: () => splitCopy(source, to) },
  ]
  const copied = await alternate(variants, 1, copyRounds, onRun)
  const caughtUp = await catchUp(source, to)
  onRun({ ...runOf('changes of a split, followed', Infinity), ops_per_s: caughtUp })
  return { copied, caughtUp }
}

async function run(url: string, ...statements: readonly string[]): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    for (const sql of statements) await client.query(sql)
  } finally {
    await client.end()
  }
}

const taken = { databases: 0 }

/** A new database on that server with the table; its URL. */
async function emptyDatabase(server: string): Promise<string> {
  taken.databases += 1
  const name = `bench_${String(taken.databases)}`
  await run(server, `create database ${name}`)
  const url = new URL(server)
  url.pathname = name
  await run(url.href, 'create schema fleetshard', tableDdl)
  return url.href
}

const runOf = (variant: string, elapsedMs: number): Run => ({
  variant,
  clients: 1,
  ops_per_s: (rows * 1000) / elapsedMs,
  p50_ms: null,
  p99_ms: null,
  cpu_us_per_op: null,
  rss_mb: null,
})

async function psqlCopy(source: string, server: string): Promise<Run> {
  const target = await emptyDatabase(server)
  const columns = 'id, owner, name, at, body'
  const script = `psql -qX '${source}' -c 'copy (select ${columns} from item) to stdout (format binary)' |
    psql -qX '${target}' -c 'copy item (${columns}) from stdin (format binary)'`
  const began = performance.now()
  await promisify(execFile)('sh', ['-c', script])
  return runOf('psql | psql', performance.now() - began)
}

const item: MovedTable = {
  name: 'public.item',
  kind: 'sharded',
  columns: ['bigint', 'text', 'text', 'timestamp with time zone', 'text'].map((type, index) => ({
    name: ['id', 'owner', 'name', 'at', 'body'][index] ?? '',
    type,
  })),
  primaryKey: [0],
  shardKey: { column: 1, type: 'text' },
  unitsBy: 'integer',
  tellsKey: false,
  isUniqueByKey: false,
  hasTriggers: false,
  referencedBy: [],
  signature: '',
  rowsEstimate: rows,
  bytes: 0,
}

function targetOf(text: string): NodeTarget {
  const url = new URL(text)
  return {
    host: url.hostname,
    port: Number(url.port),
    database: url.pathname.slice(1),
    user: url.username,
    password: decodeURIComponent(url.password),
    tls: 'disable',
  }
}

async function splitCopy(source: string, server: string): Promise<Run> {
  const urls = [await emptyDatabase(server), await emptyDatabase(server)]
  return runOf('split in two', await copyInHalves(source, urls))
}

/** Milliseconds that it took. */
async function copyInHalves(source: string, urls: readonly string[]): Promise<number> {
  const { signal } = new AbortController()
  const engine = createReshardEngine('postgres', { clock: systemClock })
  await using reader = await engine.openSource(targetOf(source), signal)
  await using first = await engine.openTarget(targetOf(urls[0] ?? ''), 'bench', 1, signal)
  await using second = await engine.openTarget(targetOf(urls[1] ?? ''), 'bench', 1, signal)
  const place = placeInHalves()
  const began = performance.now()
  await reader.copyUnit(
    {
      source: parseShardId('a'),
      table: item,
      number: 1,
      range: { after: null, upTo: null },
      targets: [first, second],
      place: (key) => place(key, 'text'),
      mayUse: () => true,
    },
    signal,
  )
  return performance.now() - began
}

/** By the highest bit of the hash. */
function placeInHalves(): Place {
  const cell = makeHash64()
  const halves = [[0], [1]]
  return (key) => {
    if (key !== null) HASHES.murmur3.ofKey(key, 'text', cell)
    return halves[cell.hi >>> 31] ?? []
  }
}

/** Changed rows a second, from the source's log to two databases that hold its rows. */
async function catchUp(source: string, server: string): Promise<number> {
  const stop = new AbortController()
  const { signal } = stop
  const engine = createReshardEngine('postgres', { clock: systemClock })
  const names = { slot: 'bench_catch_up', publication: 'bench_catch_up' }
  const shard = parseShardId('a')
  await engine.makeSlot(targetOf(source), names, [item], signal)
  const urls = [await emptyDatabase(server), await emptyDatabase(server)]
  await copyInHalves(source, urls)
  for (let part = 0; part < 10; part += 1) {
    const [low, high] = [(part * changedRows) / 10, ((part + 1) * changedRows) / 10]
    await run(
      source,
      `update item set name = 'changed ' || id where id > ${String(low)} and id <= ${String(high)}`,
    )
  }
  await using reader = await engine.openSource(targetOf(source), signal)
  await using first = await engine.openTarget(targetOf(urls[0] ?? ''), 'bench', 1, signal)
  await using second = await engine.openTarget(targetOf(urls[1] ?? ''), 'bench', 1, signal)
  const began = performance.now()
  await using stream = await engine.openChanges(targetOf(source), names, signal)
  const mover = new SourceMover({
    source: shard,
    tables: [item],
    units: streamedUnits([item]),
    reader,
    stream,
    targets: [first, second],
    applied: [parseLsn('0/0'), parseLsn('0/0')],
    place: placeInHalves(),
    mayMeet: () => false,
    own: { clock: systemClock, meetMsMax: 0, isOwnOf: () => null },
    markPrefix: 'bench',
    xidMin: 0n,
  })
  const following = mover.follow(signal)
  // One that fails is told, and not waited for.
  await Promise.race([mover.reach(signal), following])
  const tookMs = performance.now() - began
  stop.abort()
  await Promise.allSettled([following])
  return (changedRows * 1000) / tookMs
}

interface Cutovers {
  /** Milliseconds that each hold lasted, as the worker tells. */
  readonly holds: readonly number[]
  /** The longest write of each cutover, milliseconds. */
  readonly writes: readonly number[]
  readonly refused: number
  /** Writes answered a second. */
  readonly rate: number
}

async function measureCutovers(onRun: (run: Run) => void): Promise<Cutovers> {
  await using cluster = await startBenchCluster(1)
  await send(cluster, 'POST', '/api/v1/keyspaces/default/tables', {
    name: 'counter',
    key_column: 'key',
    ddl: 'create table counter (key text primary key, n bigint not null default 0)',
    wait_ms: 60_000,
  })
  const stop = new AbortController()
  const writing = writePaced({
    port: cluster.router.port,
    path: '/v1/execute',
    perSecond: writesPerSecond,
    signal: stop.signal,
    body: (count) =>
      JSON.stringify({
        shard_key: `k${String(count % keyCount)}`,
        query: 'insert into counter (key) values ($1) on conflict (key) do update set n = counter.n + 1',
        params: [`k${String(count % keyCount)}`],
      }),
  })
  const began = performance.now()
  const spans: { readonly from: number; readonly to: number; readonly holdMs: number }[] = []
  try {
    let source = await activeShard(cluster)
    for (let number = 1; number <= cutovers; number += 1) {
      const from = performance.now()
      const job = await moveTo(cluster, source, `moved-${String(number)}`)
      spans.push({ from, to: performance.now(), holdMs: job.hold_ms ?? Infinity })
      onRun({ ...runOf(`cutover ${String(number)}, ms of hold`, Infinity), p50_ms: job.hold_ms })
      await send(cluster, 'DELETE', `/api/v1/shards/${source}`)
      source = await activeShard(cluster)
    }
  } finally {
    stop.abort()
  }
  const writes = await writing
  const ended = performance.now()
  const longest = ({ from, to }: { readonly from: number; readonly to: number }): number =>
    writes.reduce((most, one: PacedWrite) => {
      const isWithin = one.beganMs >= from && one.beganMs <= to
      return isWithin ? Math.max(most, one.tookMs) : most
    }, 0)
  return {
    holds: spans.map(({ holdMs }) => holdMs),
    writes: spans.map(longest),
    refused: writes.filter(({ status }) => status !== 200).length,
    rate: (writes.length * 1000) / (ended - began),
  }
}

async function moveTo(cluster: BenchCluster, source: string, name: string): Promise<ReshardJob> {
  const target = { name, nodes: 'embedded' }
  const body = { source_shard_id: source, target_shard: target, reversible_seconds: 0 }
  const { id } = await send<ReshardJob>(cluster, 'POST', '/api/v1/reshard/move', body)
  for (;;) {
    const job = await send<ReshardJob>(cluster, 'GET', `/api/v1/reshard/jobs/${id}`)
    if (job.status === 'completed') return job
    if (job.completed_at !== null) throw new Error(`the move failed: ${JSON.stringify(job)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function activeShard(cluster: BenchCluster): Promise<string> {
  const { shards } = await send<{ shards: Shard[] }>(cluster, 'GET', '/api/v1/shards')
  const found = shards.find(({ status }) => status === 'active')
  if (found === undefined) throw new Error('no shard is active')
  return found.id
}

async function send<T>(cluster: BenchCluster, method: string, path: string, body?: object): Promise<T> {
  const answer = await fetch(`${cluster.managerUrl}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
  if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`)
  return (answer.status === 204 ? null : await answer.json()) as T
}
