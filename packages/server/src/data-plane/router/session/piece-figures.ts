// What a session counts of the piece of work at hand: for the metrics, the log of slow statements, and the statistics.
import { FleetError, type ShardId, type ShardMap, type ShardRecord } from '@fleetshard/core'
import { redactStatement } from '@fleetshard/routing/plan'
import { SPAN_ATTRIBUTES, traceparentInSql, type TraceSpan, type Tracing } from '../../../runtime/mod.ts'
import { isCrossShard } from '../shard-series.ts'
import type { SessionEnvironment } from './environment.ts'
import type { Ran } from './run-alone.ts'
import type { Work } from './work.ts'

/** Of one piece at a time; kept by its session, so that nothing is made for a piece. */
export class PieceFigures {
  readonly #environment: SessionEnvironment
  /** What is run; null for a piece that asks no server. */
  #work: Work | null = null
  #begunMs = 0
  /** Of the piece and of its wait for a server; null where nobody records them. */
  #spans: { readonly piece: TraceSpan; readonly shard: TraceSpan } | null = null
  /** The shard that an error is about. */
  #shard: ShardRecord | null = null

  constructor(environment: SessionEnvironment) {
    this.#environment = environment
  }

  /** The piece was read. */
  begin(): void {
    this.#work = null
    this.#spans = null
    this.#shard = null
    this.#begunMs = this.#environment.clock.monotonic()
  }

  /** What is to be run is known. */
  planned(work: Work): void {
    this.#work = work
    const { tracing } = this.#environment
    if (tracing !== null) this.#beginSpans(tracing, work)
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
    const { clock, metrics, slow } = this.#environment
    const elapsedMs = clock.monotonic() - this.#begunMs
    metrics.wireAnswered(sqlstate === '' ? 'ok' : sqlstate, elapsedMs)
    const rows = ran === undefined ? 0 : ran.rows
    if (ran !== undefined) this.#shard = ran.shard
    const work = this.#work
    if (this.#shard !== null) {
      metrics.shardAnswered(this.#shard, elapsedMs, rows, sqlstate)
      if (ran !== undefined && work !== null) this.#countKinds(this.#shard, work)
    }
    if (work === null) return
    this.#endSpans(rows, sqlstate)
    if (elapsedMs >= slow.fromMs) this.#noteSlow(work, elapsedMs, rows, sqlstate)
    if (work.fingerprint !== '') this.#record(work.fingerprint, elapsedMs, rows, sqlstate)
  }

  #countKinds(shard: ShardRecord, { executed }: Work): void {
    const { metrics } = this.#environment
    for (const { known } of executed) metrics.shardRan(shard, known.facts.kind, false)
  }

  /** What is recorded goes to its server with the shard's span as the parent. */
  #beginSpans(tracing: Tracing, work: Work): void {
    const [first] = work.executed
    if (first === undefined) return
    const startMs = this.#begunMs
    const parent = traceparentInSql(first.text)
    const piece = tracing.beginRecorded('wire', { kind: 'server', parent, startMs })
    if (piece === null) return
    const plannedMs = this.#environment.clock.monotonic()
    piece.set({
      [SPAN_ATTRIBUTES.statement]: redactStatement(first.text),
      'fleetshard.statements': work.executed.length,
    })
    piece.child('plan', { startMs }).end(plannedMs)
    const shard = piece.child('shard', { kind: 'client', startMs: plannedMs })
    work.traceparent = shard.traceparent
    this.#spans = { piece, shard }
  }

  #endSpans(rows: number, sqlstate: string): void {
    if (this.#spans === null) return
    const { shard, rows: ofRows, sqlstate: ofState } = SPAN_ATTRIBUTES
    const { piece, shard: running } = this.#spans
    this.#spans = null
    running.set({ [shard]: this.#shard?.id ?? '', [ofRows]: rows })
    for (const one of [running, piece]) {
      if (sqlstate !== '') one.set({ [ofState]: sqlstate })
      if (sqlstate !== '') one.fail(sqlstate)
      one.end()
    }
  }

  #noteSlow({ executed }: Work, elapsedMs: number, rows: number, sqlstate: string): void {
    const [first] = executed
    if (first === undefined) return
    const { text } = first
    const more = { shard: this.#shard, rows, sqlstate, traceId: null }
    this.#environment.slow.note({ via: 'wire', elapsedMs, text, statements: executed.length, ...more })
  }

  #record(fingerprint: string, elapsedMs: number, rows: number, sqlstate: string): void {
    const shard = this.#shard?.id ?? null
    this.#environment.stats.record(fingerprint, { elapsedMs, rows, failed: sqlstate !== '', shard })
  }
}
