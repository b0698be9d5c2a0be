// COPY FROM STDIN: the client's messages on their way to the server, as they are, no faster than it takes them.
import { frontendCode, protocolViolation, writeCopyFail, writeSync } from '@fleetshard/routing/pgwire'
import type { ClientConnection } from '../listeners/pgwire/client-connection.ts'
import { built } from './group-items.ts'
import type { Held } from './server-side.ts'

const copyAborted = built((out) => {
  writeCopyFail(out, 'the client has gone')
})
const syncMessage = built(writeSync)

/** The COPYs of one session, one at a time. */
export class CopyIn {
  readonly #connection: ClientConnection
  /** False once the server has answered the whole group. */
  readonly #isRunning: () => boolean
  #now: { readonly held: Held; readonly until: 'copy-end' | 'sync' } | null = null

  constructor(connection: ClientConnection, isRunning: () => boolean) {
    this.#connection = connection
    this.#isRunning = isRunning
  }

  /** True as long as messages belong to the COPY. */
  get isOn(): boolean {
    return this.#now !== null
  }

  /** The server wants rows. In the extended protocol the client ends its part with a Sync. */
  begin(held: Held, isQuery: boolean): void {
    this.#now = { held, until: isQuery ? 'copy-end' : 'sync' }
    this.#connection.release()
  }

  /** The group is answered, whatever the client still sends. */
  end(): void {
    this.#now = null
  }

  /** @throws FleetError `protocol_violation` for a message that has no place in a COPY */
  message(type: number, bytes: Buffer): void {
    const now = this.#now
    switch (type) {
      case frontendCode.copyData:
      case frontendCode.flush:
        this.append(bytes)
        return
      case frontendCode.copyDone:
      case frontendCode.copyFail:
        this.append(bytes)
        if (now?.until === 'copy-end') this.#finish()
        return
      case frontendCode.sync:
        this.append(bytes)
        this.#finish()
        return
      default:
        throw protocolViolation('a message that does not belong to the COPY under way')
    }
  }

  /** Bytes of a message, or a part of one. */
  append(bytes: Buffer): void {
    const now = this.#now
    if (now === null || !this.#isRunning() || now.held.session.connection.append(bytes)) return
    this.#connection.hold()
    void now.held.session.connection.drained().then(() => {
      if (this.#now === now) this.#connection.release()
    })
  }

  /** The client has gone in the middle: the server must not wait for the rest. */
  abort(): void {
    const now = this.#now
    if (now === null) return
    this.append(copyAborted)
    if (now.until === 'sync') this.append(syncMessage)
    this.#now = null
  }

  /** The client has said all: its next message waits for the answer. */
  #finish(): void {
    this.#now = null
    this.#connection.hold()
  }
}
