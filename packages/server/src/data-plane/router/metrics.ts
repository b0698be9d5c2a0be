// What a router counts, under the names of the table of metrics.
import type { ShardId, ShardMap, ShardRecord } from '@fleetshard/core'
import { ROUTER_METRICS as TABLE, type LabelValues, type Metrics } from '../../runtime/mod.ts'
import type { ExecutorMetrics, ShardAccess } from '@fleetshard/routing/execute'
import { STATEMENT_ROUTES, type Answered, type StatementRoute } from './listeners/http/endpoint.ts'
import type { StatementCache } from '@fleetshard/routing/plan'
import type { SessionMetrics } from './session/environment.ts'
import { isCrossShard, ShardSeries } from './shard-series.ts'
import type { WirePort } from './wire.ts'

/** Where gauges read from when somebody asks. */
export interface RouterGauges {
  readonly maps: () => Iterable<ShardMap>
  readonly shards: () => Iterable<ShardAccess>
  readonly mapAgeMs: () => number
  readonly statements: StatementCache
  readonly openTransactions: () => number
  /** Null for a router without a Postgres port. */
  readonly wire: () => WirePort | null
  /** True while a topology file is not what is served. */
  readonly isTopologyRefused: () => boolean
}

/** The counters of the hot path. */
export interface RouterMetrics extends ExecutorMetrics, SessionMetrics {
  answered(answered: Answered): void
  /** A statement has waited for a connection to the shard. */
  waited(shard: ShardRecord, waitedMs: number): void
  /** The shard is in no map any more. */
  forget(shard: ShardRecord): void
}

/** Registers the router's metrics. */
export function createRouterMetrics(metrics: Metrics, gauges: RouterGauges): RouterMetrics {
  registerGauges(metrics, gauges)
  registerConnections(metrics, gauges)
  registerPlanCache(metrics, gauges.statements)
  registerWire(metrics, gauges)
  const shards = new ShardSeries(metrics)
  const scopes = metrics.counter(TABLE.statement_scopes_total)
  const [one, part] = [scopes.with('one_shard'), scopes.with('part_of_all_shards')]
  const crossShard = scopes.with('cross_shard_refused')
  const ran = (shard: ShardRecord, kind: Parameters<ShardSeries['ran']>[1], isPart: boolean): void => {
    shards.ran(shard, kind)
    if (isPart) part.inc()
    else one.inc()
  }
  const requests = countRequests(metrics)
  return {
    ...countWire(metrics),
    ...countRouted(metrics),
    answered(answered) {
      requests(answered)
      const { ran: note, elapsedMs, error, code } = answered
      if (isCrossShard(code)) crossShard.inc()
      const shard = note.shard ?? shardOf(answered)
      if (shard === null) return
      shards.answered(shard, elapsedMs, note.rows, error === null ? '' : error.sqlstate)
      if (note.shard !== null) for (const { facts } of note.statements) ran(shard, facts.kind, note.isPart)
    },
    shardAnswered(shard, elapsedMs, rows, sqlstate) {
      shards.answered(shard, elapsedMs, rows, sqlstate)
    },
    shardRan: ran,
    crossShardRefused() {
      crossShard.inc()
    },
    waited(shard, waitedMs) {
      shards.waited(shard, waitedMs)
    },
    forget(shard) {
      shards.forget(shard)
    },
  }
}

/** The shard that an error is about; null for none that is in the map. */
function shardOf({ error, ran: { map } }: Answered): ShardRecord | null {
  const id = error?.facts['shard_id']
  return typeof id === 'string' ? (map?.shards.get(id as ShardId) ?? null) : null
}

function countRequests(metrics: Metrics): (answered: Answered) => void {
  const requests = metrics.counter(TABLE.http_requests_total)
  const seconds = metrics.histogram(TABLE.http_request_duration_seconds)
  const oks = ofEachRoute((route) => requests.with(route, 'ok'))
  const times = ofEachRoute((route) => seconds.with(route))
  return ({ route, code, elapsedMs }) => {
    if (code === 'ok') oks.get(route)?.inc()
    else requests.with(route, code).inc()
    times.get(route)?.observe(elapsedMs / 1000)
  }
}

function ofEachRoute<T>(make: (route: StatementRoute) => T): ReadonlyMap<StatementRoute, T> {
  return new Map(STATEMENT_ROUTES.map((route) => [route, make(route)]))
}

function countWire(metrics: Metrics): Pick<RouterMetrics, 'wireAnswered'> {
  const wire = metrics.counter(TABLE.wire_answers_total)
  const wireOk = wire.with('ok')
  const wireTimes = metrics.histogram(TABLE.wire_answer_duration_seconds).with()
  return {
    wireAnswered(code, elapsedMs) {
      if (code === 'ok') wireOk.inc()
      else wire.with(code).inc()
      wireTimes.observe(elapsedMs / 1000)
    },
  }
}

