// How long writes are away when a primary dies, is frozen, or is asked to step down, under quorum commit and a steady
// load: from the fault to the first write that is acknowledged again.
import { readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import type { Failover, FailoverList, Shard } from '@fleetshard/core/contract'
import { postgresProcessesOf } from '../../packages/server/src/agent/mod.ts'
import { startBenchCluster, type BenchCluster } from '../harness/cluster.ts'
import { atMost, describeMachine, median, type Report, type Run, type RunOptions } from '../harness/report.ts'
import { writePaced, type PacedWrite } from '../load/paced-writer.ts'

const writesPerSecond = 200
const keyCount = 500
const wholeMsMax = 180_000
const pollMs = 20
const settleMs = 1_500

type Kind = 'kill -9' | 'SIGSTOP' | 'switchover'

interface Measured {
  readonly kind: Kind
  /** When the fault happened, `performance.now()`. */
  readonly atMs: number
  readonly toMs: number
  readonly failover: Failover
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** The workload. */
export async function failover(onRun: (run: Run) => void, { kills }: RunOptions): Promise<Report> {
  const others = Math.ceil(kills / 2)
  await using cluster = await startBenchCluster(1, { replicas: 2 })
  await prepare(cluster)
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
  const measured: Measured[] = []
  try {
    const order = (kind: Kind, count: number): Kind[] => Array.from({ length: count }, () => kind)
    for (const kind of [
      ...order('kill -9', kills),
      ...order('SIGSTOP', others),
      ...order('switchover', others),
    ]) {
      const one = await measure(cluster, kind)
      measured.push(one)
      const ms = one.failover.steps.reduce(
        (sum, { state, ms: took }) => (before.has(state) ? sum + took : sum),
        0,
      )
      onRun({ ...runOf(kind), p50_ms: ms })
    }
  } finally {
    stop.abort()
  }
  return reportOf(measured, await writing)
}

/** States in which nobody leads. */
const before = new Set(['declared', 'fencing', 'electing', 'promoting'])

function reportOf(measured: readonly Measured[], writes: readonly PacedWrite[]): Report {
  const of = (kind: Kind): readonly number[] =>
    measured.filter((one) => one.kind === kind).map((one) => awayMs(one, writes))
  const held = measured.filter(({ kind }) => kind === 'switchover').map((one) => longestMs(one, writes))
  const [killed, frozen] = [of('kill -9'), of('SIGSTOP')]
  const isIn = ({ beganMs }: PacedWrite, kind: Kind): boolean =>
    measured.some((one) => one.kind === kind && beganMs >= one.atMs - settleMs && beganMs <= one.toMs)
  const refused = writes.filter((one) => one.status !== 200 && isIn(one, 'switchover')).length
  const wrong = writes.filter(({ status }) => status !== 200).length
  return {
    workload: 'failover',
    machine: describeMachine(),
    runs: (['kill -9', 'SIGSTOP', 'switchover'] as const).map((kind) => ({
      ...runOf(kind),
      p50_ms: median(kind === 'switchover' ? held : of(kind)),
      p99_ms: Math.max(...(kind === 'switchover' ? held : of(kind))),
    })),
    ratios: {},
    targets: [
      atMost(
        `writes away after kill -9, longest of ${String(killed.length)}, ms`,
        4_000,
        Math.max(...killed),
      ),
      atMost(
        `writes away after SIGSTOP, longest of ${String(frozen.length)}, ms`,
        7_000,
        Math.max(...frozen),
      ),
      atMost(
        `longest write of a switchover, longest of ${String(held.length)}, ms`,
        1_000,
        Math.max(...held),
      ),
      atMost('writes of switchovers that were not acknowledged', 0, refused),
    ],
    notes: [
      `one shard, two replicas, one of them confirms each commit; ${String(writesPerSecond)} writes a second over HTTP`,
      `kill -9 of a server that cannot start again, ms: ${killed.map((ms) => ms.toFixed(0)).join(' ')}`,
      `SIGSTOP of all its processes, ms: ${frozen.map((ms) => ms.toFixed(0)).join(' ')}`,
      `longest write of each switchover, ms: ${held.map((ms) => ms.toFixed(0)).join(' ')}`,
      `writes whose outcome was unknown or that were refused: ${String(wrong)} of ${String(writes.length)}`,
      'p99 is the longest',
    ],
  }
}

const runOf = (variant: string): Run => ({
  variant,
  clients: 1,
  ops_per_s: writesPerSecond,
  p50_ms: null,
  p99_ms: null,
  cpu_us_per_op: null,
  rss_mb: null,
})

/** From the fault to the end of the longest time without an acknowledged write. */
function awayMs({ atMs, toMs }: Measured, writes: readonly PacedWrite[]): number {
  const ends = writes
    .filter(({ status }) => status === 200)
    .map(({ beganMs, tookMs }) => beganMs + tookMs)
    .filter((endMs) => endMs >= atMs && endMs <= toMs)
    .toSorted((a, b) => a - b)
  let back = { gapMs: 0, atMs }
  let last = atMs
  for (const end of ends) {
    if (end - last > back.gapMs) back = { gapMs: end - last, atMs: end }
    last = end
  }
  return back.atMs - atMs
}

const longestMs = ({ atMs, toMs }: Measured, writes: readonly PacedWrite[]): number =>
  Math.max(
    0,
    ...writes
      .filter(({ beganMs }) => beganMs >= atMs - pollMs && beganMs <= toMs)
      .map(({ tookMs }) => tookMs),
  )

async function prepare(cluster: BenchCluster): Promise<void> {
  await send(cluster, 'POST', '/api/v1/keyspaces/default/tables', {
    name: 'counter',
    key_column: 'key',
    ddl: 'create table counter (key text primary key, n bigint not null default 0)',
    wait_ms: 60_000,
  })
  await send(cluster, 'PATCH', '/api/v1/keyspaces/default', { durability: 'protection' })
}

async function measure(cluster: BenchCluster, kind: Kind): Promise<Measured> {
  const { shard, primary } = await whole(cluster)
  await pause(settleMs)
  const folder = join(cluster.dataDir, 'servers', primary)
  const atMs = performance.now()
  if (kind === 'switchover')
    await send(cluster, 'POST', `/api/v1/shards/${shard}/promote`, { reason: 'bench' })
  else if (kind === 'SIGSTOP') {
    for (const pid of await postgresProcessesOf(join(folder, 'data'))) process.kill(pid, 'SIGSTOP')
  } else {
    const control = join(folder, 'data', 'global', 'pg_control')
    renameSync(control, `${control}.gone`)
    process.kill(Number(readFileSync(join(folder, 'data/postmaster.pid'), 'utf8').split('\n')[0]), 'SIGKILL')
  }
  const deadline = performance.now() + wholeMsMax
  for (;;) {
    const found = await send<FailoverList>(cluster, 'GET', `/api/v1/shards/${shard}/failovers`)
    const last = found.failovers[0]
    if (last !== undefined && found.primary !== primary && last.from === primary) {
      await pause(settleMs)
      return { kind, atMs, toMs: performance.now(), failover: last }
    }
    if (performance.now() > deadline) throw new Error(`nobody leads: ${JSON.stringify(last)}`)
    await pause(pollMs)
  }
}

/** Waits until the shard has all its nodes and the quorum is in force. */
async function whole(cluster: BenchCluster): Promise<{ readonly shard: string; readonly primary: string }> {
  const deadline = performance.now() + wholeMsMax
  for (;;) {
    const { shards } = await send<{ shards: Shard[] }>(cluster, 'GET', '/api/v1/shards')
    const [shard] = shards
    if (shard === undefined) throw new Error('there is no shard')
    const found = await send<FailoverList>(cluster, 'GET', `/api/v1/shards/${shard.id}/failovers`)
    const isOpen = found.failovers.some(({ status }) => status === 'pending' || status === 'running')
    const isQuorumSet = found.quorum?.required === 1 && !found.quorum.changing
    if (!isOpen && isQuorumSet && found.primary !== null) return { shard: shard.id, primary: found.primary }
    if (performance.now() > deadline) throw new Error(`the shard is not whole: ${JSON.stringify(found)}`)
    await pause(pollMs)
  }
}

async function send<T>(cluster: BenchCluster, method: string, path: string, body?: object): Promise<T> {
  const answer = await fetch(`${cluster.managerUrl}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
  if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`)
  return (await answer.json()) as T
}
