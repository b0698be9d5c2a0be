// `overload`: more clients and more statements than the servers' connections can carry, at two, five and ten times the
// plateau. What is answered must stay at the plateau, and nobody may wait much longer than the queue allows. Each
// statement takes its connection for a fixed time, so that the plateau is that of the pool, not of the machine.
import { fileURLToPath } from 'node:url'
import { startBenchCluster } from '../harness/cluster.ts'
import { pgTargetOf } from '../harness/pgbench.ts'
import { runToEnd } from '../harness/process.ts'
import { atLeast, atMost, describeMachine, type Report, type Run, type Target } from '../harness/report.ts'
import type { WireLoadOrder, WireLoadResult } from '../load/wire-load.ts'

const heldMs = 50
/** Connections of the measured router: half of what is configured, since `up` has a router too. */
const connections = 20
const queueWaitMs = 500
const queueLength = 200
const factors = [2, 5, 10] as const
const measureMs = 6_000
const warmupMs = 1_500
/** A statement under way when its client was let in, and what the machine itself adds. */
const marginMs = 250

/** Measures what too much does. */
export async function overload(onRun: (run: Run) => void): Promise<Report> {
  await using cluster = await startBenchCluster(1, {
    routerWords: [
      ['--router-connections-per-node', String(connections * 2)],
      ['--router-queue-wait-ms', String(queueWaitMs)],
      ['--router-queue-length-max', String(queueLength)],
    ].flat(),
  })
  const port = cluster.router.wirePort
  const { user, password } = pgTargetOf(cluster.nodeUrl('shard-1-a'))
  const url = `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${String(port)}/default`
  const measure = async (
    name: string,
    clients: number,
    offeredPerSecond: number | null,
  ): Promise<Measured> => {
    const order: WireLoadOrder = {
      url,
      query: `SELECT pg_sleep(${String(heldMs / 1000)})`,
      clients,
      offeredPerSecond,
      warmupMs,
      measureMs,
    }
    const load = fileURLToPath(new URL('../load/wire-load.ts', import.meta.url))
    const cpuBefore = cluster.router.cpuMs()
    const result = (await runToEnd(load, [JSON.stringify(order)])) as WireLoadResult
    if (result.failed > 0)
      throw new Error(`${name}: ${String(result.failed)} failures, one of them: ${String(result.failure)}`)
    const run: Run = {
      variant: name,
      clients,
      ops_per_s: (result.answered * 1000) / result.elapsedMs,
      p50_ms: result.p50Ms,
      p99_ms: result.p99Ms,
      cpu_us_per_op: ((cluster.router.cpuMs() - cpuBefore) * 1000) / (result.answered + result.refused),
      rss_mb: cluster.router.rssMb(),
    }
    onRun(run)
    return { run, result }
  }
  const plateau = await measure('plateau', connections, null)
  const measured: { factor: number; kind: string; measured: Measured }[] = []
  for (const factor of factors) {
    const clients = connections * factor
    measured.push({
      factor,
      kind: 'connections',
      measured: await measure(`${String(factor)}x connections`, clients, null),
    })
    const offered = plateau.run.ops_per_s * factor
    // Enough clients that the offer can be made while some of them wait.
    const carriers = connections * factor * 4
    measured.push({
      factor,
      kind: 'offered load',
      measured: await measure(`${String(factor)}x offered load`, carriers, offered),
    })
  }
  return {
    workload: 'overload',
    machine: `${describeMachine()}, PostgreSQL ${cluster.postgresVersion}`,
    runs: [plateau.run, ...measured.map(({ measured: { run } }) => run)],
    ratios: Object.fromEntries(
      measured.map(({ factor, kind, measured: { run } }) => [
        `${String(factor)}x ${kind} / plateau`,
        run.ops_per_s / plateau.run.ops_per_s,
      ]),
    ),
    targets: measured.flatMap((each) => targetsOf(each, plateau.run)),
    notes: [
      `each statement holds its connection for ${String(heldMs)} ms; ${String(connections)} connections, a queue of ${String(queueLength)}, ${String(queueWaitMs)} ms of wait at most`,
      ...measured.map(
        ({ factor, kind, measured: { result } }) =>
          `${String(factor)}x ${kind}: ${String(result.answered)} answered, ${String(result.refused)} refused, refusals after ${String(Math.round(result.refusedP99Ms))} ms at p99`,
      ),
    ],
  }
}

interface Measured {
  readonly run: Run
  readonly result: WireLoadResult
}

function targetsOf(
  { factor, kind, measured: { run, result } }: { factor: number; kind: string; measured: Measured },
  plateau: Run,
): Target[] {
  const what = `${String(factor)}x ${kind}`
  return [
    atLeast(`${what}, throughput / plateau`, 0.9, run.ops_per_s / plateau.ops_per_s),
    atMost(`${what}, p99 of answers, ms`, queueWaitMs + heldMs + marginMs, run.p99_ms ?? NaN),
    atMost(`${what}, p99 of refusals, ms`, queueWaitMs + marginMs, result.refusedP99Ms),
  ]
}
