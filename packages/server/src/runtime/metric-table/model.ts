// What the table of metrics says of each: all that a page, a check or a dashboard has to know.

/** A process that has metrics of its own. */
export type MetricRole = 'router' | 'manager' | 'worker' | 'agent'

/** Of what a value is a number. Names end in the units that Prometheus knows: seconds, bytes, ratio. */
export type MetricUnit = 'seconds' | 'bytes' | 'ratio' | 'count' | 'state' | 'epoch'

/** One metric, without the name, which is its key. */
export interface MetricSpec {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  /** What bounds the number of their values is said by `LABELS`. */
  readonly labels?: readonly LabelName[]
  readonly unit: MetricUnit
  /** Of histograms; those of latencies where it is left out. */
  readonly buckets?: readonly number[]
  readonly roles: readonly MetricRole[]
  /** Where clients have a say in the values of a label. */
  readonly seriesMax?: number
}

/** Each label, with what its values are and why they are few. No key, no text of a statement, no tenant is ever one. */
export const LABELS = {
  route: 'pattern of the path: as many as there are endpoints',
  method: 'HTTP method',
  status: 'HTTP status, or state of a record',
  code: '`ok`, a code of the error catalogue, or a SQLSTATE',
  class: 'first two characters of the SQLSTATE',
  state: 'fixed words, listed in the help',
  role: 'role of a server or process',
  way: '`lane` or `alone`',
  reason: 'fixed words',
  scope: '`one_shard`, `part_of_all_shards` or `cross_shard_refused`',
  kind: 'fixed words, listed in the help',
  result: '`hit` or `miss`',
  keyspace: 'as many as there are keyspaces',
  shard: 'as many as there are shards',
  node: 'as many as there are servers',
  server: 'as many as the agent has servers',
  what: 'kind of change: as many as there are endpoints that change something',
  outcome: '`ok` or a code of the error catalogue',
  type: 'type of a job, or of an event: fixed words',
  job: 'jobs that are open now',
  statistic: '`mean`, `p99` or `max`',
  version: 'version of FleetShard',
  level: 'severity of a log line',
} as const satisfies Record<string, string>

type LabelName = keyof typeof LABELS

/** A part of the table whose metrics know their names. */
export type Named<T extends Readonly<Record<string, MetricSpec>>> = {
  readonly [K in keyof T & string]: T[K] & { readonly name: K }
}

/** Gives each metric its key as its name. */
export function named<const T extends Readonly<Record<string, MetricSpec>>>(table: T): Named<T> {
  const entries = Object.entries(table).map(([name, spec]) => [name, { ...spec, name }])
  return Object.fromEntries(entries) as Named<T>
}
