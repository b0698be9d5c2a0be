// Makes tar archives for tests, by the book (POSIX ustar, GNU sizes beyond octal).
import type { TarEvent } from './tar.ts'

/** One entry to be written. */
export interface FixtureEntry {
  readonly path: string
  readonly type?: string
  readonly content?: Buffer
  readonly target?: string
}

/** A header block. */
export function headerOf(entry: {
  readonly path: string
  readonly sizeBytes: number
  readonly type?: string
  readonly target?: string
}): Buffer {
  const header = Buffer.alloc(512)
  header.write(entry.path, 0)
  header.write('0000600\0', 100)
  writeSize(header, entry.sizeBytes)
  header.write('        ', 148)
  header.write(entry.type ?? '0', 156)
  header.write(entry.target ?? '', 157)
  header.write('ustar\x0000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

function writeSize(header: Buffer, sizeBytes: number): void {
  if (sizeBytes < 8 ** 11) {
    header.write(`${sizeBytes.toString(8).padStart(11, '0')}\0`, 124)
    return
  }
  header[124] = 0x80
  header.writeBigUInt64BE(BigInt(sizeBytes), 128)
}

/** A whole archive with its two closing blocks. */
export function archiveOf(entries: readonly FixtureEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const { content } = entry
    const header = headerOf({ ...entry, sizeBytes: content?.length ?? 0 })
    if (content === undefined) return [header]
    return [header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]
  })
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}

/** The files of an event list with their whole content. */
export function contentOf(events: Iterable<TarEvent>): Map<string, Buffer> {
  const files = new Map<string, Buffer>()
  let path = ''
  for (const event of events) {
    if (event.kind === 'file') {
      path = event.path
      files.set(path, Buffer.alloc(0))
    }
    if (event.kind === 'content') {
      files.set(path, Buffer.concat([files.get(path) ?? Buffer.alloc(0), event.chunk]))
    }
  }
  return files
}
