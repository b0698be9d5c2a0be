// Deadlines and backoff of the store's backends.
import { FleetError, type Clock } from '@fleetshard/core'

/** The error of a store that does not answer. @param cause kept for the log; its message must hold no secret */
export function unavailable(message: string, cause?: unknown): FleetError {
  return new FleetError('catalog_unavailable', message, {
    hint: 'try again; bring the catalog back if it is down',
    ...(cause === undefined ? {} : { cause }),
  })
}

/**
 * Runs `operation` for at most `deadlineMs`. What it does after that is unheard; it should end on its signal.
 * @throws FleetError `catalog_unavailable` at the deadline, and the signal's reason when that aborts
 */
export async function withDeadline<T>(
  clock: Clock,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  operation: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted()
  const ended = new AbortController()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  ended.signal.addEventListener('abort', () => {
    reject(ended.signal.reason as Error)
  })
  const onAbort = (): void => {
    ended.abort(signal?.reason)
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  const cancel = clock.after(deadlineMs, () => {
    ended.abort(unavailable(`the catalog did not answer within ${deadlineMs} ms`))
  })
  const running = operation(ended.signal)
  // The loser of the race may still fail; nobody waits for it then.
  running.catch(() => undefined)
  try {
    return await Promise.race([running, aborted])
  } finally {
    cancel()
    signal?.removeEventListener('abort', onAbort)
  }
}

const backoffFirstMs = 50
const backoffMaxMs = 2_000

/** Waiting between attempts: doubles up to 2 s, with a random half, and starts anew after a success. */
export interface Backoff {
  /** @throws the signal's reason */
  wait(signal: AbortSignal): Promise<void>
  succeeded(): void
}

/** @param random from 0 to 1 */
export function createBackoff(clock: Clock, random: () => number = Math.random): Backoff {
  let delayMs = backoffFirstMs
  return {
    async wait(signal) {
      const nowMs = delayMs * (0.5 + random() / 2)
      delayMs = Math.min(delayMs * 2, backoffMaxMs)
      await clock.sleep(nowMs, signal)
    },
    succeeded() {
      delayMs = backoffFirstMs
    },
  }
}
