// Programs that a case starts: psql, pgbench, Python, Java.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** What a program printed until its end. */
export interface Printed {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** How a program is run. */
export interface RunOptions {
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
}

const programMsMax = 120_000

/** Runs a program to its end; one that takes longer than two minutes is ended. */
export function runProgram(
  program: string,
  words: readonly string[],
  options: RunOptions = {},
): Promise<Printed> {
  const env = { PATH: process.env['PATH'] ?? '', LANG: 'C.UTF-8', ...options.env }
  const child = spawn(program, words, { env, timeout: programMsMax })
  const text = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text.out += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text.err += chunk))
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      resolve({ code, ...text })
    })
  })
}

/** Full path of a program: in the folders given, else on the path. */
export function findProgram(name: string, folders: readonly string[] = []): string | null {
  const all = [...folders, ...(process.env['PATH'] ?? '').split(delimiter)]
  return all.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null
}

/** Where Debian keeps the client programs of Postgres that are not on the path. */
export const postgresFolders = ['/usr/lib/postgresql/15/bin']
