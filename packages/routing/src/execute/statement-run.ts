// One execution of one statement on one session, from the submit to its end, however it ends.
import { FleetError } from '@fleetshard/core'
import { decodeRowCount, decodeServerError, backendCode } from '../pgwire/mod.ts'
import { sqlError, type StatementSink } from '../wire/mod.ts'
import type { FieldDescription, ServerErrorFields } from '../pgwire/mod.ts'

/** Holds the rows of a running statement back; does nothing any more once the statement has ended. */
export interface RowsFlow {
  pause(): void
  resume(): void
}

/** Where a statement runs. */
export interface RowsPlace {
  readonly shard: string
  readonly node: string
  readonly epoch: number
}

/** Takes the rows of a result as they come. Spans are valid during the call only. */
export interface RowsConsumer {
  fields(fields: readonly FieldDescription[]): void
  /** A DataRow message. @throws FleetError to take no more */
  row(buf: Buffer, start: number, end: number): void
  /** The statement is sent again: what was taken is void. */
  reset(): void
  /** Told before the statement is sent, each time. */
  placed?(place: RowsPlace): void
  /**
   * For consumers that hand rows on as they come and may have to wait: their statements get a connection of their
   * own. Called before the statement is sent, each time.
   */
  attach?(flow: RowsFlow): void
  /** True once rows were handed on that can't be taken back: the statement is not sent again. */
  readonly isFinal?: boolean
}

/**
 * How a run ended. `completed`: acknowledged; `refused` says why rows are missing. `error`: Postgres refused it and nothing of it happened. `lost`: the
 * connection went away; `outcome` says whether the statement may have happened.
 */
export type RunEnd =
  | { readonly kind: 'completed'; readonly rowCount: number; readonly refused: FleetError | null }
  | { readonly kind: 'error'; readonly error: FleetError; readonly sqlstate: string }
  | { readonly kind: 'lost'; readonly error: FleetError; readonly outcome: 'aborted' | 'unknown' }

/** Sink of one execution. */
export class StatementRun implements StatementSink {
  readonly #consumer: RowsConsumer
  readonly #ended: (end: RunEnd) => void
  /** Called once when the consumer takes no more: the rest of the result is not wanted. */
  readonly #refusing: (reason: FleetError) => void
  readonly #commitsAtSync: boolean
  #rows = 0
  #rowCount: number | null = null
  #completed = false
  #error: ServerErrorFields | null = null
  #refused: FleetError | null = null
  /** True once a row was passed over: the result is not whole. */
  #missed = false
  /** Bytes of rows so far. */
  bytes = 0

  constructor(parts: {
    consumer: RowsConsumer
    ended: (end: RunEnd) => void
    refusing: (reason: FleetError) => void
    /** False for what commits while it runs: COMMIT, CALL, maintenance. */
    commitsAtSync: boolean
  }) {
    this.#consumer = parts.consumer
    this.#ended = parts.ended
    this.#refusing = parts.refusing
    this.#commitsAtSync = parts.commitsAtSync
  }

  fields(fields: readonly FieldDescription[]): void {
    this.#rows = 0
    this.#take(() => {
      this.#consumer.fields(fields)
    })
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    switch (type) {
      case backendCode.dataRow:
        this.#rows += 1
        this.bytes += end - start
        this.#row(buf, start, end)
        return
      case backendCode.commandComplete:
        this.#completed = true
        this.#rowCount = decodeRowCount(buf, start, end)
        return
      case backendCode.errorResponse:
        this.#error ??= decodeServerError(buf, start, end)
        return
      default:
    }
  }

  done(): void {
    if (this.#error === null) {
      // Given up too late for Postgres, and nothing is missing: it is what it is, done.
      const refused = this.#missed ? this.#refused : null
      this.#ended({ kind: 'completed', rowCount: this.#rowCount ?? this.#rows, refused })
      return
    }
    // An error after the rows were refused is our own cancel.
    const error = this.#refused ?? sqlError(this.#error)
    this.#ended({ kind: 'error', error, sqlstate: this.#error.code })
  }

  /**
   * The transaction of an extended-protocol group is committed when Sync is handled, after CommandComplete was
   * written. A FATAL error is written behind what was written before, so without a CommandComplete nothing happened.
   */
  failed(error: FleetError, sent: boolean): void {
    const surelyAborted = !sent || (this.#commitsAtSync && this.#error !== null && !this.#completed)
    this.#ended({ kind: 'lost', error, outcome: surelyAborted ? 'aborted' : 'unknown' })
  }

  /** Nobody waits for the rows any more: they are passed over. */
  abandon(reason: FleetError): void {
    this.#refused ??= reason
  }

  #row(buf: Buffer, start: number, end: number): void {
    if (this.#refused !== null) {
      this.#missed = true
      return
    }
    try {
      this.#consumer.row(buf, start, end)
    } catch (error) {
      this.#refuse(error)
    }
  }

  #take(action: () => void): void {
    if (this.#refused !== null) return
    try {
      action()
    } catch (error) {
      this.#refuse(error)
    }
  }

  #refuse(error: unknown): void {
    this.#missed = true
    this.#refused =
      error instanceof FleetError
        ? error
        : new FleetError('internal', 'a row cannot be read', { cause: error })
    this.#refusing(this.#refused)
  }
}
