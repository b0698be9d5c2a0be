// Starts the program the way a user does, waits until it is ready and stops it.
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, openSync, readdirSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'

const launcher = join(import.meta.dirname, '../../node_modules/.bin/fleetshard')
const readyMsMax = 60_000
const lookEveryMs = 50

/** What a process logs, and where: a file, or the terminal of the workload. */
export interface ProgramLog {
  readonly level: string
  readonly file: string | null
}

/** Starts `fleetshard` with these arguments; by default what it logs below a warning is left out. */
export function startProgram(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  { level, file }: ProgramLog = { level: 'warn', file: null },
): ChildProcess {
  return spawn(process.execPath, [launcher, ...args, '--log-level', level], {
    stdio: ['ignore', 'ignore', file === null ? 'inherit' : openSync(file, 'a')],
    env: { ...process.env, NO_COLOR: '1', ...env },
  })
}

/** Asks it to stop and waits until it has. */
export async function stopProgram(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

/** Looks until something is found. @throws Error when the process ends before that, or it takes too long */
export async function until<T>(look: () => Promise<T | null>, child: ChildProcess): Promise<T> {
  const deadline = performance.now() + readyMsMax
  while (performance.now() < deadline && child.exitCode === null) {
    const found = await look()
    if (found !== null) return found
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs))
  }
  throw new Error('a process of the cluster did not become ready')
}

/** Whether the role that listens there says that it is ready, as `until` wants it. */
export async function isReady(port: number): Promise<true | null> {
  const answer = await fetch(`http://127.0.0.1:${String(port)}/ready`).catch(() => null)
  return answer?.ok === true ? true : null
}

/** A port that nobody has at this moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer()
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => {
        resolve(port)
      })
    })
  })
}

/** The newest Postgres installed on this machine, or null: the embedded build is made small, not fast. */
export function installedPostgres(): string | null {
  const root = '/usr/lib/postgresql'
  const versions = existsSync(root) ? readdirSync(root).toSorted((a, b) => Number(b) - Number(a)) : []
  const found = versions.find((version) => existsSync(join(root, version, 'bin', 'initdb')))
  return found === undefined ? null : join(root, found, 'bin')
}
