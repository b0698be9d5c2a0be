// One client's socket: cuts what comes in into messages, holds back what its receiver is not ready for, carries what
// is said. Knows nothing of what the messages mean.
import type { Socket } from 'node:net'
import { toFleetError, type Clock, type FleetError } from '@fleetshard/core'
import { MessageSplitter, protocolViolation, type MessageReceiver } from '@fleetshard/routing/pgwire'
import { ClientOutput, type OutputBuffers } from './output.ts'
import { readInPlace } from './read-in-place.ts'
import { tlsHandshakeByte } from './tls.ts'

/** Bytes held back for a receiver that is busy, above which the socket is not read any more. */
const waitingBytesMax = 256 * 1024

/** What is collected of one message, and held back, of a client who has not proved who he is. */
const loginBytesMax = 64 * 1024

/** A client that takes nothing, and does not close its end, for so long after ours was closed is cut off. */
const endWithinMs = 5_000

/** Who takes the messages of a client. May change in the course of a connection. */
export interface ClientReceiver extends MessageReceiver {
  /** The client broke the protocol, or a message is larger than the limit. */
  broken(error: FleetError): void
  /** The socket is gone. Last call. */
  gone(): void
}

/** What a connection is made of. */
export interface ClientConnectionParts {
  readonly clock: Clock
  /** As the server of the port gave it, not yet read from. */
  readonly accepted: Socket
  readonly buffers: OutputBuffers
  readonly messageBytesMax: number
  /** What a socket is wrapped in whose first byte begins a TLS handshake; null to take it for a message. */
  readonly directTls: ((socket: Socket) => Socket) | null
}

/** A connection of a client, from the first byte to the last. */
export class ClientConnection {
  readonly output: ClientOutput
  /** As it was before TLS. */
  readonly #plain: Socket
  #socket: Socket
  readonly #splitter: MessageSplitter
  #receiver: ClientReceiver | null = null
  /** What came while the receiver was busy, in order; of the first the bytes from `#waitingAt` on. */
  #waiting: Buffer[] = []
  #waitingAt = 0
  #waitingBytes = 0
  #waitingBytesMax = loginBytesMax
  /** What the socket is about to be wrapped in. */
  #wrap: ((socket: Socket) => Socket) | null = null
  #isHeld = false
  #isFeeding = false
  #isGone = false
  #isFirst = true
  readonly #parts: ClientConnectionParts

