// The log of slow statements: what took longer than a bound that the operator sets, without its values, and never more
// than so many lines a minute; those left out are counted in the next line.
import type { Clock, ShardRecord } from '@fleetshard/core'
import { redactStatement } from '@fleetshard/routing/plan'
import { EVENTS, type Logger } from '../../runtime/mod.ts'

/** Lines a minute. */
export const slowLinesPerMinuteMax = 60
const minuteMs = 60_000

/** One statement, or what was sent together with it. */
export interface SlowStatement {
  readonly via: 'http' | 'wire'
  readonly elapsedMs: number
  /** As it was sent; of several the first. Redacted here. */
  readonly text: string
  readonly statements: number
  readonly shard: ShardRecord | null
  readonly rows: number
  /** Empty for success. */
  readonly sqlstate: string
  /** Of the request; null on the Postgres port. */
  readonly traceId: string | null
}

/** Writes them down. */
export class SlowStatements {
  readonly #parts: { readonly log: Logger; readonly clock: Clock }
  /** From so many milliseconds on; Infinity for none. The hot path compares with it and goes on. */
  readonly fromMs: number
  #windowMs = -Infinity
  #lines = 0
  #leftOut = 0

  /** @param fromMs 0 for none */
  constructor(parts: { readonly log: Logger; readonly clock: Clock }, fromMs: number) {
    this.#parts = parts
    this.fromMs = fromMs === 0 ? Infinity : fromMs
  }

  /** To be called for what took `fromMs` or longer. */
  note({ text, shard, elapsedMs, traceId, ...more }: SlowStatement): void {
    const { log, clock } = this.#parts
    const nowMs = clock.monotonic()
    if (nowMs - this.#windowMs >= minuteMs) {
      this.#windowMs = nowMs
      this.#lines = 0
    }
    if (this.#lines >= slowLinesPerMinuteMax) {
      this.#leftOut += 1
      return
    }
    this.#lines += 1
    log.warn(
      {
        event: EVENTS.slow_statement,
        elapsed_ms: Math.round(elapsedMs),
        statement: redactStatement(text),
        keyspace: shard?.keyspace ?? null,
        shard: shard?.id ?? null,
        ...more,
        ...(traceId === null ? {} : { trace_id: traceId }),
        ...(this.#leftOut === 0 ? {} : { left_out: this.#leftOut }),
      },
      'slow statement',
    )
    this.#leftOut = 0
  }
}
