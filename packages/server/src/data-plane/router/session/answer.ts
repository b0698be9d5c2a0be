// The answer of a server to one group of a client's messages, on its way to the client. Bytes are copied, never
// decoded; what the router has put into the group of its own is taken out, and what it answers itself is put in.
import { toFleetError, type FleetError } from '@fleetshard/core'
import {
  backendCode,
  decodeCommandTag,
  decodeParameterDescription,
  decodeSqlstate,
  errorField,
  isFatalError,
} from '@fleetshard/routing/pgwire'
import type { GroupSink, TransactionStatus } from '@fleetshard/routing/wire'
import type { ClientOutput } from '../listeners/pgwire/output.ts'
import { rowShapeOf, type RowShape } from './row-shape.ts'

/** What the next part of an answer is, in the order of the messages that were sent. */
export const step = {
  /** ParseComplete, BindComplete or CloseComplete for the client. */
  forward: 1,
  /** One of these for the router. */
  hide: 2,
  /** The description of a statement for the client. */
  describeStatement: 3,
  /** The same for the router, which wants to know the types of the parameters and the shape of the rows. */
  learn: 4,
  /** RowDescription or NoData of a portal. */
  describePortal: 5,
  /** The rows of an Execute, to their end. */
  execute: 6,
  /** An error that was provoked, in place of which the router says its own; see `poison`. */
  poison: 7,
  /** RowDescription of a portal; NoData is for the router. */
  describeRows: 8,
} as const

/** A description for the client of which the router keeps the shape of the rows. */
export interface ShapeStep {
  shape: RowShape | null
}

/** A step, or bytes that the router says itself. */
export type AnswerStep = (typeof step)[keyof typeof step] | ShapeStep | Buffer

/** An ErrorResponse as the client is told it; `answered` of its messages were answered before. */
export type ToldError = (error: Buffer, sqlstate: string, answered: number) => Buffer

/** Above this lag of the client its server is not read any more. */
export const lagBytesMax = 256 * 1024

/** Who gave the group away. */
export interface AnswerHost {
  /** The client lags; `resume` is to be called once it has caught up. */
  lagging(): void
  /** COPY FROM STDIN has begun: the client's bytes are wanted. */
  copyIn(): void
  /** Of a group that stays open: everything in it is answered, or it has failed. */
  answered?(answer: Answer): void
  /** Last call: ReadyForQuery came, or the connection is gone. */
  ended(answer: Answer, end: AnswerEnd): void
}

/** How an answer ended. */
export type AnswerEnd =
  | { readonly kind: 'ready'; readonly status: TransactionStatus }
  /** The Sync is still to come. */
  | { readonly kind: 'open' }
  | { readonly kind: 'lost'; readonly error: FleetError; readonly sent: boolean }

/** What was in a group. */
export interface AnswerParts {
  readonly output: ClientOutput
  readonly host: AnswerHost
  /** Whether the tags of commands matter. */
  readonly wantsTags: boolean
  /** Nothing of the answer goes to the client. */
  readonly isHidden?: boolean
  /** The group stays open behind it: no ReadyForQuery comes. */
  readonly stays?: boolean
}

const noSteps: readonly AnswerStep[] = []
const stateParseError = { stale: '0A000', lost: '26000', routine: 0x52 } as const

/** Sink of one group. */
export class Answer implements GroupSink {
  readonly #parts: AnswerParts
  readonly #output: ClientOutput
  #steps: readonly AnswerStep[] = noSteps
  #told: ToldError | null = null
  #at = 0
  #isAbandoned = false
  #hasBegun = false
  /** Where the client's output was before the answer. */
  #position = 0
  /** Tags of commands that were completed, where they matter. */
  readonly tags: string[] = []
  /** Commands that were completed. */
  completed = 0
  /** Messages of the client that were answered without an error. */
  answered = 0
  rowBytes = 0
  rows = 0
  /** SQLSTATE of the error that ended the group; empty for none. */
  sqlstate = ''
  /** The error came from a statement that the server had lost, or that does not fit its tables any more. */
  isStale = false
  /** The whole error. */
  error: Buffer | null = null
  /**
   * A server sends an error at once, with what it had to say before, and what follows later: they wait, so that they can
   * still be taken back at the end.
   */
  #isErrorHeld = false
  /** What `step.learn` has learned. */
  learned: { readonly types: readonly number[]; readonly shape: RowShape } | null = null
  #types: readonly number[] = []

  constructor(parts: AnswerParts) {
    this.#parts = parts
    this.#output = parts.output
    this.#isAbandoned = parts.isHidden === true
  }

  /** What will come; nothing for a simple Query, whose answer is copied as it is. */
  expect(steps: readonly AnswerStep[], told?: ToldError): void {
    this.#steps = steps
    if (told !== undefined) this.#told = told
  }

  /** The client has got an answer already: what comes is dropped. */
  abandon(): void {
    this.#isAbandoned = true
  }

