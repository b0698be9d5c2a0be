// What the health controller tells of servers and failovers: what its probes have found.
import { toFleetError, type NodeId, type NodeRecord, type ShardRecord } from '@fleetshard/core'
import type { NodeFigures } from '../../engine/mod.ts'
import { HEALTH_METRICS as TABLE, type Metrics } from '../../runtime/mod.ts'
import { readFailoverJob, type FailoverJob } from './job.ts'
import type { HealthParts } from './parts.ts'
import type { ProbeResult, ShardProbe } from './probes.ts'
import { traceFailover } from './trace.ts'
import type { Verdict } from './verdict.ts'

/** What is known of one server. */
interface Seen {
  readonly shard: ShardRecord
  readonly node: NodeRecord
  readonly isUp: boolean
  readonly lagBytes: number | null
  readonly lagMs: number | null
  readonly figures: NodeFigures | null
}

/** What one controller tells; empty while it does not lead. */
export class HealthMetrics {
  readonly #seen = new Map<NodeId, Seen>()
  readonly #failovers
  readonly #failoverSeconds

  /** @param counts null while the controller does not lead */
  constructor(metrics: Metrics, counts: () => Readonly<Record<Verdict['kind'], number>> | null) {
    metrics.observedGauge(TABLE.health_leader, () => [{ labels: [], value: counts() === null ? 0 : 1 }])
    metrics.observedGauge(TABLE.health_shards, () =>
      Object.entries(counts() ?? {}).map(([state, value]) => ({ labels: [state], value })),
    )
    metrics.observedGauge(TABLE.server_up, () =>
      Array.from(this.#seen.values(), ({ shard, node, isUp }) => ({
        labels: [shard.keyspace, shard.id, node.id, node.role],
        value: isUp ? 1 : 0,
      })),
    )
    const lag = this.#valuesOf
    metrics.observedGauge(TABLE.server_replication_lag_bytes, () => lag(({ lagBytes }) => lagBytes))
    metrics.observedGauge(TABLE.server_replication_lag_seconds, () =>
      lag(({ lagMs }) => (lagMs === null ? null : lagMs / 1000)),
    )
    const figure = (read: (figures: NodeFigures) => number) => () =>
      this.#valuesOf(({ figures }) => (figures === null ? null : read(figures)))
    metrics.observedGauge(
      TABLE.server_connections,
      figure(({ connections }) => connections),
    )
    metrics.observedGauge(
      TABLE.server_connections_limit,
      figure(({ connectionsLimit }) => connectionsLimit),
    )
    metrics.observedGauge(
      TABLE.server_database_size_bytes,
      figure(({ databaseBytes }) => databaseBytes),
    )
    metrics.observedGauge(
      TABLE.server_wal_retained_bytes,
      figure(({ retainedWalBytes }) => retainedWalBytes),
    )
    this.#failovers = metrics.counter(TABLE.failovers_total)
    this.#failoverSeconds = metrics.histogram(TABLE.failover_duration_seconds)
  }

  /** A shard was looked at. */
  looked({ shard, primary, replicas }: ShardProbe): void {
    const written = primary?.kind === 'answered' ? primary.probe.position : null
    for (const result of primary === null ? replicas : [primary, ...replicas])
      this.#seen.set(result.node.id, { shard, ...seenOf(result, written) })
  }

  /** A job has ended. */
  async ended(
    parts: Pick<HealthParts, 'catalog' | 'clock' | 'log' | 'tracing'>,
    id: FailoverJob['stored']['record']['id'],
  ): Promise<void> {
    try {
      const stored = await parts.catalog.jobs.get(id)
      if (stored === null) return
      const job = readFailoverJob(stored)
      const { detail, state } = job
      traceFailover(parts, job)
      this.#failovers.with(detail.kind, state).inc()
      const ms = untilMapped(detail.steps)
      if (ms !== null) this.#failoverSeconds.with(detail.kind).observe(ms / 1000)
    } catch (error) {
      parts.log.debug({ job: id, reason: toFleetError(error).message }, 'a failover could not be counted')
    }
  }

  /** Servers that are in no shard any more. */
  keepOnly(ids: ReadonlySet<NodeId>): void {
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id)
  }

  readonly #valuesOf = (
    read: (seen: Seen) => number | null,
  ): { labels: readonly [string, string, string]; value: number }[] =>
    Array.from(this.#seen.values()).flatMap((seen) => {
      const value = read(seen)
      const { shard, node } = seen
      return value === null ? [] : [{ labels: [shard.keyspace, shard.id, node.id] as const, value }]
    })
}

function seenOf(result: ProbeResult, written: bigint | null): Omit<Seen, 'shard'> {
  const { node } = result
  if (result.kind === 'missed') return { node, isUp: false, lagBytes: null, lagMs: null, figures: null }
  const { replayed, lagMs } = result.probe
  const lagBytes = replayed === null || written === null ? null : Math.max(0, Number(written - replayed))
  // Without a receiver it cannot know that nothing is missing; the primary does.
  return { node, isUp: true, lagBytes, lagMs: lagBytes === 0 ? 0 : lagMs, figures: result.figures }
}

/** States in which the old primary leads no more and the new one is not in the map. */
const unmapped = new Set(['declared', 'fencing', 'electing', 'promoting'])

/** Null for a job that did not come so far. */
function untilMapped(steps: FailoverJob['detail']['steps']): number | null {
  if (!steps.some(({ state }) => state === 'promoting')) return null
  return steps.filter(({ state }) => unmapped.has(state)).reduce((sum, { ms }) => sum + ms, 0)
}
