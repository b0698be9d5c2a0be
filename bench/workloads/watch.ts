// `watch`: what a manager spends on shards that only have to be watched, told for 1,000 by what each further one adds.
// Each is a database of its own at an address of its own, so that the manager takes them for as many servers.
import { setTimeout as sleep } from 'node:timers/promises'
import { createShard, freshDatabases, startBenchManager, type BenchManager } from '../harness/manager.ts'
import { atMost, describeMachine, median, type Report, type Run } from '../harness/report.ts'
import { startBenchServer } from '../harness/server.ts'

const few = 1
const many = 257
/** Of a core, for 1,000 shards. */
const shareMax = 0.3
const settleMs = 10_000
const measuredMs = 10_000
const rounds = 5
/** Shards made at a time. */
const callers = 4
const settings = { max_connections: '600', listen_addresses: '0.0.0.0' }
/** Loopback addresses in use of each 127.0.n.0/24. */
const hostsEach = 200

/** Measures the manager's CPU time while nobody asks it for anything. */
export async function watch(onRun: (run: Run) => void): Promise<Report> {
  await using server = await startBenchServer(settings)
  await using manager = await startBenchManager(server, callers)
  const measured = new Map<number, Run[]>()
  let count = 0
  for (const shards of [few, many]) {
    const names = (await freshDatabases(server, shards - count)).entries()
    const from = count
    const make = async (): Promise<void> => {
      for (const [index, name] of names) await createShard(manager, server, name, hostOf(from + index))
    }
    await Promise.all(Array.from({ length: callers }, make))
    count = shards
    await sleep(settleMs)
    const runs: Run[] = []
    for (let round = 0; round < rounds; round += 1) {
      const run = await idle(manager, shards)
      runs.push(run)
      onRun(run)
    }
    measured.set(shards, runs)
  }
  const [one, all] = [few, many].map((shards) => median((measured.get(shards) ?? []).map(cpuShare)))
  const each = ((all ?? NaN) - (one ?? NaN)) / (many - few)
  return {
    workload: 'watch',
    machine: `${describeMachine()}, PostgreSQL ${server.version}`,
    runs: [...measured.values()].flat(),
    ratios: { [`CPU with ${String(many)} shards / with ${String(few)}`]: (all ?? NaN) / (one ?? NaN) },
    targets: [atMost('1,000 shards, part of a core', shareMax, (one ?? NaN) + each * (1_000 - few))],
    notes: [
      'an operation is a second of watching one shard; the CPU time of the servers is not in it',
      `1,000 shards: what ${String(few)} takes, and the slope up to ${String(many)}`,
    ],
  }
}

const hostOf = (index: number): string =>
  `127.0.${String(1 + Math.floor(index / hostsEach))}.${String(1 + (index % hostsEach))}`

/** Part of a core that a run has taken: what an operation costs, times operations a second. */
const cpuShare = ({ cpu_us_per_op, ops_per_s }: Run): number => ((cpu_us_per_op ?? NaN) * ops_per_s) / 1e6

async function idle(manager: BenchManager, shards: number): Promise<Run> {
  const [cpuMs, begun] = [manager.cpuMs(), performance.now()]
  await sleep(measuredMs)
  const seconds = (performance.now() - begun) / 1000
  return {
    variant: `${String(shards)} watched`,
    clients: 0,
    ops_per_s: shards,
    p50_ms: null,
    p99_ms: null,
    cpu_us_per_op: ((manager.cpuMs() - cpuMs) * 1000) / seconds / shards,
    rss_mb: manager.rssMb(),
  }
}
