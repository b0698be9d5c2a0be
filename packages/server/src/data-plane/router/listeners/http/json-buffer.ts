// A growing buffer that JSON is written into byte by byte, so that rows go from Postgres' text format to the body of
// an answer without becoming values in between.

const quote = 0x22
const backslash = 0x5c
const hexDigits = Buffer.from('0123456789abcdef')

/** Short escapes of JSON by byte; 0 where there is none. */
const shortEscapes = new Uint8Array(0x60)
shortEscapes[0x08] = 0x62
shortEscapes[0x09] = 0x74
shortEscapes[0x0a] = 0x6e
shortEscapes[0x0c] = 0x66
shortEscapes[0x0d] = 0x72
shortEscapes[quote] = quote
shortEscapes[backslash] = backslash

/** Writes JSON. Never throws but for memory; whoever writes counts `length` against a limit. */
export class JsonBuffer {
  #buffer: Buffer
  #length = 0

  constructor(initialBytes: number) {
    this.#buffer = Buffer.allocUnsafe(initialBytes)
  }

  /** Bytes written. */
  get length(): number {
    return this.#length
  }

  /** Forgets what lies behind that length. */
  truncate(length: number): void {
    this.#length = length
  }

  /** What was written; shares the memory, so write no more afterwards. */
  take(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  /** One byte. */
  byte(value: number): void {
    this.#reserve(1)
    this.#buffer[this.#length] = value
    this.#length += 1
  }

  /** Text that holds ASCII only. */
  ascii(text: string): void {
    this.#reserve(text.length)
    this.#length += this.#buffer.write(text, this.#length, 'latin1')
  }

  /** Any text as it is. */
  text(text: string): void {
    this.#reserve(text.length * 3)
    this.#length += this.#buffer.write(text, this.#length, 'utf8')
  }

  /** Bytes as they are. */
  raw(source: Buffer, start: number, end: number): void {
    const count = end - start
    this.#reserve(count)
    const target = this.#buffer
    let at = this.#length
    // Most values are short: a loop beats the call that copies.
    if (count <= 32) {
      for (let index = start; index < end; index += 1) target[at++] = source[index]!
    } else {
      source.copy(target, at, start, end)
    }
    this.#length += count
  }

  /** Bytes of UTF-8 as a JSON string. */
  string(source: Buffer, start: number, end: number): void {
    this.#reserve((end - start) * 6 + 2)
    const target = this.#buffer
    let at = this.#length
    target[at++] = quote
    for (let index = start; index < end; index += 1) {
      const byte = source[index]!
      if (byte >= 0x20 && byte !== quote && byte !== backslash) target[at++] = byte
      else at = escape(target, at, byte)
    }
    target[at++] = quote
    this.#length = at
  }

  /** Bytes in hexadecimal as a JSON string of base64. */
  base64OfHex(source: Buffer, start: number, end: number): void {
    const text = Buffer.from(source.toString('latin1', start, end), 'hex').toString('base64')
    this.byte(quote)
    this.ascii(text)
    this.byte(quote)
  }

  #reserve(count: number): void {
    const needed = this.#length + count
    if (needed <= this.#buffer.length) return
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2))
    this.#buffer.copy(grown, 0, 0, this.#length)
    this.#buffer = grown
  }
}

function escape(target: Buffer, start: number, byte: number): number {
  let at = start
  target[at++] = backslash
  const short = shortEscapes[byte]!
  if (short !== 0) {
    target[at++] = short
    return at
  }
  target[at++] = 0x75
  target[at++] = 0x30
  target[at++] = 0x30
  target[at++] = hexDigits[byte >> 4]!
  target[at++] = hexDigits[byte & 15]!
  return at
}
