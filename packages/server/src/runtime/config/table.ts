// The configuration table: every setting of every process, once. Flags, environment variables, the JSON file,
// --help, `config show` and docs/reference/configuration.md are all made from it.
import { ACCESS_SETTINGS } from './access-table.ts'
import { AGENT_SETTINGS } from './agent-table.ts'
import type { Setting, SettingValue } from './types.ts'
import { OBSERVE_SETTINGS } from './observe-table.ts'
import { OIDC_SETTINGS } from './oidc-table.ts'
import { TLS_SETTINGS } from './tls-table.ts'
import { WIRE_SETTINGS } from './wire-table.ts'

const second = 1000
const minute = 60 * second
const kB = 1024
const MB = 1024 * kB

const roles = ['up', 'router', 'manager', 'worker', 'agent'] as const
const everybody = [...roles, 'cli'] as const
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/

/**
 * Keyed by the name in the JSON file. `router.http-port` is the flag `--router-http-port` and the variable
 * FLEETSHARD_ROUTER_HTTP_PORT.
 */
export const SETTINGS = {
  // Every process
  ...OBSERVE_SETTINGS,
  config: {
    type: 'path',
    default: null,
    doc: 'JSON file with settings; flags and environment variables outrank it.',
    usedBy: everybody,
  },
  'bind-host': {
    type: 'string',
    default: '127.0.0.1',
    doc: 'Address that the servers of this process listen on.',
    usedBy: roles,
    aliases: { up: ['host'], router: ['host'], manager: ['host'], worker: ['host'], agent: ['host'] },
  },
  insecure: {
    type: 'boolean',
    default: false,
    doc: 'Listen on addresses that others reach although nobody is asked who he is.',
    usedBy: roles,
  },
  region: {
    type: 'string',
    default: null,
    pattern: NAME,
    doc: 'Region that this process runs in; readers prefer servers of their own.',
    usedBy: roles,
  },
  zone: {
    type: 'string',
    default: null,
    pattern: NAME,
    doc: 'Zone within the region.',
    usedBy: roles,
  },
  'drain-ms': {
    type: 'duration',
    default: 10 * second,
    min: 0,
    max: 60 * minute,
    doc: 'How long work that was begun may take to finish after a signal to stop.',
    usedBy: roles,
  },
  'data-dir': {
    type: 'path',
    default: null,
    doc: 'Directory of the local cluster: its servers, logs and state. `.fleetshard` here, where the servers can read it.',
    usedBy: ['up', 'agent', 'cli'],
  },
  'pg-bin': {
    type: 'path',
    default: null,
    doc: 'Directory with the Postgres programs to run; else the embedded package, else a local install.',
    usedBy: ['up', 'agent'],
  },

  // Catalog
  'catalog.url': {
    type: 'url',
    schemes: ['postgres', 'postgresql', 'etcd', 'etcd+https'],
    default: null,
    doc: 'Where the catalog is: postgres://user@host/database or etcd://host:2379 (etcd+https:// for TLS; of Postgres sslmode=verify-full). `up` runs one of its own.',
    usedBy: ['router', 'manager', 'worker', 'agent'],
  },
  'catalog.password': {
    type: 'secret',
    default: null,
    doc: 'Password for the catalog, where the URL has none.',
    usedBy: ['router', 'manager', 'worker', 'agent'],
  },
  'catalog.lease-ttl-ms': {
    type: 'duration',
    default: 10 * second,
    min: second,
    max: 5 * minute,
    doc: 'Life of a registration or an elected leadership that is not renewed any more.',
    usedBy: roles,
  },
  'catalog.timeout-ms': {
    type: 'duration',
    default: 5 * second,
    min: 100,
    max: minute,
    doc: 'How long one request to the catalog may take.',
    usedBy: roles,
  },

  // Router
  'router.http-port': {
    type: 'port',
    default: 8080,
    doc: 'Port of the HTTP interface of the router.',
    usedBy: ['up', 'router'],
    aliases: { up: ['http-port'], router: ['http-port'] },
  },
  'router.metrics-port': {
    type: 'port',
    default: 9090,
    doc: 'Port of the Prometheus metrics of the router.',
    usedBy: ['up', 'router'],
    aliases: { router: ['metrics-port'] },
  },
  'router.id': {
    type: 'string',
    default: null,
    pattern: NAME,
    doc: 'Name of this router in the catalog; a random one by default.',
    usedBy: ['router'],
  },
  'router.connections-per-node': {
    type: 'int',
    default: 100,
    min: 1,
    max: 10_000,
    unit: 'connections',
    doc: 'Most connections to one database server, over all routers: each live router takes its part.',
    usedBy: ['up', 'router'],
  },
  'router.lanes-per-node': {
    type: 'int',
    default: 2,
    min: 0,
    max: 64,
    unit: 'connections',
    doc: 'Pipelined connections to one server that many clients share for reads; 0 turns them off.',
    usedBy: ['up', 'router'],
  },
  'router.lane-inflight-max': {
    type: 'int',
    default: 64,
    min: 1,
    max: 1024,
    unit: 'statements',
    doc: 'Most statements under way in one lane.',
    usedBy: ['up', 'router'],
  },
  'router.queue-length-max': {
    type: 'int',
    default: 1000,
    min: 0,
    max: 1_000_000,
    unit: 'statements',
    doc: 'Most statements that wait for a connection to one server; more are refused at once.',
    usedBy: ['up', 'router'],
  },
  'router.queue-wait-ms': {
    type: 'duration',
    default: 5 * second,
    min: 0,
    max: 10 * minute,
    doc: 'Longest wait for a connection before the statement is refused.',
    usedBy: ['up', 'router'],
  },
  'router.connect-timeout-ms': {
    type: 'duration',
    default: 5 * second,
    min: 100,
    max: 5 * minute,
    doc: 'How long a new connection to a server may take.',
    usedBy: ['up', 'router'],
  },
  'router.connection-idle-ms': {
    type: 'duration',
    default: minute,
    min: second,
    max: 24 * 60 * minute,
    doc: 'A connection to a server that nobody used for so long is closed.',
    usedBy: ['up', 'router'],
  },
  'router.statement-timeout-ms': {
    type: 'duration',
    default: 30 * second,
    min: 1,
    max: 24 * 60 * minute,
    doc: 'Longest time of a statement, queue included, where the request does not say less.',
    usedBy: ['up', 'router'],
  },
  'router.transactions-max': {
    type: 'int',
    default: 1000,
    min: 0,
    max: 100_000,
    unit: 'transactions',
    doc: 'Most transactions that clients hold open over several requests; of the connections to a server they take half at most.',
    usedBy: ['up', 'router'],
  },
  'router.transaction-idle-ms': {
    type: 'duration',
    default: 30 * second,
    min: 1,
    max: 10 * minute,
    doc: 'An open transaction without a request for so long is rolled back, where its begin does not say another time.',
    usedBy: ['up', 'router'],
  },
  'router.idempotency-expiry-ms': {
    type: 'duration',
    default: 24 * 60 * minute,
    min: second,
    max: 30 * 24 * 60 * minute,
    doc: 'How long the outcome of a write under an idempotency key is remembered.',
    usedBy: ['up', 'router'],
  },
  'router.result-rows-max': {
    type: 'int',
    default: 100_000,
    min: 1,
    max: 100_000_000,
    unit: 'rows',
    doc: 'Most rows of one result; a larger one is an error, never cut.',
    usedBy: ['up', 'router'],
  },
  'router.result-bytes-max': {
    type: 'bytes',
    default: 64 * MB,
    min: kB,
    max: 2048 * MB - 1,
    doc: 'Most bytes of one result; a larger one is an error, never cut.',
    usedBy: ['up', 'router'],
  },
  'router.request-bytes-max': {
    type: 'bytes',
    default: 10 * MB,
    min: kB,
    max: 1024 * MB,
    doc: 'Largest request body.',
    usedBy: ['up', 'router'],
  },
  'router.http-connections-max': {
    type: 'int',
    default: 20_000,
    min: 1,
    max: 1_000_000,
    unit: 'connections',
    doc: 'Most HTTP connections at once; more are closed as they come.',
    usedBy: ['up', 'router'],
  },
  'router.http-idle-ms': {
    type: 'duration',
    default: 10 * minute,
    min: second,
    max: 24 * 60 * minute,
    doc: 'An HTTP connection without a request for so long is closed.',
    usedBy: ['up', 'router'],
  },
  ...WIRE_SETTINGS,
  'router.map-cache-file': {
    type: 'path',
    default: null,
    doc: 'File that keeps the last shard map, so that a restart works without the catalog.',
    usedBy: ['router'],
  },

  'router.topology-file': {
    type: 'path',
    default: null,
    doc: 'Topology file of the static mode, in place of a catalog; see docs/guides/static-mode.md.',
    usedBy: ['router'],
    aliases: { router: ['topology-file'] },
  },

  // Manager
  'manager.http-port': {
    type: 'port',
    default: 8081,
    doc: 'Port of the HTTP interface of the manager.',
    usedBy: ['up', 'manager'],
    aliases: { up: ['manager-port'], manager: ['http-port'] },
  },
  'manager.metrics-port': {
    type: 'port',
    default: 9091,
    doc: 'Port of the Prometheus metrics of the manager.',
    usedBy: ['up', 'manager'],
    aliases: { manager: ['metrics-port'] },
  },
  'manager.request-bytes-max': {
    type: 'bytes',
    default: 10 * MB,
    min: kB,
    max: 1024 * MB,
    doc: 'Largest request body.',
    usedBy: ['up', 'manager'],
  },
  'manager.node-check-ms': {
    type: 'duration',
    default: 5 * second,
    min: 100,
    max: 5 * minute,
    doc: 'How long the check of a database server may take before the server counts as unusable.',
    usedBy: ['up', 'manager'],
  },

  // Health, inside the manager
  'health.enabled': {
    type: 'boolean',
    default: true,
    doc: 'Whether this manager watches shards and promotes replicas of primaries that are gone.',
    usedBy: ['up', 'manager'],
  },
  'health.probe-ms': {
    type: 'duration',
    default: second,
    min: 100,
    max: minute,
    doc: 'How often each server is probed, and how long it has to answer.',
    usedBy: ['up', 'manager'],
  },
  'health.lag-bytes-max': {
    type: 'bytes',
    default: 16 * MB,
    min: 0,
    max: 1024 * 1024 * MB,
    doc: 'Most log that a replica may lack to be promoted without an operator, where writes wait for no replica.',
    usedBy: ['up', 'manager'],
  },
  'health.degrade-ms': {
    type: 'duration',
    default: 5 * second,
    min: 0,
    max: 60 * minute,
    doc: 'How long writes wait for missing replicas under `availability` before they go on without.',
    usedBy: ['up', 'manager'],
  },

  // Worker
  'worker.metrics-port': {
    type: 'port',
    default: 9092,
    doc: 'Port of the Prometheus metrics of the worker.',
    usedBy: ['up', 'worker'],
    aliases: { worker: ['metrics-port'] },
  },
  'worker.jobs-max': {
    type: 'int',
    default: 4,
    min: 1,
    max: 64,
    unit: 'jobs',
    doc: 'Most jobs that one worker carries on at once.',
    usedBy: ['up', 'worker'],
  },

  // Agent
  ...AGENT_SETTINGS,

  // The local cluster
  'up.shards': {
    type: 'int',
    default: 2,
    min: 0,
    max: 64,
    unit: 'shards',
    doc: 'Shards of a new local cluster.',
    usedBy: ['up'],
    aliases: { up: ['shards'] },
  },
  'up.replicas': {
    type: 'int',
    default: 1,
    min: 0,
    max: 8,
    unit: 'replicas',
    doc: 'Replicas of each shard of a new local cluster.',
    usedBy: ['up'],
    aliases: { up: ['replicas'] },
  },
  'up.postgres-port': {
    type: 'port',
    default: 15_432,
    doc: 'First port of the Postgres servers of a local cluster; each gets the next free one.',
    usedBy: ['up'],
    aliases: { up: ['postgres-port'] },
  },
  'up.fsync': {
    type: 'boolean',
    default: true,
    doc: 'Servers wait for the disk at each commit; false loses data when the machine fails, for demos and tests.',
    usedBy: ['up'],
    aliases: { up: ['fsync'] },
  },

  // Who may ask what
  ...ACCESS_SETTINGS,

  // Signing in with a browser
  ...OIDC_SETTINGS,

  // Certificates
  ...TLS_SETTINGS,

  // Commands that talk to a running fleet
  'router-url': {
    type: 'url',
    schemes: ['http', 'https'],
    default: null,
    doc: 'The router to ask; else the one of the running local cluster, else http://127.0.0.1:8080.',
    usedBy: ['cli'],
  },
  'manager-url': {
    type: 'url',
    schemes: ['http', 'https'],
    default: null,
    doc: 'The manager to ask; else the one of the running local cluster, else http://127.0.0.1:8081.',
    usedBy: ['cli'],
  },
  keyspace: {
    type: 'string',
    default: 'default',
    pattern: /^[a-z_][a-z0-9_]{0,62}$/,
    doc: 'Keyspace that commands are about.',
    usedBy: ['cli'],
  },
  'request-timeout-ms': {
    type: 'duration',
    default: minute,
    min: 100,
    max: 60 * minute,
    doc: 'How long one request of a command may take.',
    usedBy: ['cli'],
  },
} as const satisfies Readonly<Record<string, Setting>>

/** Name of a setting. */
export type ConfigKey = keyof typeof SETTINGS
/** The type that a setting has in the program. */
export type ConfigValue<K extends ConfigKey> = SettingValue<(typeof SETTINGS)[K]>
/** All settings' names, in the order of the table. */
export const CONFIG_KEYS = Object.keys(SETTINGS) as readonly ConfigKey[]
