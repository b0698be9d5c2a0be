// The manager's metrics: what it answers and changes, and what the catalog says of shards, routers and jobs.
import { shareOf, type JobRecord, type KeyspaceSnapshot, type ShardId } from '@fleetshard/core'
import { parseReshardJobDetail, reshardJobType, type ReshardJobDetail } from '../../engine/mod.ts'
import { MANAGER_METRICS as TABLE, type Metrics } from '../../runtime/mod.ts'
import type { Fleet } from './fleet.ts'
import type { Rings } from './rings.ts'

/** Where the manager's parts report. */
export interface ManagerMetrics {
  answered(answer: { method: string; route: string; status: number; elapsedMs: number }): void
  /** `outcome` is `ok` or the error's code. */
  changed(change: { what: string; outcome: string; elapsedMs: number }): void
  leading(isLeader: boolean): void
}

/** Registers the families; once a registry. */
export function createManagerMetrics(metrics: Metrics, fleet: Fleet, rings: Rings): ManagerMetrics {
  const requests = metrics.counter(TABLE.manager_requests_total)
  const requestSeconds = metrics.histogram(TABLE.manager_request_duration_seconds)
  const changes = metrics.counter(TABLE.manager_changes_total)
  const changeSeconds = metrics.histogram(TABLE.manager_change_duration_seconds)
  const leader = metrics.gauge(TABLE.manager_leader)
  leader.with().set(0)
  observeKeyspaces(metrics, fleet, rings)
  observeRouters(metrics, fleet)
  observeJobs(metrics, fleet)
  return {
    answered({ method, route, status, elapsedMs }) {
      requests.with(method, route, String(status)).inc()
      requestSeconds.with(route).observe(elapsedMs / 1000)
    },
    changed({ what, outcome, elapsedMs }) {
      changes.with(what, outcome).inc()
      changeSeconds.with(what).observe(elapsedMs / 1000)
    },
    leading: (isLeader) => {
      leader.with().set(isLeader ? 1 : 0)
    },
  }
}

function observeKeyspaces(metrics: Metrics, fleet: Fleet, rings: Rings): void {
  metrics.observedGauge(TABLE.manager_catalog_age_seconds, () =>
    Number.isFinite(fleet.ageMs()) ? [{ labels: [], value: fleet.ageMs() / 1000 }] : [],
  )
  metrics.observedGauge(TABLE.manager_map_epoch, () =>
    keyspaces(fleet).map(({ keyspace, epoch }) => ({ labels: [keyspace.name], value: epoch })),
  )
  metrics.observedGauge(TABLE.manager_shards, () =>
    keyspaces(fleet).flatMap(({ keyspace, shards }) =>
      countBy(shards.map(({ status }) => [keyspace.name, status] as const)),
    ),
  )
  const shares = createShares(rings)
  metrics.observedGauge(TABLE.manager_shard_keys_ratio, () =>
    keyspaces(fleet).flatMap((snapshot) =>
      snapshot.shards.map(({ id }) => ({
        labels: [snapshot.keyspace.name, id] as const,
        value: shares(snapshot).get(id) ?? 0,
      })),
    ),
  )
}

/** What part of the ring each shard owns, worked out once for each state of a keyspace. */
function createShares(rings: Rings): (snapshot: KeyspaceSnapshot) => ReadonlyMap<ShardId, number> {
  const made = new WeakMap<KeyspaceSnapshot, ReadonlyMap<ShardId, number>>()
  return (snapshot) => {
    const known = made.get(snapshot)
    if (known !== undefined) return known
    const owned = rings.rangesOfAll(snapshot)
    const shares = new Map(Array.from(owned, ([id, ranges]) => [id, shareOf(ranges)]))
    made.set(snapshot, shares)
    return shares
  }
}

function observeRouters(metrics: Metrics, fleet: Fleet): void {
  const routers = () => (fleet.isLoaded() ? [...fleet.state().routers.values()] : [])
  metrics.observedGauge(TABLE.manager_routers, () => {
    const direct = routers().filter(({ kind }) => kind === 'direct').length
    return [
      { labels: ['router'], value: routers().length - direct },
      { labels: ['direct'], value: direct },
    ]
  })
  metrics.observedGauge(TABLE.manager_routers_behind, () =>
    keyspaces(fleet).map(({ keyspace, epoch }) => ({
      labels: [keyspace.name],
      // A direct client knows one keyspace only.
      value: routers().filter(({ kind, ackedEpochs }) => {
        const acked = ackedEpochs[keyspace.name]
        return acked === undefined ? kind !== 'direct' : acked < epoch
      }).length,
    })),
  )
}

function observeJobs(metrics: Metrics, fleet: Fleet): void {
  const jobs = () => (fleet.isLoaded() ? Array.from(fleet.state().jobs.values(), ({ record }) => record) : [])
  const open = () => jobs().filter(isOpen)
  metrics.observedGauge(TABLE.manager_jobs, () =>
    countBy(jobs().map(({ type, status }) => [type, status] as const)),
  )
  metrics.observedGauge(TABLE.job_progress_ratio, () =>
    open().map(({ type, id, progress }) => ({ labels: [type, id] as const, value: progress })),
  )
  const moves = (read: (detail: ReshardJobDetail) => number) => () =>
    open().flatMap((job) => {
      const detail = moveOf(job)
      return detail === null ? [] : [{ labels: [job.id] as readonly [string], value: read(detail) }]
    })
  metrics.observedGauge(
    TABLE.job_rows_copied,
    moves(({ rowsCopied }) => rowsCopied),
  )
  metrics.observedGauge(
    TABLE.job_lag_bytes,
    moves(({ figures }) => figures?.lagBytes ?? 0),
  )
  metrics.observedGauge(
    TABLE.job_throttled,
    moves(({ figures }) => ((figures?.throttle ?? null) === null ? 0 : 1)),
  )
}

/** Null for a job that moves no rows; a record that cannot be read must not hide all other metrics. */
function moveOf({ type, detail }: JobRecord): ReshardJobDetail | null {
  if (type !== reshardJobType) return null
  try {
    return parseReshardJobDetail(detail)
  } catch {
    return null
  }
}

const isOpen = ({ status }: JobRecord): boolean => status === 'pending' || status === 'running'

const keyspaces = (fleet: Fleet) => (fleet.isLoaded() ? [...fleet.state().keyspaces.values()] : [])

/** How often each pair of words occurs. */
function countBy(
  pairs: readonly (readonly [string, string])[],
): { labels: readonly [string, string]; value: number }[] {
  const counts = new Map<string, { labels: readonly [string, string]; value: number }>()
  for (const labels of pairs) {
    const key = labels.join(' ')
    const count = counts.get(key) ?? { labels, value: 0 }
    count.value += 1
    counts.set(key, count)
  }
  return [...counts.values()]
}
