// Reads the body of one message with every access checked; for all messages off the hot path.
import { protocolViolation } from './violation.ts'

/** A position in `buf[at, end)`. Every read beyond the end is a protocol violation. */
export class Cursor {
  readonly #buf: Buffer
  readonly #end: number
  #at: number

  constructor(buf: Buffer, at: number, end: number) {
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

  /** UTF-8 up to a zero byte. */
  cstring(): string {
    const zero = this.#buf.indexOf(0, this.#at)
    if (zero === -1 || zero >= this.#end) throw protocolViolation('a text without its end')
    const text = this.#buf.toString('utf8', this.#at, zero)
    this.#at = zero + 1
    return text
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
