// COPY FROM STDIN: the client's messages on their way to the server, as they are, no faster than it takes them.
import { FleetError } from '@fleetshard/core'
import { frontendCode, protocolViolation, writeCopyFail, writeSync } from '@fleetshard/routing/pgwire'
import type { ClientConnection } from '../listeners/pgwire/client-connection.ts'
import { built } from './group-items.ts'
import type { Held } from './server-side.ts'

const copyAborted = built((out) => {
  writeCopyFail(out, 'the client has gone')
})
const syncMessage = built(writeSync)

/**
 * One COPY. Servers pass over Flush and Sync while they take rows: only a Sync behind the end of the rows, or behind an
 * error, ends the group of the extended protocol that the COPY is in.
 */
interface Copying {
  readonly held: Held
  readonly isQuery: boolean
  /** CopyDone or CopyFail was said. */
  isSaid: boolean
  /** Bytes of a message that the server has got the first part of. */
  bytesLeft: number
}

/** The COPYs of one session, one at a time. */
export class CopyIn {
  readonly #connection: ClientConnection
  readonly #runner: {
    /** Null once the server has answered the whole group. */
    readonly running: Held | null
    /** The server has said that it takes no more. */
    readonly hasFailed: boolean
  }
  #now: Copying | null = null
  #hasSynced = false
  /** That Sync stood behind the end of the rows. */
  #isEnded = false

  constructor(connection: ClientConnection, runner: { running: Held | null; hasFailed: boolean }) {
    this.#connection = connection
    this.#runner = runner
  }

  /** True as long as messages belong to the COPY. */
  get isOn(): boolean {
    return this.#now !== null
  }

  /** The server wants rows. */
  begin(held: Held, isQuery: boolean): void {
    this.#now = { held, isQuery, isSaid: false, bytesLeft: 0 }
    this.#connection.release()
  }

  /** The group is answered, whatever the client still sends. True when its Sync was sent on from here. */
  end(): boolean {
    const hasSynced = this.#hasSynced
    this.#now = null
    this.#hasSynced = false
    this.#isEnded = false
    return hasSynced
  }

  /** True when the Sync that ends the group has been sent on: one behind the end of the rows, or behind an error. */
  hasSynced(failed: boolean): boolean {
    return this.#hasSynced && (failed || this.#isEnded)
  }

  /** @throws FleetError `protocol_violation` for a message that has no place in a COPY */
  message(type: number, bytes: Buffer): void {
    const now = this.#now
    if (now === null) return
    switch (type) {
      case frontendCode.copyData:
        this.#append(now, bytes)
        return
      case frontendCode.copyDone:
      case frontendCode.copyFail:
        this.#append(now, bytes)
        now.isSaid = true
        if (now.isQuery) this.#finish()
        return
      case frontendCode.flush:
        return
      case frontendCode.sync:
        if (!now.isQuery) this.#sync(now, bytes)
        return
      default:
        throw protocolViolation('a message that does not belong to the COPY under way')
    }
  }

  /** A part of a CopyData message. */
  piece(bytes: Buffer, bytesLeft: number): void {
    const now = this.#now
    if (now === null) return
    now.bytesLeft = bytesLeft
    this.#append(now, bytes)
  }

  /** The client has gone in the middle: the server must not wait for the rest. */
  abort(): void {
    const now = this.#now
    if (now === null) return
    this.#now = null
    if (now.bytesLeft > 0) {
      // Whatever is said now, the server would take for the rest of that message.
      now.held.session.connection.destroy(new FleetError('canceled', 'the client has gone within a COPY'))
      return
    }
    this.#append(now, copyAborted)
    if (!now.isQuery) this.#append(now, syncMessage)
  }

  /** One that the server passes over does no harm; one that it waits for must come. */
  #sync(now: Copying, bytes: Buffer): void {
    this.#append(now, bytes)
    this.#hasSynced = true
    this.#isEnded = now.isSaid
    if (now.isSaid || this.#runner.hasFailed) this.#finish()
  }

  #append(now: Copying, bytes: Buffer): void {
    if (this.#runner.running === null || now.held.session.connection.append(bytes)) return
    this.#connection.hold()
    void now.held.session.connection.drained().then(() => {
      if (this.#now === now) this.#connection.release()
    })
  }

  /** The client has said all: its next message waits for the answer. */
  #finish(): void {
    this.#now = null
    this.#connection.hold()
  }
}
