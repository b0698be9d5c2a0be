// The last lines of logs: our own as they are, those of Postgres without what quotes statements and rows.
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { logFileOf } from '../up/data-dir.ts'
import type { ArchiveFile } from './tar.ts'

/** Most of the end of a file that is read. */
const tailBytesMax = 4 * 1024 * 1024
/** Servers whose logs are taken. */
const serversMax = 64

/** The logs of a local cluster; none where there is no data directory. */
export async function logFiles(dataDir: string, lines: number): Promise<readonly ArchiveFile[]> {
  const own = await tailOf(logFileOf(dataDir), lines)
  const folder = join(dataDir, 'servers')
  const names = (await readdir(folder).catch(() => [])).slice(0, serversMax)
  const servers = await Promise.all(
    names.map(async (name) => ({ name, text: await tailOf(join(folder, name, 'postgres.log'), lines) })),
  )
  return [
    ...(own === null ? [] : [{ path: 'logs/fleetshard.log', text: own }]),
    ...servers.flatMap(({ name, text }) =>
      text === null ? [] : [{ path: `logs/postgres-${name}.log`, text: withoutRows(text) }],
    ),
  ]
}

/** Null for a file that cannot be read. */
async function tailOf(path: string, lines: number): Promise<string | null> {
  const file = await open(path, 'r').catch(() => null)
  if (file === null) return null
  try {
    const { size } = await file.stat()
    const length = Math.min(size, tailBytesMax)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length)
    const found = buffer.toString('utf8', 0, bytesRead).split('\n')
    // The first one may have lost its beginning.
    const whole = length < size ? found.slice(1) : found
    return `${whole
      .filter((line) => line !== '')
      .slice(-lines)
      .join('\n')}\n`
  } finally {
    await file.close()
  }
}

/** Begins every line of Postgres but the continuations of a statement: a time, and who says it. */
const BEGINNING = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/
/** Severities whose lines are about the server. */
const KEPT = /\b(?:LOG|WARNING|NOTICE|ERROR|FATAL|PANIC): {2}/
/** LOG lines that hold a statement or its parameters. */
const STATEMENT = /\bLOG: {2}(?:statement|execute|duration|parse|bind|fastpath)\b.*/
/** Errors quote what they found: a value, or a name; the log does not say which. */
const QUOTED = /"[^"]*"/g

/** DETAIL, STATEMENT, QUERY, CONTEXT and their continuations are left out. */
export function withoutRows(text: string): string {
  const kept = text.split('\n').flatMap((line) => {
    if (!BEGINNING.test(line) || !KEPT.test(line)) return []
    if (STATEMENT.test(line)) return [line.replace(STATEMENT, 'LOG:  (a statement)')]
    return [/\b(?:ERROR|WARNING|NOTICE): {2}/.test(line) ? line.replaceAll(QUOTED, '"…"') : line]
  })
  return `${kept.join('\n')}\n`
}
