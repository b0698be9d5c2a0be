// A transaction straight on a shard's server: a borrowed connection, which goes back clean however it ends.
import { emptySessionToken, type ShardMap } from '@fleetshard/core'
import type { Cancellation, HeldTransaction } from '@fleetshard/routing/execute'
import type { KnownStatement } from '@fleetshard/routing/plan'
import type { ClientSession } from '../session.ts'
import type { CallOptions, OpenTransaction, Result, Statement, TransactionOptions } from '../statement.ts'
import { JsRows, type RowLimits } from './rows.ts'

/** The deadline and the signal of a call as a cancellation; `end` takes both back. */
export interface Bound {
  readonly cancellation: Cancellation
  /** `clock.monotonic()` of the deadline. */
  readonly untilMs: number
  readonly end: () => void
}

/** What a transaction is made of. */
export interface DirectTransactionParts {
  readonly held: HeldTransaction
  readonly options: TransactionOptions
  readonly known: (text: string, cancellation: Cancellation) => KnownStatement | Promise<KnownStatement>
  readonly bound: (options: Pick<CallOptions, 'signal' | 'timeoutMs'>) => Bound
  readonly map: () => ShardMap
  readonly rowLimits: RowLimits
  readonly session: ClientSession
}

/** One open transaction. */
export class DirectTransaction implements OpenTransaction {
  readonly #parts: DirectTransactionParts

  constructor(parts: DirectTransactionParts) {
    this.#parts = parts
  }

  async execute({ text, params }: Pick<Statement, 'text' | 'params'>, own: CallOptions): Promise<Result> {
    const { held, known, map, rowLimits } = this.#parts
    const bound = this.#bound(own)
    const rows = new JsRows(rowLimits)
    try {
      const { cancellation } = bound
      const answer = await held.execute({
        known: () => known(text, cancellation),
        params,
        consumer: rows,
        readOnly: false,
        map,
        cancellation,
      })
      return {
        rows: rows.rows,
        rowCount: answer.rowCount,
        replayed: answer.replayed,
        columns: rows.columns,
        shardId: answer.shard.id,
        node: answer.node,
        epoch: answer.epoch,
      }
    } finally {
      bound.end()
    }
  }

  async commit(): Promise<void> {
    // Not by the signal: a commit that was begun should be heard out.
    const bound = this.#parts.bound(timeoutOf(this.#parts.options))
    try {
      const { held, session } = this.#parts
      const sentAt = session.moment
      session.merge(await held.commit(bound.cancellation, emptySessionToken), sentAt)
    } finally {
      bound.end()
    }
  }

  async rollback(): Promise<void> {
    await this.#parts.held.rollback().catch(() => undefined)
  }

  /** The caller's signal and time for one statement, and those of the whole transaction. */
  #bound(own: CallOptions): Bound {
    const { options, bound } = this.#parts
    const signals = [own.signal, options.signal].filter((signal) => signal !== undefined)
    const [only] = signals
    const signal = signals.length > 1 ? AbortSignal.any(signals) : only
    return bound({ ...timeoutOf(options), ...timeoutOf(own), ...(signal === undefined ? {} : { signal }) })
  }
}

const timeoutOf = ({ timeoutMs }: { readonly timeoutMs?: number }): { readonly timeoutMs?: number } =>
  timeoutMs === undefined ? {} : { timeoutMs }
