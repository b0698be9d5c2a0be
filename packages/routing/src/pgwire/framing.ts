// Cuts a stream of bytes into protocol messages, whatever the borders of the chunks. Messages that lie whole in a
// chunk are handed over in place; only one that crosses a border is copied, and each byte of it once or (above
// 1 MiB) at most three times. Used for both directions.
import {
  messageHeaderBytes,
  startupBytesMax,
  startupBytesMin,
  startupHeaderBytes,
  wireLengthMax,
} from './codes.ts'
import { protocolViolation, startupSizeViolation } from './violation.ts'

/** Largest message that is collected when nobody says otherwise. */
export const messageBytesMaxDefault = 64 * 1024 * 1024
/** Incomplete messages above this size may be handed over in pieces. */
export const pieceThresholdBytes = 64 * 1024
/** Above this size room is made as bytes come, so that a declared length alone costs no memory. */
const trustedBytes = 1024 * 1024

/** Takes the messages. Spans are valid during the call only. */
export interface MessageReceiver {
  /** `buf[start, end)` is the whole message from its type byte on; `type` is 0 before `startupDone`. */
  message(type: number, buf: Buffer, start: number, end: number): void
  /** Asked once for an incomplete message over `pieceThresholdBytes`: true to get it by `piece`. */
  acceptsPieces(type: number, bytes: number): boolean
  /** The next part of such a message; the first one begins with the type byte, the last has `bytesLeft` 0. */
  piece(buf: Buffer, start: number, end: number, bytesLeft: number): void
}

/** How a stream begins and how much of a message is collected. */
export interface SplitterOptions {
  /** True for a client's stream, which begins with messages without a type byte. */
  readonly startup?: boolean
  readonly messageBytesMax?: number
}

const nothing = Buffer.alloc(0)

const tooLarge = (bytes: number, bytesMax: number): Error =>
  protocolViolation(`a message of ${String(bytes)} bytes is larger than the limit of ${String(bytesMax)}`)

/** Incremental splitter; one for each direction of a connection. */
export class MessageSplitter {
  readonly #receiver: MessageReceiver
  #messageBytesMax: number
  #headerBytes: number
  /** Start of a message that crosses a chunk border; `#needBytes` is 0 until its header is there. */
  #held: Buffer = nothing
  #heldBytes = 0
  #needBytes = 0
  #pieceBytesLeft = 0
  #stopped = false
  #suspended = false

  constructor(receiver: MessageReceiver, options: SplitterOptions = {}) {
    this.#receiver = receiver
    this.#messageBytesMax = options.messageBytesMax ?? messageBytesMaxDefault
    this.#headerBytes = options.startup === true ? startupHeaderBytes : messageHeaderBytes
  }

  /** Bytes of an incomplete message held here. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /** From the next message on there are type bytes. To be called while the last startup message is delivered. */
  startupDone(): void {
    this.#headerBytes = messageHeaderBytes
  }

  /** From the next message on so much of one is collected. */
  allow(messageBytesMax: number): void {
    this.#messageBytesMax = messageBytesMax
  }

  /** Delivers nothing more, also not of the chunk at hand. */
  stop(): void {
    this.#stopped = true
    this.#release()
  }

  /** To be called while a message is delivered: it is the last one of that `feed`. */
  suspend(): void {
    this.#suspended = true
  }