  constructor(parts: ClientConnectionParts) {
    this.#parts = parts
    this.#plain = readInPlace(parts.accepted, (chunk) => {
      this.#takeShared(chunk)
    })
    this.#socket = this.#plain
    this.output = new ClientOutput(this.#socket, parts.buffers)
    this.#splitter = new MessageSplitter(
      {
        message: (type, buf, start, end) => this.#receiver?.message(type, buf, start, end),
        acceptsPieces: (type, bytes) => this.#receiver?.acceptsPieces(type, bytes) ?? false,
        piece: (buf, start, end, bytesLeft) => this.#receiver?.piece(buf, start, end, bytesLeft),
      },
      { startup: true, messageBytesMax: Math.min(loginBytesMax, parts.messageBytesMax) },
    )
    this.#listenTo(this.#socket)
  }

  get socket(): Socket {
    return this.#socket
  }

  /** True from the beginning of TLS on. */
  get isEncrypted(): boolean {
    return this.#socket !== this.#plain
  }

  get isGone(): boolean {
    return this.#isGone
  }

  /** Bytes that came and were not looked at yet, or are part of a message that is not whole. */
  get incomingBytes(): number {
    return this.#waitingBytes + this.#splitter.heldBytes
  }

  /** Messages go there from now on. */
  receiveBy(receiver: ClientReceiver): void {
    this.#receiver = receiver
  }

  /** The startup message was the last one without a type. To be called while it is delivered. */
  startupDone(): void {
    this.#splitter.startupDone()
  }

  /** The client has proved who he is: his messages may be as large as any. */
  loggedIn(): void {
    this.#waitingBytesMax = waitingBytesMax
    this.#splitter.allow(this.#parts.messageBytesMax)
  }

  /** No further message is delivered until `release`. */
  hold(): void {
    this.#isHeld = true
    this.#splitter.suspend()
  }

  /** The receiver is ready for the next message; what was held back is delivered, before this returns or later. */
  release(): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    if (!this.#isFeeding) this.#feedWaiting()
  }

  /**
   * Puts TLS on top of the socket. To be called while a message is delivered, which must be the last one of the plain
   * stream: bytes behind it would be taken for encrypted ones, and break the connection.
   */
  wrapSocket(wrap: (socket: Socket) => Socket): void {
    this.#wrap = wrap
    this.#splitter.suspend()
  }

  /** Says what was not yet said, then ends the connection. What the client still sends is not looked at. */
  end(): void {
    this.output.flush()
    this.#splitter.stop()
    this.#waiting = []
    const socket = this.#socket
    socket.end()
    socket.resume()
    const stop = this.#parts.clock.after(endWithinMs, () => {
      socket.destroy()
    })
    socket.once('close', stop)
  }

  /** Ends the connection now. */
  destroy(): void {
    this.#splitter.stop()
    this.#socket.destroy()
  }

  #listenTo(socket: Socket): void {
    socket.on('error', ignore)
    socket.once('close', () => {
      if (socket === this.#socket) this.#close()
    })
  }

  #close(): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#splitter.stop()
    this.#waiting = []
    this.#receiver?.gone()
    this.#receiver = null
  }

  #replaceSocket(wrap: (socket: Socket) => Socket): void {
    const plain = this.#socket
    plain.pause()
    this.#socket = wrap(plain)
    this.output.use(this.#socket)
    plain.once('close', () => this.#socket.destroy())
    this.#socket.on('data', (chunk: Buffer) => {
      this.#take(chunk)
    })
    this.#listenTo(this.#socket)
  }

  /** What the receiver was not ready for is copied: the bytes are gone with the next read. */
  #takeShared(chunk: Buffer): void {
    this.#take(chunk)
    const last = this.#waiting.length - 1
    if (this.#waiting[last] !== chunk) return
    this.#waiting[last] = Buffer.from(last === 0 ? chunk.subarray(this.#waitingAt) : chunk)
    if (last === 0) this.#waitingAt = 0
  }

  #take(chunk: Buffer): void {
    if (this.#isFirst) {
      this.#isFirst = false
      const { directTls } = this.#parts
      if (chunk[0] === tlsHandshakeByte && directTls !== null) {
        this.#socket.pause()
        this.#socket.unshift(Buffer.from(chunk))
        this.#replaceSocket(directTls)
        return
      }
    }
    this.#waiting.push(chunk)
    this.#waitingBytes += chunk.length
    if (!this.#isHeld && !this.#isFeeding) this.#feedWaiting()
    if (this.#waitingBytes > this.#waitingBytesMax) this.#socket.pause()
  }

  #feedWaiting(): void {
    this.#isFeeding = true
    try {
      for (let chunk = this.#waiting[0]; chunk !== undefined && !this.#isHeld; chunk = this.#waiting[0]) {
        if (this.#wrap !== null) throw protocolViolation('bytes in front of the encryption')
        const at = this.#splitter.feed(chunk, this.#waitingAt, chunk.length)
        this.#waitingBytes -= at - this.#waitingAt
        this.#waitingAt = at
        if (at < chunk.length) continue
        this.#waiting.shift()
        this.#waitingAt = 0
      }
    } catch (error) {
      this.#splitter.stop()
      this.#receiver?.broken(toFleetError(error))
    } finally {
      this.#isFeeding = false
    }
    const wrap = this.#wrap
    this.#wrap = null
    if (wrap !== null && !this.#isGone) this.#replaceSocket(wrap)
    if (this.#waitingBytes <= this.#waitingBytesMax && this.#socket.isPaused()) this.#socket.resume()
  }
}

function ignore(): void {
  // The close event that follows is what counts.
}
