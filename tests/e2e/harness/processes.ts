// Processes that tests start, and nothing else's: each is ended by its own id, at the latest when the test process ends.
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readdirSync, readlinkSync, readFileSync } from 'node:fs'
import { launcher } from './paths.ts'

/** Output of a process that has ended. */
export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  readonly err: string
}

/** A process of ours. */
export interface Running extends AsyncDisposable {
  readonly child: ChildProcess
  readonly finished: Promise<Finished>
  /** What it has printed so far. */
  output(): { readonly out: string; readonly err: string }
  kill(signal: NodeJS.Signals): void
}

/** How a process is started. */
export interface SpawnOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Words in front: `setpriv`, … */
  readonly wrapper?: readonly string[]
  /** Another launcher, of a copied checkout. */
  readonly launcher?: string
  /** Where its output is added, instead of being kept in memory. */
  readonly logFile?: string
}

const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

/** The environment without settings and npm's words: a test must not depend on who starts it. */
function cleanEnvironment(extra: SpawnOptions['env']): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(FLEETSHARD_|npm_|VITEST|NODE_OPTIONS|NODE_V8|NO_COLOR|FORCE_COLOR)/.test(name),
  )
  return { ...Object.fromEntries(own), ...extra }
}

/** Starts `fleetshard …`. */
export function startFleetshard(words: readonly string[], options: SpawnOptions = {}): Running {
  const line = [...(options.wrapper ?? []), process.execPath, options.launcher ?? launcher, ...words]
  const [program = '', ...args] = line
  const log = options.logFile === undefined ? null : openSync(options.logFile, 'a')
  const child = spawn(program, args, {
    stdio: ['ignore', log ?? 'pipe', log ?? 'pipe'],
    env: cleanEnvironment(options.env),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  if (log !== null) closeSync(log)
  alive.add(child)
  const text = { out: '', err: '' }
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (text.out += chunk))
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (text.err += chunk))
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      alive.delete(child)
      resolve({ code, signal, ...text })
    })
  })
  return {
    child,
    finished,
    output: () => ({ ...text }),
    kill: (signal) => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      if (alive.has(child)) child.kill('SIGKILL')
      await finished.catch(() => undefined)
    },
  }
}

/** Runs `fleetshard …` to its end. */
export async function fleetshard(words: readonly string[], options: SpawnOptions = {}): Promise<Finished> {
  return startFleetshard(words, options).finished
}

/** Pids of processes that work below the folder: the Postgres servers of a cluster. */
export function processesBelow(folder: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => worksBelow(pid, folder))
}

function worksBelow(pid: number, folder: string): boolean {
  try {
    if (!readlinkSync(`/proc/${String(pid)}/cwd`).startsWith(`${folder}/`)) return false
    return !/^\S+ \(.*\) Z /.test(readFileSync(`/proc/${String(pid)}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** Ends those processes at once. */
export function killBelow(folder: string): void {
  for (const pid of processesBelow(folder)) kill9(pid)
}

/** kill -9; nothing where there is no such process. */
export function kill9(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
}