  /**
   * Takes `chunk[from, to)`; it may be reused after the call. Returns how far it came: `to`, or less after `suspend`;
   * the rest is then to be fed later.
   * @throws FleetError `protocol_violation` for an impossible or too large length; the stream is lost then
   */
  feed(chunk: Buffer, from = 0, to = chunk.length): number {
    this.#suspended = false
    let at = from
    if (this.#pieceBytesLeft > 0) at = this.#passPiece(chunk, at, to)
    else if (this.#heldBytes > 0) at = this.#fill(chunk, at, to)
    while (at < to && !this.#stopped && !this.#suspended) {
      const header = this.#headerBytes
      if (to - at < header) {
        this.#hold(chunk, at, to)
        return to
      }
      const end = at + this.#messageBytes(chunk, at)
      if (end > to) {
        this.#begin(chunk, at, to)
        return to
      }
      this.#receiver.message(header === messageHeaderBytes ? (chunk[at] as number) : 0, chunk, at, end)
      at = end
    }
    return this.#stopped ? to : at
  }

  /** Size of the message whose header lies at `at`, checked. */
  #messageBytes(buf: Buffer, at: number): number {
    const lengthAt = at + this.#headerBytes - 4
    const length =
      ((buf[lengthAt] as number) << 24) |
      ((buf[lengthAt + 1] as number) << 16) |
      ((buf[lengthAt + 2] as number) << 8) |
      (buf[lengthAt + 3] as number)
    if (this.#headerBytes === startupHeaderBytes) {
      if (length < startupBytesMin || length > startupBytesMax) throw startupSizeViolation(length)
      return length
    }
    if (length < 4 || length > wireLengthMax)
      throw protocolViolation(`a message claims ${String(length)} bytes`)
    return length + this.#headerBytes - 4
  }

  /** A message begins in this chunk and ends in a later one. */
  #begin(chunk: Buffer, at: number, to: number): void {
    const bytes = this.#messageBytes(chunk, at)
    if (this.#inPieces(chunk[at] as number, bytes)) {
      this.#pieceBytesLeft = bytes
      this.#passPiece(chunk, at, to)
      return
    }
    this.#needBytes = bytes
    this.#hold(chunk, at, to)
  }

  #inPieces(type: number, bytes: number): boolean {
    const mayBe = this.#headerBytes !== startupHeaderBytes && bytes > pieceThresholdBytes
    if (mayBe && this.#receiver.acceptsPieces(type, bytes)) return true
    if (bytes > this.#messageBytesMax) throw tooLarge(bytes, this.#messageBytesMax)
    return false
  }

  #passPiece(chunk: Buffer, at: number, to: number): number {
    const end = Math.min(to, at + this.#pieceBytesLeft)
    if (end === at) return at
    this.#pieceBytesLeft -= end - at
    this.#receiver.piece(chunk, at, end, this.#pieceBytesLeft)
    return end
  }

  /** Goes on with the held message; returns where the next one begins in the chunk. */
  #fill(chunk: Buffer, from: number, to: number): number {
    let at = from
    if (this.#needBytes === 0) {
      at = Math.min(to, at + this.#headerBytes - this.#heldBytes)
      this.#hold(chunk, from, at)
      if (this.#heldBytes < this.#headerBytes) return at
      const bytes = this.#messageBytes(this.#held, 0)
      if (this.#inPieces(this.#held[0] as number, bytes)) return this.#heldToPieces(bytes, chunk, at, to)
      this.#needBytes = bytes
    }
    const end = Math.min(to, at + this.#needBytes - this.#heldBytes)
    this.#hold(chunk, at, end)
    if (this.#heldBytes === this.#needBytes) this.#deliverHeld()
    return end
  }

  #heldToPieces(bytes: number, chunk: Buffer, at: number, to: number): number {
    const held = this.#held
    this.#pieceBytesLeft = bytes - this.#headerBytes
    this.#release()
    this.#receiver.piece(held, 0, this.#headerBytes, this.#pieceBytesLeft)
    return this.#stopped ? to : this.#passPiece(chunk, at, to)
  }

  #deliverHeld(): void {
    const held = this.#held
    const bytes = this.#heldBytes
    this.#release()
    const type = this.#headerBytes === messageHeaderBytes ? (held[0] as number) : 0
    this.#receiver.message(type, held, 0, bytes)
  }

  #hold(chunk: Buffer, at: number, to: number): void {
    const bytes = this.#heldBytes + to - at
    if (bytes > this.#held.length) this.#grow(bytes)
    chunk.copy(this.#held, this.#heldBytes, at, to)
    this.#heldBytes = bytes
  }

  #grow(bytes: number): void {
    const need = Math.max(this.#needBytes, messageHeaderBytes)
    const room =
      need <= trustedBytes ? need : Math.min(need, Math.max(trustedBytes, bytes, this.#held.length * 2))
    const grown = Buffer.allocUnsafe(room)
    this.#held.copy(grown, 0, 0, this.#heldBytes)
    this.#held = grown
  }

  #release(): void {
    this.#held = nothing
    this.#heldBytes = 0
    this.#needBytes = 0
  }
}
