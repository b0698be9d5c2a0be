// The metrics of the router: what clients ask, what shards answer, and what lies in between.
import { named } from './model.ts'

const roles = ['router'] as const

/** Registered by data-plane/router/metrics.ts. */
export const ROUTER_METRICS = named({
  // Clients
  http_requests_total: {
    type: 'counter',
    unit: 'count',
    help: 'HTTP requests by route and outcome: ok or the code of the error',
    labels: ['route', 'code'],
    roles,
  },
  http_request_duration_seconds: {
    type: 'histogram',
    unit: 'seconds',
    help: 'Time from a request read to its answer ready',
    labels: ['route'],
    roles,
  },
  wire_answers_total: {
    type: 'counter',
    unit: 'count',
    help: 'Queries and groups of messages answered on the Postgres port by outcome: ok or the SQLSTATE',
    labels: ['code'],
    seriesMax: 300,
    roles,
  },
  wire_answer_duration_seconds: {
    type: 'histogram',
    unit: 'seconds',
    help: 'Time from a query or group of messages read to its answer ready, on the Postgres port',
    roles,
  },
  wire_connections: {
    type: 'gauge',
    unit: 'count',
    help: 'Connections of clients on the Postgres port, logins under way included',
    roles,
  },
  wire_sessions: {
    type: 'gauge',
    unit: 'count',
    help: 'Sessions on the Postgres port by state: greeting, idle, idle in transaction, active',
    labels: ['state'],
    roles,
  },
  wire_wrong_attempts_total: {
    type: 'counter',
    unit: 'count',
    help: 'Wrong passwords (kind login) and wrong keys of cancel requests (kind cancel); result ignored: passed over after too many',
    labels: ['kind', 'result'],
    roles,
  },
  transactions_open: {
    type: 'gauge',
    unit: 'count',
    help: 'Transactions that clients hold open over several requests',
    roles,
  },

  // Shards
  shard_statements_total: {
    type: 'counter',
    unit: 'count',
    help: 'Statements that a shard answered, by kind: read, write, other (schema, maintenance, procedures)',
    labels: ['keyspace', 'shard', 'kind'],
    roles,
  },
  shard_errors_total: {
    type: 'counter',
    unit: 'count',
    help: 'Answers of or for a shard that were errors, by class of SQLSTATE: 23 constraints, 40 conflicts, 53 resources, 57 ended or cancelled, 08 connection',
    labels: ['keyspace', 'shard', 'class'],
    seriesMax: 5_000,
    roles,
  },
  shard_answer_duration_seconds: {
    type: 'histogram',
    unit: 'seconds',
    help: 'Time from a statement, or what is sent together, read to the answer of its shard, waits and retries included',
    labels: ['keyspace', 'shard'],
    buckets: [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30],
    roles,
  },
  shard_rows_total: {
    type: 'counter',
    unit: 'count',
    help: 'Rows that a shard answered with, or changed',
    labels: ['keyspace', 'shard'],
    roles,
  },
  statement_scopes_total: {
    type: 'counter',
    unit: 'count',
    help: 'Statements by how many shards they concern; the part of one over all shards that one shard runs counts as one',
    labels: ['scope'],
    roles,
  },
  statements_routed_total: {
    type: 'counter',
    unit: 'count',
    help: 'Statements by the role of the node they went to and the way: a shared lane or a connection of their own',
    labels: ['role', 'way'],
    roles,
  },
  statements_retried_total: {
    type: 'counter',
    unit: 'count',
    help: 'Statements sent again, by reason: stale_map, lost, lane',
    labels: ['reason'],
    roles,
  },

  // Connections to the servers
  node_connections: {
    type: 'gauge',
    unit: 'count',
    help: 'Connections to a node by state (lane, idle, lent), and statements waiting for one (waiting)',
    labels: ['shard', 'node', 'state'],
    roles,
  },
  node_statements_in_flight: {
    type: 'gauge',
    unit: 'count',
    help: 'Statements sent to a node and not answered',
    labels: ['shard', 'node'],
    roles,
  },
  node_reachable: {
    type: 'gauge',
    unit: 'state',
    help: '0 while this router cannot connect to the node',
    labels: ['shard', 'node'],
    roles,
  },
  pool_wait_duration_seconds: {
    type: 'histogram',
    unit: 'seconds',
    help: 'Time that those statements waited for a connection or lane that found none free',
    labels: ['keyspace', 'shard'],
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10],
    roles,
  },

  // The map, and plans
  map_epoch: {
    type: 'gauge',
    unit: 'epoch',
    help: 'Epoch of the shard map in use',
    labels: ['keyspace'],
    roles,
  },
  map_age_seconds: {
    type: 'gauge',
    unit: 'seconds',
    help: 'Time since the catalog confirmed the shard map',
    roles,
  },
  map_shards: {
    type: 'gauge',
    unit: 'count',
    help: 'Shards that own keys',
    labels: ['keyspace'],
    roles,
  },
  topology_file_refused: {
    type: 'gauge',
    unit: 'state',
    help: '1 while the topology file of the static mode is not what is served',
    roles,
  },
  plan_cache_statements: { type: 'gauge', unit: 'count', help: 'Statements in the plan cache', roles },
  plan_cache_lookups_total: {
    type: 'counter',
    unit: 'count',
    help: 'Lookups in the plan cache by result',
    labels: ['result'],
    roles,
  },
})
