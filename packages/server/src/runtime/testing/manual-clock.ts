// A clock for tests: time stands still until the test moves it.
import type { Clock } from '@fleetshard/core'

interface Timer {
  readonly atMs: number
  readonly fire: () => void
}

/** A clock that starts at 0 and goes on by `advance` alone. */
export interface ManualClock extends Clock {
  /** Moves time on and fires what is due, in order. */
  advance(ms: number): void
  /** How many timers wait. */
  pending(): number
}

/** See {@link ManualClock}. */
export function manualClock(): ManualClock {
  let nowMs = 0
  const timers = new Set<Timer>()
  const after = (delayMs: number, callback: () => void): (() => void) => {
    const timer = { atMs: nowMs + delayMs, fire: callback }
    timers.add(timer)
    return () => {
      timers.delete(timer)
    }
  }
  return {
    now: () => nowMs,
    monotonic: () => nowMs,
    after,
    sleep: (delayMs, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted === true) {
          reject(signal.reason as Error)
          return
        }
        const cancel = after(delayMs, resolve)
        signal?.addEventListener('abort', () => {
          cancel()
          reject(signal.reason as Error)
        })
      }),
    advance(ms) {
      nowMs += ms
      for (const timer of [...timers].sort((left, right) => left.atMs - right.atMs)) {
        if (timer.atMs > nowMs || !timers.delete(timer)) continue
        timer.fire()
      }
    },
    pending: () => timers.size,
  }
}
