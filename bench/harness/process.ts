// A measured process: started, told apart by what it prints first, its CPU time and memory read from /proc.
import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** A process that printed one line of JSON when it was ready. */
export interface Measured extends AsyncDisposable {
  readonly ready: Readonly<Record<string, unknown>>
  /** CPU time so far, user and system, milliseconds. */
  cpuMs(): number
  /** Resident memory, MiB. */
  rssMb(): number
}

/** Clock ticks a second in /proc; 100 on every Linux that Node runs on. */
const ticksPerSecond = 100

/** Starts a process and waits for its first line. */
export async function startMeasured(
  script: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Measured> {
  const child = spawn(process.execPath, [script, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_ENV: 'production', ...env },
  })
  const line = await firstLine(child)
  return measure(child, JSON.parse(line) as Record<string, unknown>)
}

/** A process that was started elsewhere. */
export function measure(child: ChildProcess, ready: Readonly<Record<string, unknown>>): Measured {
  return {
    ready,
    cpuMs: () => cpuMs(child.pid ?? 0),
    rssMb: () => rssMb(child.pid ?? 0),
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      await ended
    },
  }
}

/** Runs a process to its end and returns its last line, read as JSON. */
export async function runToEnd(script: string, args: readonly string[]): Promise<unknown> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const code = await new Promise((resolve) => child.once('exit', resolve))
  if (code !== 0) throw new Error(`${script} ended with ${String(code)}`)
  return JSON.parse(output.trim().split('\n').at(-1) ?? '') as unknown
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new Error('the process has no standard output')
    createInterface({ input: child.stdout }).once('line', resolve)
    child.once('error', reject)
    child.once('exit', (code) => {
      reject(new Error(`the process ended with ${String(code)} before it was ready`))
    })
  })
}

function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
  // The command in parentheses may hold spaces; what follows it is plain.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond
}

function rssMb(pid: number): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024
}