function countRouted(metrics: Metrics): Pick<RouterMetrics, 'routed' | 'retried'> {
  const routed = metrics.counter(TABLE.statements_routed_total)
  const retried = metrics.counter(TABLE.statements_retried_total)
  const bind = (role: string) => ({ lane: routed.with(role, 'lane'), alone: routed.with(role, 'alone') })
  const [primary, replica] = [bind('primary'), bind('replica')]
  return {
    routed(role, way) {
      const ways = role === 'primary' ? primary : replica
      if (way === 'lane') ways.lane.inc()
      else ways.alone.inc()
    },
    retried(reason) {
      retried.with(reason).inc()
    },
  }
}

function registerWire(metrics: Metrics, { wire }: RouterGauges): void {
  metrics.observedGauge(TABLE.wire_connections, () => [{ labels: [], value: wire()?.connections ?? 0 }])
  metrics.observedGauge(TABLE.wire_sessions, () =>
    Array.from(wire()?.activities() ?? [], ([state, value]) => ({ labels: [state], value })),
  )
  metrics.observedCounter(TABLE.wire_wrong_attempts_total, () =>
    Object.entries(wire()?.attempts ?? {}).flatMap(([kind, { wrong, ignored }]) => [
      { labels: [kind, 'wrong'] as const, value: wrong },
      { labels: [kind, 'ignored'] as const, value: ignored },
    ]),
  )
}

function registerGauges(metrics: Metrics, gauges: RouterGauges): void {
  const { maps, mapAgeMs, openTransactions, isTopologyRefused } = gauges
  const ofKeyspaces = (read: (map: ShardMap) => number) => () =>
    Array.from(maps(), (map) => ({
      labels: [map.snapshot.keyspace.name] as readonly [string],
      value: read(map),
    }))
  metrics.observedGauge(TABLE.transactions_open, () => [{ labels: [], value: openTransactions() }])
  metrics.observedGauge(
    TABLE.map_epoch,
    ofKeyspaces(({ epoch }) => epoch),
  )
  metrics.observedGauge(
    TABLE.map_shards,
    ofKeyspaces(({ owners }) => owners.length),
  )
  metrics.observedGauge(TABLE.map_age_seconds, () => [{ labels: [], value: mapAgeMs() / 1000 }])
  metrics.observedGauge(TABLE.topology_file_refused, () => [
    { labels: [], value: isTopologyRefused() ? 1 : 0 },
  ])
}

function registerPlanCache(metrics: Metrics, statements: StatementCache): void {
  metrics.observedGauge(TABLE.plan_cache_statements, () => [{ labels: [], value: statements.size }])
  metrics.observedCounter(TABLE.plan_cache_lookups_total, () => [
    { labels: ['hit'], value: statements.hits },
    { labels: ['miss'], value: statements.misses },
  ])
}

/** Of one node over all roles that clients log in as. */
interface NodeCounts {
  readonly shard: string
  readonly node: string
  lanes: number
  idle: number
  lent: number
  waiting: number
  inFlight: number
  isUp: boolean
}

function registerConnections(metrics: Metrics, { shards }: RouterGauges): void {
  metrics.observedGauge(TABLE.node_connections, () =>
    countNodes(shards()).flatMap(({ shard, node, lanes, idle, lent, waiting }) => [
      { labels: [shard, node, 'lane'], value: lanes },
      { labels: [shard, node, 'idle'], value: idle },
      { labels: [shard, node, 'lent'], value: lent },
      { labels: [shard, node, 'waiting'], value: waiting },
    ]),
  )
  const ofNodes = (read: (counts: NodeCounts) => number) => () =>
    countNodes(shards()).map((counts) => ({
      labels: [counts.shard, counts.node] as LabelValues<readonly ['shard', 'node']>,
      value: read(counts),
    }))
  metrics.observedGauge(
    TABLE.node_statements_in_flight,
    ofNodes(({ inFlight }) => inFlight),
  )
  metrics.observedGauge(
    TABLE.node_reachable,
    ofNodes(({ isUp }) => (isUp ? 1 : 0)),
  )
}

function countNodes(shards: Iterable<ShardAccess>): readonly NodeCounts[] {
  const found = new Map<string, NodeCounts>()
  for (const { record, pools } of shards) {
    for (const { node, pool } of pools) {
      const { lanes, idle, lent, waiting, inFlight } = pool.counts
      const key = `${record.id} ${node.id}`
      const place = { shard: record.id, node: node.id }
      const sum = found.get(key) ?? {
        ...place,
        lanes: 0,
        idle: 0,
        lent: 0,
        waiting: 0,
        inFlight: 0,
        isUp: true,
      }
      sum.lanes += lanes
      sum.idle += idle
      sum.lent += lent
      sum.waiting += waiting
      sum.inFlight += inFlight
      sum.isUp &&= pool.isUp
      found.set(key, sum)
    }
  }
  return [...found.values()]
}
