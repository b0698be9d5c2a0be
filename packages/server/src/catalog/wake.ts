// A wake-up that is never missed: a sleeper says what it has seen, and sleeps only if nothing came since.
import type { Clock } from '@fleetshard/core'

export interface Wake {
  /** Counts the notifications; read it before looking for work. */
  count(): number
  notify(): void
  /** Resolves when the count is above `seen`, after `timeoutMs`, or when the signal aborts. Never rejects. */
  wait(seen: number, signal: AbortSignal, timeoutMs?: number): Promise<void>
}

/** @param clock for waits with a time-out */
export function createWake(clock: Clock): Wake {
  let count = 0
  const sleepers = new Set<() => void>()
  return {
    count: () => count,
    notify() {
      count++
      for (const wake of sleepers) wake()
    },
    wait(seen, signal, timeoutMs) {
      if (count > seen || signal.aborted) return Promise.resolve()
      const { promise, resolve } = Promise.withResolvers<void>()
      const wake = (): void => {
        sleepers.delete(wake)
        signal.removeEventListener('abort', wake)
        cancel?.()
        resolve()
      }
      sleepers.add(wake)
      signal.addEventListener('abort', wake, { once: true })
      const cancel = timeoutMs === undefined ? undefined : clock.after(timeoutMs, wake)
      return promise
    },
  }
}
