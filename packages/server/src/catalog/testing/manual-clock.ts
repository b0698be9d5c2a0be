// A clock that tests advance themselves.
import type { Clock } from '@fleetshard/core'

/** Time stands still until it is advanced. */
export interface ManualClock extends Clock {
  /** Lets time pass: runs what falls due, in order, and lets promises settle in between. */
  advance(byMs: number): Promise<void>
}

interface Timer {
  readonly atMs: number
  readonly run: () => void
}

/** Enough turns of the event loop for any chain of promises in the tests to settle. */
const settleTurns = 5

async function settle(): Promise<void> {
  for (let turn = 0; turn < settleTurns; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Starts at an arbitrary moment. */
export function createManualClock(): ManualClock {
  const startMs = 1_700_000_000_000
  let elapsedMs = 0
  const timers = new Set<Timer>()

  function after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: elapsedMs + delayMs, run }
    timers.add(timer)
    return () => {
      timers.delete(timer)
    }
  }

  function nextDue(untilMs: number): Timer | null {
    const due = [...timers].filter((timer) => timer.atMs <= untilMs)
    return due.toSorted((a, b) => a.atMs - b.atMs)[0] ?? null
  }

  return {
    now: () => startMs + elapsedMs,
    monotonic: () => elapsedMs,
    after,
    sleep(delayMs, signal) {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const cancel = after(delayMs, resolve)
      const onAbort = (): void => {
        cancel()
        reject(signal?.reason as Error)
      }
      if (signal?.aborted === true) onAbort()
      else signal?.addEventListener('abort', onAbort, { once: true })
      return promise
    },
    async advance(byMs) {
      const untilMs = elapsedMs + byMs
      await settle()
      for (let timer = nextDue(untilMs); timer !== null; timer = nextDue(untilMs)) {
        timers.delete(timer)
        elapsedMs = Math.max(elapsedMs, timer.atMs)
        timer.run()
        await settle()
      }
      elapsedMs = untilMs
      await settle()
    },
  }
}
