// The thread that feeds the codec. It counts streams in shared memory, so that the main thread sees a hang.
import { inspect } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { parentPort, workerData } from 'node:worker_threads'
import { loadCorpus } from './corpus.ts'
import { PgwireFuzz, type PgwireCounts } from './pgwire.ts'

/** What the thread is told. */
export interface FuzzOrder {
  readonly messages: number
  readonly seed: number
  /** One number: streams begun. */
  readonly begun: SharedArrayBuffer
}

/** What it reports. */
export interface FuzzResult {
  readonly counts: PgwireCounts
  readonly slowestMs: number
  /** Memory after a garbage collection, at even parts of the run. */
  readonly samples: readonly { readonly heapBytes: number; readonly externalBytes: number }[]
  readonly failure: string | null
}

const samplesWanted = 10

function run({ messages, seed, begun }: FuzzOrder): FuzzResult {
  const fuzz = new PgwireFuzz(loadCorpus(), seed)
  const counter = new Int32Array(begun)
  const samples: { heapBytes: number; externalBytes: number }[] = []
  let slowestMs = 0
  let failure: string | null = null
  const collectGarbage = garbageCollector()
  try {
    while (fuzz.counts.messages < messages) {
      Atomics.add(counter, 0, 1)
      const started = performance.now()
      fuzz.next()
      slowestMs = Math.max(slowestMs, performance.now() - started)
      if (fuzz.counts.messages >= (messages * (samples.length + 1)) / samplesWanted) {
        collectGarbage()
        const { heapUsed, external } = process.memoryUsage()
        samples.push({ heapBytes: heapUsed, externalBytes: external })
      }
    }
  } catch (error) {
    failure = inspect(error)
  }
  return { counts: fuzz.counts, slowestMs, samples, failure }
}

function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}

parentPort?.postMessage(run(workerData as FuzzOrder))
