// The manager's metrics.
import type { Metrics } from '../../runtime/mod.ts'
import type { Fleet } from './fleet.ts'

/** Where the manager's parts report. */
export interface ManagerMetrics {
  answered(answer: { method: string; route: string; status: number; elapsedMs: number }): void
  /** `outcome` is `ok` or the error's code. */
  changed(change: { what: string; outcome: string; elapsedMs: number }): void
  leading(isLeader: boolean): void
}

/** Registers the families; once a registry. */
export function createManagerMetrics(metrics: Metrics, fleet: Fleet): ManagerMetrics {
  const requests = metrics.counter({
    name: 'manager_requests_total',
    help: 'Requests answered by the manager',
    labels: ['method', 'route', 'status'],
  })
  const requestSeconds = metrics.histogram({
    name: 'manager_request_seconds',
    help: 'Time to answer a request',
    labels: ['route'],
  })
  const changes = metrics.counter({
    name: 'manager_changes_total',
    help: 'Changes tried, by their outcome: ok or the code of the error',
    labels: ['what', 'outcome'],
  })
  const changeSeconds = metrics.histogram({
    name: 'manager_change_seconds',
    help: 'Time of a change',
    labels: ['what'],
  })
  const leader = metrics.gauge({ name: 'manager_leader', help: '1 while this manager leads' })
  leader.with().set(0)
  observeFleet(metrics, fleet)
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

function observeFleet(metrics: Metrics, fleet: Fleet): void {
  metrics.observedGauge(
    { name: 'manager_catalog_age_seconds', help: 'Time since the catalog was last heard of' },
    () => (Number.isFinite(fleet.ageMs()) ? [{ labels: [], value: fleet.ageMs() / 1000 }] : []),
  )
  metrics.observedGauge(
    { name: 'manager_map_epoch', help: 'Epoch of the shard map', labels: ['keyspace'] },
    () => keyspaces(fleet).map(({ keyspace, epoch }) => ({ labels: [keyspace.name], value: epoch })),
  )
  metrics.observedGauge(
    { name: 'manager_shards', help: 'Shards by their state', labels: ['keyspace', 'status'] },
    () => keyspaces(fleet).flatMap(countByStatus),
  )
}

type Snapshot = ReturnType<typeof keyspaces>[number]

function keyspaces(fleet: Fleet) {
  return fleet.isLoaded() ? [...fleet.state().keyspaces.values()] : []
}

function countByStatus({ keyspace, shards }: Snapshot) {
  const counts = new Map<string, number>()
  for (const { status } of shards) counts.set(status, (counts.get(status) ?? 0) + 1)
  return [...counts].map(([status, value]) => ({ labels: [keyspace.name, status] as const, value }))
}
