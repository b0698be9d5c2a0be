// Reads the body of one message with every access checked: for messages of the protocol off the hot path, and for those
// that a stream of changes carries inside them.
import { protocolViolation } from './violation.ts'

const nothing = Buffer.alloc(0)

/** A position in `buf[at, end)`. Every read beyond the end is a protocol violation. */
export class Cursor {
  #buf: Buffer
  #at: number
  #end: number

  constructor(buf: Buffer = nothing, at = 0, end = 0) {
    this.#buf = buf
    this.#at = at
    this.#end = end
  }

  /** Goes on with `buf[at, end)`, which must stay as it is until it is read. */
  open(buf: Buffer, at: number, end: number): void {
    this.#buf = buf
    this.#at = at
    this.#end = end
  }

  get left(): number {
    return this.#end - this.#at
  }

  uint8(): number {
    return this.#buf[this.#take(1)] as number
  }

  int16(): number {
    return this.#buf.readInt16BE(this.#take(2))
  }

  uint16(): number {
    return this.#buf.readUInt16BE(this.#take(2))
  }

  int32(): number {
    return this.#buf.readInt32BE(this.#take(4))
  }

  uint32(): number {
    return this.#buf.readUInt32BE(this.#take(4))
  }

  int64(): bigint {
    return this.#buf.readBigInt64BE(this.#take(8))
  }

  uint64(): bigint {
    return this.#buf.readBigUInt64BE(this.#take(8))
  }

  /** UTF-8 up to a zero byte. */
  cstring(): string {
    const zero = this.#buf.indexOf(0, this.#at)
    if (zero === -1 || zero >= this.#end) throw protocolViolation('a text without its end')
    const text = this.#buf.toString('utf8', this.#at, zero)
    this.#at = zero + 1
    return text
  }

  /** UTF-8 of the next `length` bytes. */
  text(length: number): string {
    const at = this.#take(length)
    return this.#buf.toString('utf8', at, at + length)
  }

  /** A copy of the next `length` bytes. */
  bytes(length: number): Buffer {
    const at = this.#take(length)
    return Buffer.from(this.#buf.subarray(at, at + length))
  }

  /** A copy of all that is left. */
  rest(): Buffer {
    return this.bytes(this.left)
  }

  /** @throws FleetError `protocol_violation` unless everything was read */
  done(): void {
    if (this.left !== 0) throw protocolViolation(`${String(this.left)} bytes too many in a message`)
  }

  #take(length: number): number {
    const at = this.#at
    if (length < 0 || length > this.#end - at) throw protocolViolation('a message ends too early')
    this.#at = at + length
    return at
  }
}
