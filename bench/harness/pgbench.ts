// pgbench as a load generator: one run, its throughput and latencies.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Where a run connects to. */
export interface PgTarget {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  /** libpq's `sslmode`; its default when left out. */
  readonly tls?: 'disable' | 'require'
}

/** One run. */
export interface PgbenchOrder {
  readonly target: PgTarget
  readonly protocol: 'simple' | 'prepared'
  /** `-b select-only`, `-f file` and the like. */
  readonly script: readonly string[]
  readonly clients: number
  readonly seconds: number
}

/** What pgbench measured, its connecting apart. */
export interface PgbenchResult {
  readonly tps: number
  readonly transactions: number
  readonly p50Ms: number
  readonly p99Ms: number
}

const pgbench = '/usr/lib/postgresql/15/bin/pgbench'
/** Part of the transactions whose latency is written down: all of them would cost the generator too much. */
const sampled = 0.2

/** `postgres://…` in parts. */
export function pgTargetOf(url: string): PgTarget {
  const { hostname, port, username, password, pathname } = new URL(url)
  return {
    host: hostname,
    port: Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
  }
}

/** Makes pgbench's own tables; sent to a server. */
export async function makePgbenchTables(target: PgTarget, scale: number): Promise<void> {
  await run(['-i', '-q', '-s', String(scale), ...where(target)], target, tmpdir())
}

/** Runs once. @throws Error when a transaction failed */
export async function runPgbench(order: PgbenchOrder): Promise<PgbenchResult> {
  const folder = mkdtempSync(join(tmpdir(), 'fleetshard-pgbench-'))
  try {
    const threads = Math.min(2, order.clients)
    const size = ['-c', String(order.clients), '-j', String(threads), '-T', String(order.seconds)]
    const log = ['-l', '--sampling-rate', String(sampled), '--log-prefix', join(folder, 'log')]
    const words = ['-n', '-M', order.protocol, ...size, ...log, ...order.script, ...where(order.target)]
    const out = await run(words, order.target, folder)
    const number = (pattern: RegExp): number => Number(pattern.exec(out)?.[1] ?? NaN)
    const transactions = number(/actually processed: (\d+)/)
    const failed = number(/number of failed transactions: (\d+)/)
    if (failed !== 0 || !(transactions > 0)) throw new Error(`pgbench: ${out}`)
    const latencies = readLatencies(folder)
    return {
      tps: number(/tps = ([\d.]+) \(without initial connection time\)/),
      transactions,
      p50Ms: latencies[Math.floor(latencies.length * 0.5)] ?? NaN,
      p99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? NaN,
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function where({ host, port, user, database }: PgTarget): readonly string[] {
  return ['-h', host, '-p', String(port), '-U', user, database]
}

/** Lines are `client transaction latency-in-µs …`. Sorted, milliseconds. */
function readLatencies(folder: string): Float64Array {
  const lines = readdirSync(folder).flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'))
  return Float64Array.from(
    lines.filter((line) => line !== ''),
    (line) => Number(line.split(' ')[2]) / 1000,
  ).sort()
}

function run(words: readonly string[], { password, tls }: PgTarget, cwd: string): Promise<string> {
  const mode = tls === undefined ? {} : { PGSSLMODE: tls }
  const env = { PATH: process.env['PATH'], PGPASSWORD: password, ...mode }
  const child = spawn(pgbench, words, { cwd, env })
  const text = { out: '', err: '' }
  child.stdout.on('data', (chunk: Buffer) => (text.out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (text.err += chunk.toString()))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve(text.out)
      else reject(new Error(`pgbench ended with ${String(code)}: ${text.err}`))
    })
  })
}
