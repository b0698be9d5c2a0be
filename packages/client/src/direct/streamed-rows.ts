// Rows between a shard's server and a reader: handed over as they come, held back at the server when the reader is
// slower, given up when it leaves.
import { FleetError, type Clock } from '@fleetshard/core'
import type {
  Cancellation,
  DeadlineSweeper,
  RowsConsumer,
  RowsFlow,
  RowsPlace,
} from '@fleetshard/routing/execute'
import type { FieldDescription } from '@fleetshard/routing/pgwire'
import type { Row, RowBatch } from '../statement.ts'
import { RowDecoder } from './rows.ts'

/** Bytes of rows that wait for their reader before the server is held back. */
const waitingBytesMax = 256 * 1024
/** A reader that takes nothing for so long loses the stream, as from a router: it holds a connection and old rows. */
const readerMsMax = 30_000

/** What a stream is made of. */
export interface StreamedRowsParts {
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  readonly cancellation: Cancellation
  /** How long the server may send nothing while the reader waits. */
  readonly timeoutMs: number
}

type State =
  | { readonly kind: 'running' }
  | { readonly kind: 'ended' }
  | { readonly kind: 'failed'; readonly error: unknown }

/** The rows of one streamed statement. */
export class StreamedRows implements RowsConsumer {
  readonly #parts: StreamedRowsParts
  readonly #decoder = new RowDecoder()
  #state: State = { kind: 'running' }
  #flow: RowsFlow | null = null
  #epoch = 0
  #rows: Row[] = []
  #bytes = 0
  #paused = false
  /** The columns, or rows, were handed over. */
  #handedOver = false
  #columnsKnown = false
  #wake: (() => void) | null = null
  #stopTimer: () => void = () => undefined

  constructor(parts: StreamedRowsParts) {
    this.#parts = parts
  }

  /** True once something was handed over: the statement is not sent again. */
  get isFinal(): boolean {
    return this.#handedOver
  }

  placed({ epoch }: RowsPlace): void {
    this.#epoch = epoch
  }

  attach(flow: RowsFlow): void {
    this.#flow = flow
    this.#paused = false
  }

  fields(fields: readonly FieldDescription[]): void {
    this.#decoder.fields(fields)
    this.#columnsKnown = true
  }

  row(buf: Buffer, start: number, end: number): void {
    this.#rows.push(this.#decoder.decode(buf, start, end))
    this.#bytes += end - start
    if (this.#bytes > waitingBytesMax && !this.#paused) {
      this.#paused = true
      this.#flow?.pause()
    }
    this.#wake?.()
  }

  reset(): void {
    this.#rows = []
    this.#bytes = 0
  }

  /** The statement is done. */
  end(): void {
    if (this.#state.kind === 'running') this.#state = { kind: 'ended' }
    this.#wake?.()
  }

  /** The statement has failed; rows that came before are handed over first. */
  fail(error: unknown): void {
    if (this.#state.kind === 'running') this.#state = { kind: 'failed', error }
    this.#wake?.()
  }

  /** The reader takes no more: what runs is cancelled. */
  leave(): void {
    this.#stopTimer()
    this.#rows = []
    if (this.#state.kind === 'running')
      this.#parts.cancellation.cancel(new FleetError('canceled', 'the reader has left the stream'))
  }

  /** The rows that have come meanwhile, at least one; null after the last. @throws what the statement failed with */
  async next(): Promise<RowBatch<Row> | null> {
    this.#stopTimer()
    if (this.#rows.length === 0 && this.#state.kind === 'running') await this.#more()
    if (this.#rows.length > 0) return this.#take()
    if (this.#state.kind === 'failed') throw this.#state.error
    if (this.#handedOver || !this.#columnsKnown) return null
    // A result without rows has columns as well.
    return this.#take()
  }

  #take(): RowBatch<Row> {
    const rows = this.#rows
    this.#handedOver = true
    this.#rows = []
    this.#bytes = 0
    if (this.#paused) {
      this.#paused = false
      this.#flow?.resume()
    }
    this.#watch(readerMsMax, `the reader took nothing for ${String(readerMsMax)} ms`)
    return { rows, epoch: this.#epoch, columns: this.#decoder.columns }
  }

  /** Until there is a row, or the end. Rows that one read has brought are taken together. */
  async #more(): Promise<void> {
    const { timeoutMs } = this.#parts
    this.#watch(timeoutMs, `the server sent nothing for ${String(timeoutMs)} ms`)
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    this.#wake = null
    this.#stopTimer()
  }

  #watch(forMs: number, what: string): void {
    const { clock, sweeper, cancellation } = this.#parts
    this.#stopTimer()
    this.#stopTimer = sweeper.watch(clock.monotonic() + forMs, () => {
      cancellation.cancel(
        new FleetError('deadline_exceeded', what, { hint: 'read faster, or in pages by key' }),
      )
    })
  }
}
