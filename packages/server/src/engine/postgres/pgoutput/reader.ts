// Reads the fields of one message from the buffer that it came in; every read beyond its end is a violation.
import type { Lsn } from '@fleetshard/core'
import { protocolViolation } from '@fleetshard/routing/pgwire'

/** A position in one message. Reused for all messages of a stream. */
export class FieldReader {
  #buf: Buffer = Buffer.alloc(0)
  #at = 0
  #end = 0

  /** Begins with `buf[start, end)`, which must stay as it is until the message is read. */
  open(buf: Buffer, start: number, end: number): void {
    this.#buf = buf
    this.#at = start
    this.#end = end
  }

  uint8(): number {
    return this.#buf[this.#take(1)] as number
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

  lsn(): Lsn {
    return this.#buf.readBigUInt64BE(this.#take(8)) as Lsn
  }

  /** UTF-8 up to a zero byte. */
  text(): string {
    const zero = this.#buf.indexOf(0, this.#at)
    if (zero === -1 || zero >= this.#end) throw protocolViolation('a text without its end')
    const text = this.#buf.toString('utf8', this.#at, zero)
    this.#at = zero + 1
    return text
  }

  /** UTF-8 of that many bytes. */
  textOf(length: number): string {
    const at = this.#take(length)
    return this.#buf.toString('utf8', at, at + length)
  }

  /** A copy of that many bytes. */
  bytes(length: number): Buffer {
    const at = this.#take(length)
    return Buffer.from(this.#buf.subarray(at, at + length))
  }

  /** Bytes that are left. */
  get left(): number {
    return this.#end - this.#at
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
