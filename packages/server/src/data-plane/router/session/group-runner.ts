// Sends groups of messages on the connection that a session holds, and waits for their answers. A group may stay open:
// what the client wants answered before its Sync goes out with a Flush, and the rest behind it, so that the server has
// one implicit transaction from the first message to the Sync, as it would have without a router.
import { toFleetError, type FleetError } from '@fleetshard/core'
import { requestCancel } from '@fleetshard/routing/execute'
import { WireWriter, writeFlush, writeSync } from '@fleetshard/routing/pgwire'
import type { GroupSink, TransactionStatus } from '@fleetshard/routing/wire'
import type { ClientOutput } from '../listeners/pgwire/output.ts'
import { Answer, type AnswerEnd, type AnswerHost } from './answer.ts'
import { built } from './group-items.ts'
import type { Answered, Group, Held } from './server-side.ts'

const syncMessage = built(writeSync)

/** A group without its Sync yet: the answers to its parts, one after the other. */
class OpenGroup implements GroupSink {
  readonly held: Held
  /** Of the part that was sent last. */
  answer: Answer
  /** The Sync has been sent. */
  hasEnd = false
  readonly #onEnd: () => void

  constructor(held: Held, answer: Answer, onEnd: () => void) {
    this.held = held
    this.answer = answer
    this.#onEnd = onEnd
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    this.answer.message(type, buf, start, end)
  }

  piece(buf: Buffer, start: number, end: number): void {
    this.answer.piece(buf, start, end)
  }

  done(status: TransactionStatus): void {
    this.#onEnd()
    this.answer.done(status)
  }

  failed(error: FleetError, sent: boolean): void {
    this.#onEnd()
    this.answer.failed(error, sent)
  }
}

/** Who is told when a COPY begins, and knows what of it the client has sent. */
export interface CopyHost {
  begin(held: Held): void
  /** The Sync behind the COPY has been sent on already: the group has its end. */
  hasSynced(failed: boolean): boolean
}

/** Sends one group, or part of one, and waits for its answer, which goes to the client as it comes. */
export class GroupRunner implements AnswerHost {
  readonly #output: ClientOutput
  readonly #copy: CopyHost
  #held: Held | null = null
  #answer: Answer | null = null
  #ended: ((answered: Answered) => void) | null = null
  #open: OpenGroup | null = null

  constructor(output: ClientOutput, copy: CopyHost) {
    this.#output = output
    this.#copy = copy
  }

  /** What runs now; null between groups. */
  get running(): Held | null {
    return this.#held
  }

  /** True while a server waits for the Sync of a group. */
  get isOpen(): boolean {
    return this.#open !== null
  }

  /** True for an open group that has failed: the server passes over all that comes up to its Sync. */
  get isOpenFailed(): boolean {
    return this.#open !== null && this.#open.answer.sqlstate !== ''
  }

  /** True when what runs has failed: the server passes over all that comes up to a Sync. */
  get hasFailed(): boolean {
    return this.#answer !== null && this.#answer.sqlstate !== ''
  }

  /** What is asked in the midst of an open group leaves it open. @throws FleetError (the promise) `overloaded`: nothing was sent */
  run(held: Held, group: Group, stays = this.isOpen): Promise<Answered> {
    return new Promise((resolve, reject) => {
      try {
        this.begin(held, { group, stays }, resolve)
      } catch (error) {
        reject(toFleetError(error))
      }
    })
  }

  /**
   * The same without a promise: `ended` is called when the answer is complete, not before this returns. What was
   * submitted on the connection goes out now: there is nobody to share its way with.
   * @param sent `stays` for a part of a group of which more is to come
   * @throws FleetError `overloaded`: nothing was sent
   */
  begin(
    held: Held,
    { group, stays }: { readonly group: Group; readonly stays: boolean },
    ended: (answered: Answered) => void,
  ): void {
    const answer = new Answer({
      output: this.#output,
      host: this,
      wantsTags: group.wantsTags,
      isHidden: group.isHidden === true,
      stays,
    })
    const encode = (out: WireWriter): void => {
      answer.expect(group.encode(out, stays ? writeFlush : writeSync), group.told)
    }
    if (this.#open !== null) this.#extend(this.#open, { encode, answer, stays })
    else if (stays) this.#openOn(held, encode, answer)
    else held.session.connection.submitNow(encode, answer)
    this.#held = held
    this.#answer = answer
    this.#ended = ended
  }

  #openOn(held: Held, encode: (out: WireWriter) => void, answer: Answer): void {
    const group = new OpenGroup(held, answer, () => {
      this.#open = null
    })
    held.session.connection.submitNow(encode, group)
    this.#open = group
  }

  #extend(
    group: OpenGroup,
    {
      encode,
      answer,
      stays,
    }: { readonly encode: (out: WireWriter) => void; readonly answer: Answer; readonly stays: boolean },
  ): void {
    const out = new WireWriter()
    encode(out)
    group.held.session.connection.append(out.bytes())
    group.answer = answer
    group.hasEnd = !stays
  }

  /** The session is over: a group that is open gets its Sync, so that the connection can be used again. */
  closeOpen(): void {
    const group = this.#open
    if (group === null || group.hasEnd) return
    group.answer.abandon()
    group.hasEnd = true
    group.held.session.connection.append(syncMessage)
  }

  /** Asks the server to give up what runs. */
  cancel(): void {
    if (this.#held !== null) requestCancel(this.#held.session)
  }

  /** The client has gone: nobody waits for what comes, and the server must not wait for its reader. */
  abandon(): void {
    if (this.#held === null) return
    this.#held.session.connection.resume()
    this.cancel()
  }

  lagging(): void {
    const connection = this.#held?.session.connection
    if (connection === undefined || connection.paused) return
    connection.pause()
    this.#output.whenTaken(() => {
      connection.resume()
    })
  }

  copyIn(): void {
    if (this.#held !== null) this.#copy.begin(this.#held)
  }

  answered(answer: Answer): void {
    if (answer !== this.#answer || this.#copy.hasSynced(answer.sqlstate !== '')) return
    this.ended(answer, { kind: 'open' })
  }

  ended(answer: Answer, end: AnswerEnd): void {
    this.#held = null
    this.#answer = null
    const ended = this.#ended
    this.#ended = null
    ended?.({ answer, end })
  }
}