  /** Takes back what the client has not yet been sent; false when it is too late for another try. */
  takeBack(): boolean {
    return !this.#hasBegun || this.#output.rewind(this.#position)
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    if (!this.#hasBegun) this.#begin()
    if (this.#isErrorHeld && type !== backendCode.readyForQuery) this.#tellError()
    switch (type) {
      case backendCode.dataRow:
        this.rows += 1
        this.rowBytes += end - start
        this.#forward(buf, start, end)
        return
      case backendCode.readyForQuery:
        return
      case backendCode.commandComplete:
      case backendCode.emptyQueryResponse:
      case backendCode.portalSuspended:
        this.#complete(type, buf, start, end)
        return
      case backendCode.errorResponse:
        this.#fail(buf, start, end)
        return
      case backendCode.copyInResponse:
        this.#forward(buf, start, end)
        this.#parts.host.copyIn()
        return
      default:
        this.#other(type, buf, start, end)
    }
  }

  piece(buf: Buffer, start: number, end: number): void {
    if (!this.#hasBegun) this.#begin()
    this.rowBytes += end - start
    this.#forward(buf, start, end)
  }

  done(status: TransactionStatus): void {
    if (!this.#hasBegun) this.#begin()
    this.#tellError()
    this.#parts.host.ended(this, { kind: 'ready', status })
  }

  failed(error: FleetError, sent: boolean): void {
    this.#tellError()
    this.#parts.host.ended(this, { kind: 'lost', error: toFleetError(error), sent })
  }

  #begin(): void {
    this.#hasBegun = true
    this.#position = this.#output.position
    this.#emit()
  }

  /** Says what comes from the router before the next message of the server. */
  #emit(): void {
    for (let next = this.#steps[this.#at]; next instanceof Buffer; next = this.#steps[this.#at]) {
      if (!this.#isAbandoned) this.#output.copy(next, 0, next.length)
      this.#at += 1
      this.answered += 1
    }
  }

  #advance(): void {
    if (this.#steps[this.#at] !== step.hide) this.answered += 1
    this.#at += 1
    if (this.#at < this.#steps.length) this.#emit()
    if (this.#at >= this.#steps.length) this.#allAnswered()
  }

  #allAnswered(): void {
    if (this.#parts.stays === true) this.#parts.host.answered?.(this)
  }

  #forward(buf: Buffer, start: number, end: number): void {
    if (this.#isAbandoned) return
    this.#output.copy(buf, start, end)
    if (this.#output.lagBytes > lagBytesMax) this.#parts.host.lagging()
  }

  #complete(type: number, buf: Buffer, start: number, end: number): void {
    this.completed += 1
    if (this.#parts.wantsTags) {
      this.tags.push(type === backendCode.commandComplete ? decodeCommandTag(buf, start, end) : '')
    }
    this.#forward(buf, start, end)
    this.#advance()
  }

  #fail(buf: Buffer, start: number, end: number): void {
    // It ends the server's connection, not the client's: what `failed` brings is told instead.
    if (isFatalError(buf, start, end)) return
    this.sqlstate = decodeSqlstate(buf, start, end)
    const { stale, lost, routine } = stateParseError
    this.isStale =
      this.#steps.length > 0 &&
      (this.sqlstate === lost ||
        (this.sqlstate === stale && errorField(routine, buf, start, end) === 'RevalidateCachedQuery'))
    if (this.#steps[this.#at] === step.poison) {
      this.#advance()
      return
    }
    const said = Buffer.from(buf.subarray(start, end))
    const error = this.#told?.(said, this.sqlstate, this.answered) ?? said
    this.error = error
    this.#isErrorHeld = true
    this.#at = this.#steps.length
    if (this.#parts.stays !== true) {
      if (!this.#isAbandoned) this.#output.keep()
      return
    }
    // Nothing follows it.
    this.#tellError()
    this.#allAnswered()
  }

  #tellError(): void {
    if (!this.#isErrorHeld || this.error === null) return
    this.#isErrorHeld = false
    this.#output.letGo()
    this.#forward(this.error, 0, this.error.length)
  }

  #other(type: number, buf: Buffer, start: number, end: number): void {
    const now = this.#steps[this.#at]
    switch (type) {
      case backendCode.parseComplete:
      case backendCode.bindComplete:
      case backendCode.closeComplete:
        if (now !== step.hide) this.#forward(buf, start, end)
        this.#advance()
        return
      case backendCode.parameterDescription:
        if (now === step.learn) this.#types = decodeParameterDescription(buf, start, end)
        else this.#forward(buf, start, end)
        return
      case backendCode.rowDescription:
      case backendCode.noData:
        if (now === step.learn)
          this.learned = { types: this.#types, shape: rowShapeOf(type, buf, start, end) }
        else if (now !== step.describeRows || type === backendCode.rowDescription)
          this.#forward(buf, start, end)
        if (typeof now === 'object' && 'shape' in now) now.shape = rowShapeOf(type, buf, start, end)
        // In an Execute (of a simple Query) it belongs to the rows.
        if (now !== step.execute) this.#advance()
        return
      default:
        this.#forward(buf, start, end)
    }
  }
}
