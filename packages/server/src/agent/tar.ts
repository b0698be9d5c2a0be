// A reader of the tar stream that a base backup sends: ustar headers, files, folders and links, sizes beyond 8 GiB
// in GNU's base-256 form. Pure: takes chunks of any size, tells what they hold.
// Source: POSIX.1-1988 ustar; src/port/tar.c of Postgres.
const blockBytes = 512

/** One thing of the archive: a file begins, a part of it, or another entry. */
export type TarEvent =
  | { readonly kind: 'file'; readonly path: string; readonly sizeBytes: number }
  | { readonly kind: 'content'; readonly chunk: Buffer }
  | { readonly kind: 'file-end' }
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }

/** Feed it chunks in order; `end` when there are no more. Content chunks share memory with the chunk fed. */
export class TarReader {
  #pending: Buffer = Buffer.alloc(0)
  #fileLeft = 0
  #inFile = false
  #padding = 0;

  /** @throws Error on a broken header or a path that leads out of the folder */
  *feed(chunk: Buffer): Generator<TarEvent> {
    let rest = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    for (;;) {
      if (this.#inFile) {
        if (this.#fileLeft > 0) {
          if (rest.length === 0) break
          const part = rest.subarray(0, Math.min(rest.length, this.#fileLeft))
          this.#fileLeft -= part.length
          rest = rest.subarray(part.length)
          yield { kind: 'content', chunk: part }
          continue
        }
        this.#inFile = false
        yield { kind: 'file-end' }
      }
      const skipped = Math.min(this.#padding, rest.length)
      this.#padding -= skipped
      rest = rest.subarray(skipped)
      if (rest.length < blockBytes) break
      const header = rest.subarray(0, blockBytes)
      rest = rest.subarray(blockBytes)
      if (!isZero(header)) yield* this.#begin(header)
    }
    this.#pending = Buffer.from(rest) // at most one block; copied, since the chunk's memory may be used again
  }

  *#begin(header: Buffer): Generator<TarEvent> {
    checkSum(header)
    const path = safePath(text(header, 0, 100))
    const sizeBytes = number(header, 124, 12)
    const type = String.fromCodePoint(header[156] ?? 0)
    switch (type) {
      case '0':
      case '\0':
        this.#inFile = true
        this.#fileLeft = sizeBytes
        this.#padding = (blockBytes - (sizeBytes % blockBytes)) % blockBytes
        yield { kind: 'file', path, sizeBytes }
        return
      case '5':
        yield { kind: 'folder', path }
        return
      case '2':
        yield { kind: 'link', path, target: text(header, 157, 100) }
        return
      default:
        throw new Error(`the archive holds an entry of unknown type ${JSON.stringify(type)} at ${path}`)
    }
  }

  /** @throws Error when the stream ended inside an entry */
  end(): void {
    if (this.#inFile || this.#padding > 0 || this.#pending.length > 0) {
      throw new Error('the archive ends in the middle of an entry')
    }
  }
}

function isZero(block: Buffer): boolean {
  return block.every((byte) => byte === 0)
}

function text(header: Buffer, start: number, length: number): string {
  const field = header.subarray(start, start + length)
  const end = field.indexOf(0)
  return field.toString('utf8', 0, end === -1 ? length : end)
}

/** Octal digits, or, with the top bit set, a big-endian number. */
function number(header: Buffer, start: number, length: number): number {
  const first = header[start] ?? 0
  if ((first & 0x80) === 0) {
    const digits = text(header, start, length).trim()
    if (!/^[0-7]*$/.test(digits)) throw new Error('the archive has a broken header')
    return digits === '' ? 0 : Number.parseInt(digits, 8)
  }
  let value = 0n
  for (let index = start + 1; index < start + length; index++)
    value = (value << 8n) | BigInt(header[index] ?? 0)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error('the archive has a file of impossible size')
  return Number(value)
}

function checkSum(header: Buffer): void {
  let sum = 8 * 0x20 // the field itself counts as blanks
  for (const [index, byte] of header.entries()) if (index < 148 || index >= 156) sum += byte
  if (sum !== number(header, 148, 8)) throw new Error('the archive has a header with a wrong check sum')
}

function safePath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  if (path.startsWith('/') || parts.includes('..')) {
    throw new Error(`the archive has a path that leads out of its folder: ${JSON.stringify(path)}`)
  }
  return parts.join('/')
}
