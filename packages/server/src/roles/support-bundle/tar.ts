// Writes a tar archive in the ustar format of POSIX: regular files below one folder, for their owner only.
import { Buffer } from 'node:buffer'

/** One file of the archive. */
export interface ArchiveFile {
  /** ASCII, with `/` between folders; 99 characters at most. */
  readonly path: string
  readonly text: string
}

const blockBytes = 512
const pathBytesMax = 99

/** The whole archive. @param nowMs time of all files, milliseconds since 1970 */
export function tarOf(files: readonly ArchiveFile[], nowMs: number): Buffer {
  const parts = files.flatMap(({ path, text }) => {
    const content = Buffer.from(text)
    const padding = Buffer.alloc((blockBytes - (content.length % blockBytes)) % blockBytes)
    return [headOf(path, content.length, nowMs), content, padding]
  })
  return Buffer.concat([...parts, Buffer.alloc(2 * blockBytes)])
}

function headOf(path: string, bytes: number, nowMs: number): Buffer {
  if (Buffer.byteLength(path) > pathBytesMax) throw new Error(`the path ${path} is too long for an archive`)
  const head = Buffer.alloc(blockBytes)
  const octal = (value: number, at: number, width: number): void => {
    head.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1')
  }
  head.write(path, 0, 'utf8')
  octal(0o600, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(bytes, 124, 12)
  octal(Math.floor(nowMs / 1000), 136, 12)
  head.write(' '.repeat(8), 148, 'latin1')
  head.write('0', 156, 'latin1')
  head.write('ustar\u000000', 257, 'latin1')
  const sum = head.reduce((total, byte) => total + byte, 0)
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return head
}
