// A growable, reusable buffer that messages are written into. No message knows of sockets; whoever owns the writer
// takes its bytes and resets it.
import { FleetError } from '@fleetshard/core'
import { wireLengthMax } from './codes.ts'

/** What a writer begins with. */
const roomBytesMin = 1024
/** Strings, and spans of bytes, up to this length are written by a loop: cheaper than a call into the runtime. */
const loopLengthMax = 48
/** From this length on the bytes of a string are counted before room is made. */
const countedLengthMin = 4096

/** Appends big-endian numbers, strings and bytes. Offsets handed out stay valid until `reset` or `detach`. */
export class WireWriter {
  #buf: Buffer
  #at = 0

  constructor(roomBytes = roomBytesMin) {
    this.#buf = Buffer.allocUnsafeSlow(Math.max(roomBytes, roomBytesMin))
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#at
  }

  /** Bytes that this writer holds in memory. */
  get roomBytes(): number {
    return this.#buf.length
  }

  /** What was written, in place: valid until the next write or reset. */
  bytes(): Buffer {
    return this.#buf.subarray(0, this.#at)
  }

  /** Begins anew in the same memory. */
  reset(): void {
    this.#at = 0
  }

  /** Gives away the bytes with their memory and begins anew in fresh memory. */
  detach(): Buffer {
    const bytes = this.bytes()
    this.#buf = Buffer.allocUnsafeSlow(roomBytesMin)
    this.#at = 0
    return bytes
  }

  /** Forgets what was written after `length` had that value. */
  truncate(length: number): void {
    if (length > this.#at) throw new RangeError('a writer cannot be truncated to more than it holds')
    this.#at = length
  }

  /** Begins a message and returns its offset for `end`. */
  begin(type: number): number {
    const offset = this.#reserve(5)
    this.#buf[offset] = type
    return offset
  }

  /** Fills in the length of the message begun at `offset`. */
  end(offset: number): void {
    this.#put32(offset + 1, this.#at - offset - 1)
  }

  /** Begins a message without a type byte. */
  beginUntyped(): number {
    return this.#reserve(4)
  }

  /** Fills in the length of the untyped message begun at `offset`. */
  endUntyped(offset: number): void {
    this.#put32(offset, this.#at - offset)
  }

  uint8(value: number): void {
    const at = this.#reserve(1)
    this.#buf[at] = value
  }

  int16(value: number): void {
    const at = this.#reserve(2)
    this.#buf[at] = value >> 8
    this.#buf[at + 1] = value
  }

  int32(value: number): void {
    this.#put32(this.#reserve(4), value)
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length)
    this.#buf.set(bytes, at)
  }

  /** `from[start, end)` as it is. */
  span(from: Buffer, start: number, end: number): void {
    const length = end - start
    const at = this.#reserve(length)
    const buf = this.#buf
    if (length > loopLengthMax) from.copy(buf, at, start, end)
    else for (let index = 0; index < length; index += 1) buf[at + index] = from[start + index] as number
  }

  /** UTF-8 without a terminator. */
  utf8(text: string): void {
    const length = text.length
    if (length <= loopLengthMax && this.#ascii(text)) return
    // Three bytes a character are enough, and counting costs more than that room for all but long texts.
    const room = length > countedLengthMin ? Buffer.byteLength(text) : length * 3
    const at = this.#reserve(room)
    this.#at = at + this.#buf.write(text, at, 'utf8')
  }

  /** A length of 32 bits, then UTF-8. */
  lengthAndUtf8(text: string): void {
    const offset = this.#reserve(4)
    this.utf8(text)
    this.#put32(offset, this.#at - offset - 4)
  }

  /**
   * UTF-8 ended by a zero byte.
   * @throws FleetError `invalid_request` when the text holds a zero itself: the rest would be read as something else
   */
  cstring(text: string): void {
    if (text !== '') {
      if (text.includes('\0')) throw new FleetError('invalid_request', 'a zero byte cannot be sent in a text')
      this.utf8(text)
    }
    this.uint8(0)
  }

  /** Writes the text if all of it is ASCII. */
  #ascii(text: string): boolean {
    const length = text.length
    const at = this.#reserve(length)
    const buf = this.#buf
    for (let index = 0; index < length; index += 1) {
      const code = text.charCodeAt(index)
      if (code > 0x7f) {
        this.#at = at
        return false
      }
      buf[at + index] = code
    }
    return true
  }

  #put32(at: number, value: number): void {
    const buf = this.#buf
    buf[at] = value >> 24
    buf[at + 1] = value >> 16
    buf[at + 2] = value >> 8
    buf[at + 3] = value
  }

  /** Makes room and returns where it begins. */
  #reserve(bytes: number): number {
    const at = this.#at
    const end = at + bytes
    if (end > this.#buf.length) this.#grow(end)
    this.#at = end
    return at
  }

  #grow(bytes: number): void {
    if (bytes > wireLengthMax)
      throw new FleetError('request_too_large', 'the request is larger than the protocol allows')
    const grown = Buffer.allocUnsafeSlow(Math.max(bytes, this.#buf.length * 2))
    this.#buf.copy(grown, 0, 0, this.#at)
    this.#buf = grown
  }
}
