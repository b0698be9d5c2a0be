// Real servers for tests: a free port, a process, and its end by kill -9.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { systemClock } from '../../runtime/mod.ts'

/** Below the ephemeral ports, so that no outgoing connection takes it between a stop and a start. */
const portFirst = 20_000
const portSpan = 10_000

/** A port on 127.0.0.1 that nobody listened at just now. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = portFirst + Math.floor(Math.random() * portSpan)
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => {
        resolve(false)
      })
      server.listen(port, '127.0.0.1', () => {
        resolve(true)
      })
    })
    if (!free) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

export interface ServerCommand {
  readonly command: string
  readonly args: readonly string[]
  readonly uid?: number | undefined
  readonly gid?: number | undefined
}

/** A running server. */
export interface ServerProcess {
  /** Kills it and all its children at once, and waits for their end. */
  kill(): Promise<void>
  /** Stops it and all its children in their tracks. */
  freeze(): Promise<void>
  thaw(): Promise<void>
  hasExited(): boolean
  /** The end of what it wrote to standard error. */
  lastWords(): string
}

/** Starts a process that does not survive this one's `kill`. */
function startServer({ command, args, uid, gid }: ServerCommand): ServerProcess {
  const child: ChildProcess = spawn(command, args, {
    cwd: '/',
    env: {},
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  })
  let words = ''
  child.on('error', (error) => {
    words = error.message
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-2_000)
  })
  const hasExited = (): boolean =>
    child.exitCode !== null || child.signalCode !== null || child.pid === undefined
  const signalAll = async (signal: NodeJS.Signals): Promise<void> => {
    if (hasExited() || child.pid === undefined) return
    const children = await childrenOf(child.pid)
    child.kill(signal)
    for (const pid of children) signalIfThere(pid, signal)
  }
  return {
    hasExited,
    lastWords: () => words,
    freeze: () => signalAll('SIGSTOP'),
    thaw: () => signalAll('SIGCONT'),
    async kill() {
      if (hasExited()) return
      const exited = once(child, 'exit')
      await signalAll('SIGKILL')
      await exited
    },
  }
}

/** Postgres' children lead process groups of their own, so that a signal to a group misses them. */
async function childrenOf(parent: number): Promise<number[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name))
  const found: number[] = []
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    // pid (name) state ppid: the name may hold anything, also parentheses.
    if (stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(parent)) found.push(Number(pid))
  }
  return found
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended by itself.
  }
}

const readyPollMs = 20
const readyMaxMs = 30_000

/**
 * Starts a server and waits until the check holds. One that gives up is started again: a process that its forerunner
 * began while it was killed may still hold what the new one needs, until it notices that it is alone.
 * @throws Error with the server's last words when it takes too long
 */
export async function startUntilReady(
  command: ServerCommand,
  check: () => Promise<boolean>,
): Promise<ServerProcess> {
  const lastAtMs = systemClock.monotonic() + readyMaxMs
  let server = startServer(command)
  while (!(await check().catch(() => false))) {
    if (systemClock.monotonic() > lastAtMs) {
      throw new Error(`a server for the tests did not start: ${server.lastWords()}`)
    }
    await systemClock.sleep(readyPollMs)
    if (server.hasExited()) server = startServer(command)
  }
  return server
}
