// The series of each shard: bound when it is seen first, found by its record on the hot path, removed when it is gone.
import type { ShardId, ShardRecord } from '@fleetshard/core'
import type { StatementFacts } from '@fleetshard/routing/plan'
import {
  ROUTER_METRICS as TABLE,
  type CounterSeries,
  type HistogramSeries,
  type Metrics,
} from '../../runtime/mod.ts'

/** As metrics count statements. */
type Kind = 'read' | 'write' | 'other'

const KINDS: Readonly<Record<StatementFacts['kind'], Kind>> = {
  read: 'read',
  locking: 'write',
  write: 'write',
  ddl: 'other',
  opaque: 'other',
  utility: 'other',
  refused: 'other',
}

/** Errors that say that a statement is not one of a single shard. */
const crossShardCodes: ReadonlySet<string> = new Set(['cross_shard', 'shard_key_required'])

/** True for a statement that would have to reach several shards, as far as its keys say. */
export const isCrossShard = (code: string): boolean => crossShardCodes.has(code)

interface Series {
  readonly keyspace: string
  readonly statements: Readonly<Record<Kind, CounterSeries>>
  readonly rows: CounterSeries
  readonly seconds: HistogramSeries
  readonly waits: HistogramSeries
  /** By class of SQLSTATE. */
  readonly errors: Map<string, CounterSeries>
}

/** What is counted of each shard. */
export class ShardSeries {
  readonly #families
  readonly #byId = new Map<ShardId, Series>()
  /** The same by the records at hand, for the hot path. */
  readonly #byRecord = new WeakMap<ShardRecord, Series>()

  constructor(metrics: Metrics) {
    this.#families = {
      statements: metrics.counter(TABLE.shard_statements_total),
      rows: metrics.counter(TABLE.shard_rows_total),
      errors: metrics.counter(TABLE.shard_errors_total),
      seconds: metrics.histogram(TABLE.shard_answer_duration_seconds),
      waits: metrics.histogram(TABLE.pool_wait_duration_seconds),
    }
  }

  /** It ran a statement. */
  ran(shard: ShardRecord, kind: StatementFacts['kind']): void {
    this.#of(shard).statements[KINDS[kind]].inc()
  }

  /** It answered, or somebody did for it. @param sqlstate empty for success */
  answered(shard: ShardRecord, elapsedMs: number, rows: number, sqlstate: string): void {
    const series = this.#of(shard)
    series.seconds.observe(elapsedMs / 1000)
    series.rows.inc(rows)
    if (sqlstate !== '') this.#error(shard.id, series, sqlstate.slice(0, 2)).inc()
  }

  /** A statement waited for a connection. */
  waited(shard: ShardRecord, waitedMs: number): void {
    this.#of(shard).waits.observe(waitedMs / 1000)
  }

  /** The shard is in no map any more. */
  forget({ id }: ShardRecord): void {
    const series = this.#byId.get(id)
    if (series === undefined) return
    const { keyspace } = series
    const { statements, rows, errors, seconds, waits } = this.#families
    for (const kind of ['read', 'write', 'other']) statements.remove(keyspace, id, kind)
    for (const one of series.errors.keys()) errors.remove(keyspace, id, one)
    for (const family of [rows, seconds, waits]) family.remove(keyspace, id)
    this.#byId.delete(id)
  }

  #of(shard: ShardRecord): Series {
    const known = this.#byRecord.get(shard)
    if (known !== undefined) return known
    const series = this.#byId.get(shard.id) ?? this.#bind(shard)
    this.#byRecord.set(shard, series)
    return series
  }

  #bind({ keyspace, id }: ShardRecord): Series {
    const { statements, rows, seconds, waits } = this.#families
    const series: Series = {
      keyspace,
      statements: {
        read: statements.with(keyspace, id, 'read'),
        write: statements.with(keyspace, id, 'write'),
        other: statements.with(keyspace, id, 'other'),
      },
      rows: rows.with(keyspace, id),
      seconds: seconds.with(keyspace, id),
      waits: waits.with(keyspace, id),
      errors: new Map(),
    }
    this.#byId.set(id, series)
    return series
  }

  #error(id: ShardId, { keyspace, errors }: Series, sqlstateClass: string): CounterSeries {
    const known = errors.get(sqlstateClass)
    if (known !== undefined) return known
    const series = this.#families.errors.with(keyspace, id, sqlstateClass)
    errors.set(sqlstateClass, series)
    return series
  }
}
