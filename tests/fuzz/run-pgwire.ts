// Runs the fuzz of the codec in a thread, watches it for hangs, and judges its memory.
import { Worker } from 'node:worker_threads'
import type { FuzzOrder, FuzzResult } from './worker.ts'

/** What is reported; `holds` is false when anything was wrong. */
export interface PgwireReport {
  readonly target: 'pgwire'
  readonly seed: number
  readonly streams: number
  readonly messages: number
  readonly violations: number
  readonly seconds: number
  readonly slowest_ms: number
  /** Growth from the first third of the run to its end. */
  readonly heap_growth_bytes: number
  readonly external_growth_bytes: number
  readonly failures: readonly string[]
  readonly holds: boolean
  /** The same for people. */
  readonly lines: readonly string[]
}

/** A stream that takes longer is a hang. */
const streamMsMax = 10_000
/** More than what the collector leaves lying about. */
const growthBytesMax = 4 * 1024 * 1024

/** Feeds that many mutated messages. */
export async function runPgwire({
  messages,
  seed,
}: {
  messages: number
  seed: number
}): Promise<PgwireReport> {
  const started = performance.now()
  const begun = new SharedArrayBuffer(4)
  const order: FuzzOrder = { messages, seed, begun }
  const result = await watched(
    new Worker(new URL('worker.ts', import.meta.url), { workerData: order }),
    begun,
  )
  const seconds = (performance.now() - started) / 1000
  if (typeof result === 'string') return reportOf({ seed, seconds, failures: [result], result: null })
  const failures = [
    ...(result.failure === null ? [] : [result.failure]),
    ...[growth(result, 'heapBytes'), growth(result, 'externalBytes')]
      .filter((bytes) => bytes > growthBytesMax)
      .map((bytes) => `memory grew by ${String(bytes)} bytes`),
  ]
  return reportOf({ seed, seconds, failures, result })
}

/** The result, or what went wrong with the thread. */
function watched(worker: Worker, begun: SharedArrayBuffer): Promise<FuzzResult | string> {
  const counter = new Int32Array(begun)
  return new Promise((resolve) => {
    let last = -1
    const watch = setInterval(() => {
      const now = Atomics.load(counter, 0)
      if (now === last && now > 0) {
        finish(`stream ${String(now)} hangs`)
        void worker.terminate()
      }
      last = now
    }, streamMsMax)
    const finish = (outcome: FuzzResult | string): void => {
      clearInterval(watch)
      resolve(outcome)
    }
    worker.once('message', finish)
    worker.once('error', (error) => {
      finish(`the thread failed: ${String(error)}`)
    })
    worker.once('exit', (code) => {
      finish(`the thread ended with ${String(code)}`)
    })
  })
}

function growth({ samples }: FuzzResult, kind: 'heapBytes' | 'externalBytes'): number {
  const warm = samples[Math.floor(samples.length / 3)]
  const end = samples.at(-1)
  return warm === undefined || end === undefined ? 0 : end[kind] - warm[kind]
}

function reportOf(parts: {
  readonly seed: number
  readonly seconds: number
  readonly failures: readonly string[]
  readonly result: FuzzResult | null
}): PgwireReport {
  const { seed, failures, result } = parts
  const seconds = Math.round(parts.seconds * 10) / 10
  const figures = {
    streams: result?.counts.streams ?? 0,
    messages: result?.counts.messages ?? 0,
    violations: result?.counts.violations ?? 0,
    slowest_ms: Math.round((result?.slowestMs ?? 0) * 10) / 10,
    heap_growth_bytes: result === null ? 0 : growth(result, 'heapBytes'),
    external_growth_bytes: result === null ? 0 : growth(result, 'externalBytes'),
  }
  const count = (value: number): string => value.toLocaleString('en')
  return {
    target: 'pgwire',
    seed,
    seconds,
    ...figures,
    failures,
    holds: failures.length === 0,
    lines: [
      `${count(figures.messages)} mutated messages in ${count(figures.streams)} streams, seed ${String(seed)}, ${String(seconds)} s`,
      `${count(figures.violations)} refused as protocol violations; slowest stream ${String(figures.slowest_ms)} ms`,
      `memory grew by ${count(figures.heap_growth_bytes)} bytes of heap, ${count(figures.external_growth_bytes)} outside it`,
      ...(failures.length === 0 ? ['no failure'] : failures.map((failure) => `FAILED: ${failure}`)),
    ],
  }
}
