// Waiting with a deadline, by a clock that is passed in.
import type { Clock } from '@fleetshard/core'

/** How often conditions of files and processes are looked at. */
export const pollMs = 10

/** Bounds of a wait. */
export interface WaitBounds {
  readonly clock: Clock
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
  /** `pollMs` by default. */
  readonly everyMs?: number | undefined
}

/**
 * Asks until the answer is not null; null when the time is over.
 * @throws the signal's reason as soon as it aborts, and what `ask` throws
 */
export async function pollUntil<T>(ask: () => Promise<T | null>, bounds: WaitBounds): Promise<T | null> {
  const { clock, signal } = bounds
  const end = clock.monotonic() + bounds.timeoutMs
  for (;;) {
    signal?.throwIfAborted()
    const answer = await ask()
    if (answer !== null) return answer
    if (clock.monotonic() >= end) return null
    await clock.sleep(bounds.everyMs ?? pollMs, signal)
  }
}

/** True when the promise settles in time. Its own failure is not looked at. */
export async function settlesWithin(
  clock: Clock,
  timeoutMs: number,
  work: Promise<unknown>,
): Promise<boolean> {
  const over = new AbortController()
  const timeout = clock.sleep(timeoutMs, over.signal).then(
    () => false,
    () => false,
  )
  try {
    return await Promise.race([
      work.then(
        () => true,
        () => true,
      ),
      timeout,
    ])
  } finally {
    over.abort()
  }
}

/** Runs the jobs, at most `limit` at once; rejects with the first failure after all that began have ended. */
export async function inParallel<T>(
  limit: number,
  items: readonly T[],
  job: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items]
  const failures: unknown[] = []
  const lane = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined && failures.length === 0; item = queue.shift()) {
      try {
        await job(item)
      } catch (error) {
        failures.push(error)
      }
    }
  }
  await Promise.all(Array.from({ length: limit }, lane))
  if (failures.length > 0) throw failures[0]
}
