// What a router counts, under the names that dashboards know.
import type { ShardMap } from '@fleetshard/core'
import type { Metrics } from '../../runtime/mod.ts'
import type { ExecutorMetrics, ShardAccess } from '@fleetshard/routing/execute'
import { STATEMENT_ROUTES, type Answered, type StatementRoute } from './listeners/http/endpoint.ts'
import type { StatementCache } from '@fleetshard/routing/plan'
import type { SessionMetrics } from './session/environment.ts'
import type { WirePort } from './wire.ts'

/** Where gauges read from when somebody asks. */
export interface RouterGauges {
  readonly maps: () => Iterable<ShardMap>
  readonly shards: () => Iterable<ShardAccess>
  readonly mapAgeMs: () => number
  readonly statements: StatementCache
  readonly openTransactions: () => number
}

/** The counters of the hot path. */
export interface RouterMetrics extends ExecutorMetrics, SessionMetrics {
  answered(answered: Answered): void
}

/** Registers the router's metrics. */
export function createRouterMetrics(metrics: Metrics, gauges: RouterGauges): RouterMetrics {
  registerGauges(metrics, gauges)
  const requests = metrics.counter({
    name: 'http_requests_total',
    help: 'HTTP requests by route and outcome: ok or the code of the error',
    labels: ['route', 'code'],
  })
  const seconds = metrics.histogram({
    name: 'http_request_seconds',
    help: 'Time from a request read to its answer ready',
    labels: ['route'],
  })
  const routed = metrics.counter({
    name: 'statements_routed_total',
    help: 'Statements by the role of the node they went to and the kind of connection: a shared lane or one of their own',
    labels: ['role', 'way'],
  })
  const retried = metrics.counter({
    name: 'statements_retried_total',
    help: 'Statements sent again, by the reason',
    labels: ['reason'],
  })
  const wire = metrics.counter({
    name: 'wire_answers_total',
    help: 'Queries and groups of messages answered on the Postgres port by outcome: ok or the SQLSTATE',
    labels: ['code'],
  })
  const wireSeconds = metrics.histogram({
    name: 'wire_seconds',
    help: 'Time from a query or group of messages read to its answer ready, on the Postgres port',
  })
  const wireOk = wire.with('ok')
  const wireTimes = wireSeconds.with()
  const [primary, replica] = [bind(routed, 'primary'), bind(routed, 'replica')]
  const oks = ofEachRoute((route) => requests.with(route, 'ok'))
  const times = ofEachRoute((route) => seconds.with(route))
  return {
    answered({ route, code, elapsedMs }) {
      if (code === 'ok') oks.get(route)?.inc()
      else requests.with(route, code).inc()
      times.get(route)?.observe(elapsedMs / 1000)
    },
    wireAnswered(code, elapsedMs) {
      if (code === 'ok') wireOk.inc()
      else wire.with(code).inc()
      wireTimes.observe(elapsedMs / 1000)
    },
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

function ofEachRoute<T>(make: (route: StatementRoute) => T): ReadonlyMap<StatementRoute, T> {
  return new Map(STATEMENT_ROUTES.map((route) => [route, make(route)]))
}

interface Incrementable {
  inc(by?: number): void
}

function bind(
  family: { with(role: string, way: string): Incrementable },
  role: string,
): Record<'lane' | 'alone', Incrementable> {
  return { lane: family.with(role, 'lane'), alone: family.with(role, 'alone') }
}

/** Registers what is counted of the Postgres port's clients. */
export function observeWire(metrics: Metrics, port: WirePort): void {
  metrics.observedGauge(
    {
      name: 'wire_connections',
      help: 'Connections of clients on the Postgres port, logins under way included',
    },
    () => [{ labels: [], value: port.connections }],
  )
  metrics.observedGauge(
    { name: 'wire_sessions', help: 'Sessions on the Postgres port by what they do', labels: ['state'] },
    () => Array.from(port.activities(), ([state, value]) => ({ labels: [state], value })),
  )
  metrics.observedGauge(
    {
      name: 'wire_wrong_attempts',
      help: 'Logins with a wrong password and cancel requests with a wrong key since the start; ignored: after too many',
      labels: ['kind', 'result'],
    },
    () =>
      Object.entries(port.attempts).flatMap(([kind, { wrong, ignored }]) => [
        { labels: [kind, 'wrong'], value: wrong },
        { labels: [kind, 'ignored'], value: ignored },
      ]),
  )
}

function registerGauges(metrics: Metrics, gauges: RouterGauges): void {
  const { maps, shards, mapAgeMs, statements, openTransactions } = gauges
  metrics.observedGauge(
    { name: 'transactions_open', help: 'Transactions that clients hold open over several requests' },
    () => [{ labels: [], value: openTransactions() }],
  )
  metrics.observedGauge(
    { name: 'map_epoch', help: 'Epoch of the shard map in use', labels: ['keyspace'] },
    () => [...maps()].map((map) => ({ labels: [map.snapshot.keyspace.name], value: map.epoch })),
  )
  metrics.observedGauge(
    { name: 'map_age_seconds', help: 'Time since the catalog confirmed the shard map' },
    () => [{ labels: [], value: mapAgeMs() / 1000 }],
  )
  metrics.observedGauge({ name: 'map_shards', help: 'Shards that own keys', labels: ['keyspace'] }, () =>
    [...maps()].map((map) => ({ labels: [map.snapshot.keyspace.name], value: map.owners.length })),
  )
  metrics.observedGauge(
    {
      name: 'node_connections',
      help: 'Connections to a node by state, and statements waiting for one',
      labels: ['shard', 'node', 'state'],
    },
    () => [...shards()].flatMap(poolSamples),
  )
  metrics.observedGauge({ name: 'plan_cache_statements', help: 'Statements in the plan cache' }, () => [
    { labels: [], value: statements.size },
  ])
  metrics.observedGauge(
    {
      name: 'plan_cache_lookups',
      help: 'Lookups in the plan cache since the start, by result',
      labels: ['result'],
    },
    () => [
      { labels: ['hit'], value: statements.hits },
      { labels: ['miss'], value: statements.misses },
    ],
  )
}

function poolSamples(access: ShardAccess): { labels: readonly [string, string, string]; value: number }[] {
  return [...access.pools].flatMap(({ node, pool }) => {
    const { lanes, idle, lent, waiting } = pool.counts
    const sample = (
      state: string,
      value: number,
    ): { labels: readonly [string, string, string]; value: number } => ({
      labels: [access.record.id, node.id, state],
      value,
    })
    return [sample('lane', lanes), sample('idle', idle), sample('lent', lent), sample('waiting', waiting)]
  })
}
