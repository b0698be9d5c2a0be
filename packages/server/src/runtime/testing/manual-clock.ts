// A clock for tests: time stands still until the test moves it.
import type { Clock } from '@fleetshard/core'

interface Timer {
  readonly atMs: number
  readonly fire: () => void
}

/** A clock that goes on by `advance` and `pass` alone. */
export interface ManualClock extends Clock {
  /** Moves time on and fires what falls due, in order. */
  advance(ms: number): void
  /** The same, and lets promises settle before, after, and between what falls due. */
  pass(ms: number): Promise<void>
  /** How many timers wait. */
  pending(): number
}

/** Enough turns of the event loop for any chain of promises in the tests to settle. */
const settleTurns = 5

/** See {@link ManualClock}. @param startMs what `now` says at first */
export function manualClock(startMs = 0): ManualClock {
  let elapsedMs = 0
  const timers = new Set<Timer>()

  function after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: elapsedMs + delayMs, fire: callback }
    timers.add(timer)
    return () => {
      timers.delete(timer)
    }
  }

  /** Fires the first that is due until then; false when none is. */
  function fireNext(untilMs: number): boolean {
    const [timer] = [...timers]
      .filter(({ atMs }) => atMs <= untilMs)
      .toSorted((left, right) => left.atMs - right.atMs)
    if (timer === undefined) return false
    timers.delete(timer)
    elapsedMs = Math.max(elapsedMs, timer.atMs)
    timer.fire()
    return true
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
    advance(ms) {
      const untilMs = elapsedMs + ms
      while (fireNext(untilMs));
      elapsedMs = untilMs
    },
    async pass(ms) {
      const untilMs = elapsedMs + ms
      do await settle()
      while (fireNext(untilMs))
      elapsedMs = untilMs
      await settle()
    },
    pending: () => timers.size,
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < settleTurns; turn++) await new Promise((resolve) => setImmediate(resolve))
}
