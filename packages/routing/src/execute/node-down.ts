// A node that cannot be reached: since when, and when it is tried next.
import type { FleetError } from '@fleetshard/core'

/** First pause after a failed connect; doubles up to the maximum. While callers are kept waiting it stays short. */
const backoffMsMin = 100
const backoffMsMax = 2_000
const backoffWaitedForMsMax = 400

/** Why and since when the node can't be reached, and when it is tried next. */
export interface Down {
  readonly error: FleetError
  readonly sinceMs: number
  readonly untilMs: number
  readonly pauseMs: number
}

/** What is known of the node after another failure to connect. */
export function downAfter(
  before: Down | null,
  error: FleetError,
  { now, patienceMs }: { readonly now: number; readonly patienceMs: number },
): Down {
  const sinceMs = before?.sinceMs ?? now
  const longest = now - sinceMs < patienceMs ? backoffWaitedForMsMax : backoffMsMax
  const pauseMs = Math.min((before?.pauseMs ?? backoffMsMin / 2) * 2, longest)
  return { error, sinceMs, untilMs: now + pauseMs, pauseMs }
}
