// The log file of one server: Postgres appends to it, the agent keeps it from growing and reads its last words.
import { copyFile, open, stat, truncate } from 'node:fs/promises'

/** A log that has grown beyond this is put aside (one older file is kept) and begun anew. */
export const logBytesMax = 16 * 1024 * 1024
/** How much of the end of a log is read for an error message. */
const tailBytes = 4 * 1024
const tailLinesMax = 4

/** Size in bytes; 0 when there is none. */
export async function logSize(path: string): Promise<number> {
  return stat(path).then(
    (found) => found.size,
    () => 0,
  )
}

/**
 * Copies a log that is too large aside and empties it. The server keeps its descriptor, opened for appending, so
 * it goes on at the new end; lines written between copy and cut are lost.
 */
export async function boundLog(path: string, bytesMax = logBytesMax): Promise<boolean> {
  if ((await logSize(path)) <= bytesMax) return false
  await copyFile(path, `${path}.1`)
  await truncate(path, 0)
  return true
}

/** The text from that offset on, at most the last 4 KiB of it. */
export async function readLogFrom(path: string, offset: number): Promise<string> {
  const file = await open(path, 'r').catch(() => null)
  if (file === null) return ''
  try {
    const { size } = await file.stat()
    const start = Math.max(size < offset ? 0 : offset, size - tailBytes)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(tailBytes), 0, tailBytes, start)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}

/** The lines that say what went wrong, else the last ones; in one line, without times. */
export function lastWords(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  const grave = lines.filter((line) => /\b(?:FATAL|PANIC|ERROR|error):/.test(line))
  const shown = (grave.length > 0 ? grave : lines).slice(-tailLinesMax)
  return shown.map((line) => line.replace(/^[\d-]+ [\d:.]+ \w+ \[\d+\] (?:\S*@\S* )?/, '')).join('; ')
}
