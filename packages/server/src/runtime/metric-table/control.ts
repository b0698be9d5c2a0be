// The metrics of manager, worker and agent: servers, jobs, failovers, machines.
import { named } from './model.ts'

const manager = { roles: ['manager'] } as const
const worker = { roles: ['worker'] } as const
const agent = { roles: ['agent'] } as const

/** Registered by control-plane/manager/metrics.ts. */
export const MANAGER_METRICS = named({
  manager_requests_total: {
    type: 'counter',
    unit: 'count',
    help: 'Requests answered by the manager',
    labels: ['method', 'route', 'status'],
    ...manager,
  },
  manager_request_duration_seconds: {
    type: 'histogram',
    unit: 'seconds',
    help: 'Time to answer a request',
    labels: ['route'],
    ...manager,
  },
  manager_changes_total: {
    type: 'counter',
    unit: 'count',
    help: 'Changes tried, by their outcome: ok or the code of the error',
    labels: ['what', 'outcome'],
    ...manager,
  },
  manager_change_duration_seconds: {
    type: 'histogram',
    unit: 'seconds',
    help: 'Time of a change',
    labels: ['what'],
    ...manager,
  },
  manager_catalog_age_seconds: {
    type: 'gauge',
    unit: 'seconds',
    help: 'Time since the catalog was last heard of; none before the first time',
    ...manager,
  },
  manager_leader: { type: 'gauge', unit: 'state', help: '1 while this manager leads', ...manager },
  manager_map_epoch: {
    type: 'gauge',
    unit: 'epoch',
    help: 'Epoch of the shard map in the catalog',
    labels: ['keyspace'],
    ...manager,
  },
  manager_shards: {
    type: 'gauge',
    unit: 'count',
    help: 'Shards by status: active, migrating, readonly, inactive',
    labels: ['keyspace', 'status'],
    ...manager,
  },
  manager_shard_keys_ratio: {
    type: 'gauge',
    unit: 'ratio',
    help: 'Part of the hash ring that a shard owns, and so of the keys when they are many',
    labels: ['keyspace', 'shard'],
    ...manager,
  },
  manager_routers: {
    type: 'gauge',
    unit: 'count',
    help: 'Registered routers by kind: router, direct (clients that go to the shards themselves)',
    labels: ['kind'],
    ...manager,
  },
  manager_routers_behind: {
    type: 'gauge',
    unit: 'count',
    help: 'Registered routers and direct clients that have not acknowledged the epoch of the catalog',
    labels: ['keyspace'],
    ...manager,
  },
  manager_jobs: {
    type: 'gauge',
    unit: 'count',
    help: 'Jobs in the catalog by type and status',
    labels: ['type', 'status'],
    ...manager,
  },
  job_progress_ratio: {
    type: 'gauge',
    unit: 'ratio',
    help: 'How far an open job is',
    labels: ['type', 'job'],
    ...manager,
  },
  job_rows_copied: {
    type: 'gauge',
    unit: 'count',
    help: 'Rows that an open job has moved',
    labels: ['job'],
    ...manager,
  },
  job_lag_bytes: {
    type: 'gauge',
    unit: 'bytes',
    help: 'Log of the sources that an open job has not brought to the targets',
    labels: ['job'],
    ...manager,
  },
  job_throttled: {
    type: 'gauge',
    unit: 'state',
    help: '1 while an open job waits since its source cannot bear more',
    labels: ['job'],
    ...manager,
  },
})

/** Registered by control-plane/health/metrics.ts; values only on the manager that watches the shards. */
export const HEALTH_METRICS = named({
  health_leader: {
    type: 'gauge',
    unit: 'state',
    help: '1 while this manager watches the shards',
    ...manager,
  },
  health_shards: {
    type: 'gauge',
    unit: 'count',
    help: 'Shards by what is seen of their primary: healthy, suspect, isolated, down',
    labels: ['state'],
    ...manager,
  },
  server_up: {
    type: 'gauge',
    unit: 'state',
    help: '1 while the server answers probes',
    labels: ['keyspace', 'shard', 'node', 'role'],
    ...manager,
  },
  server_replication_lag_bytes: {
    type: 'gauge',
    unit: 'bytes',
    help: 'Log of the primary that a replica has not replayed',
    labels: ['keyspace', 'shard', 'node'],
    ...manager,
  },
  server_replication_lag_seconds: {
    type: 'gauge',
    unit: 'seconds',
    help: 'How old the newest transaction is that a replica shows; 0 when nothing is missing',
    labels: ['keyspace', 'shard', 'node'],
    ...manager,
  },
  server_connections: {
    type: 'gauge',
    unit: 'count',
    help: 'Connections that clients have on a server, of all databases',
    labels: ['keyspace', 'shard', 'node'],
    ...manager,
  },
  server_connections_limit: {
    type: 'gauge',
    unit: 'count',
    help: 'Connections that a server takes',
    labels: ['keyspace', 'shard', 'node'],
    ...manager,
  },
  server_database_size_bytes: {
    type: 'gauge',
    unit: 'bytes',
    help: "Size of the shard's database on a server",
    labels: ['keyspace', 'shard', 'node'],
    ...manager,
  },
  server_wal_retained_bytes: {
    type: 'gauge',
    unit: 'bytes',
    help: 'Log that the slots of a server hold back',
    labels: ['keyspace', 'shard', 'node'],
    ...manager,
  },
  failovers_total: {
    type: 'counter',
    unit: 'count',
    help: 'Failovers and switchovers that ended under this manager, by kind and the state they ended in',
    labels: ['kind', 'state'],
    ...manager,
  },
  failover_duration_seconds: {
    type: 'histogram',
    unit: 'seconds',
    help: 'Time from the declaration of a failover or switchover until its new primary was in the map',
    labels: ['kind'],
    buckets: [0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 300],
    ...manager,
  },
})

/** Registered by workers/runner.ts. */
export const WORKER_METRICS = named({
  worker_jobs_running: {
    type: 'gauge',
    unit: 'count',
    help: 'Jobs that this worker carries on now',
    ...worker,
  },
  worker_job_turns_total: {
    type: 'counter',
    unit: 'count',
    help: 'Turns at jobs by how they were left: ended, waiting, stopped, or the code of an error',
    labels: ['type', 'outcome'],
    ...worker,
  },
  worker_job_turn_duration_seconds: {
    type: 'histogram',
    unit: 'seconds',
    help: 'Time of a turn at a job',
    labels: ['type'],
    buckets: [0.01, 0.1, 1, 10, 60, 600, 3600],
    ...worker,
  },
})

/** Registered by roles/agent-metrics.ts. */
export const AGENT_METRICS = named({
  agent_server_running: {
    type: 'gauge',
    unit: 'state',
    help: '1 while the server runs',
    labels: ['server', 'role'],
    ...agent,
  },
  agent_server_restarts_total: {
    type: 'counter',
    unit: 'count',
    help: 'Times that a server ended by itself and was started again',
    labels: ['server'],
    ...agent,
  },
  agent_servers: {
    type: 'gauge',
    unit: 'count',
    help: 'Servers by state',
    labels: ['state'],
    ...agent,
  },
  agent_registered: {
    type: 'gauge',
    unit: 'state',
    help: '1 while managers find the agent in the catalog',
    ...agent,
  },
  agent_disk_size_bytes: {
    type: 'gauge',
    unit: 'bytes',
    help: 'Size of the file system with the servers',
    ...agent,
  },
  agent_disk_free_bytes: {
    type: 'gauge',
    unit: 'bytes',
    help: 'What is free of it for users',
    ...agent,
  },
})
