// What a session counts of the piece of work at hand: for the metrics, and for the statistics of statements.
import { FleetError, type ShardId, type ShardMap, type ShardRecord } from '@fleetshard/core'
import type { SessionEnvironment } from './environment.ts'
import { isCrossShard } from '../shard-series.ts'
import type { Ran } from './run-alone.ts'
import type { Work } from './work.ts'

/** Of one piece at a time; kept by its session, so that nothing is made for a piece. */
export class PieceFigures {
  readonly #environment: SessionEnvironment
  /** What is run; null for a piece that asks no server. */
  work: Work | null = null
  #begunMs = 0
  /** The shard that an error is about. */
  #shard: ShardRecord | null = null

  constructor(environment: SessionEnvironment) {
    this.#environment = environment
  }

  /** The piece was read. */
  begin(): void {
    this.work = null
    this.#shard = null
    this.#begunMs = this.#environment.clock.monotonic()
  }

  /** It has failed before a server could answer. */
  failed(thrown: unknown, map: ShardMap): void {
    if (!(thrown instanceof FleetError)) return
    if (isCrossShard(thrown.code)) this.#environment.metrics.crossShardRefused()
    const id = thrown.facts['shard_id']
    if (typeof id === 'string') this.#shard = map.shards.get(id as ShardId) ?? null
  }

  /** It was answered. @param sqlstate empty for success */
  end(sqlstate: string, ran: Pick<Ran, 'rows' | 'shard'> | undefined): void {
    const { clock, metrics, stats } = this.#environment
    const { work } = this
    const elapsedMs = clock.monotonic() - this.#begunMs
    metrics.wireAnswered(sqlstate === '' ? 'ok' : sqlstate, elapsedMs)
    const rows = ran?.rows ?? 0
    const shard = ran?.shard ?? this.#shard
    if (shard !== null) {
      metrics.shardAnswered(shard, elapsedMs, rows, sqlstate)
      if (ran !== undefined && work !== null)
        for (const { known } of work.executed) metrics.shardRan(shard, known.facts.kind, false)
    }
    if (work === null || work.fingerprint === '') return
    stats.record(work.fingerprint, { elapsedMs, rows, failed: sqlstate !== '', shard: shard?.id ?? null })
  }
}
