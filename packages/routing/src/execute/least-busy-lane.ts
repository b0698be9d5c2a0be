// Which lane of a set takes the next statement.
import type { Clock } from '@fleetshard/core'
import { laneHeadMsMax } from './limits.ts'
import type { SessionSettings } from './session-settings.ts'
import { isHeldUp, type Session } from './session.ts'

/** The lane with the fewest statements among those with these settings that have room and are not held up; or null. */
export function leastBusyLane(
  lanes: readonly Session[],
  {
    settings,
    inFlightMax,
    clock,
  }: { readonly settings: SessionSettings; readonly inFlightMax: number; readonly clock: Clock },
): Session | null {
  let best: Session | null = null
  let least = Infinity
  let heldSinceMs = NaN
  for (const lane of lanes) {
    if (lane.settings.key !== settings.key) continue
    const { inFlight, state } = lane.connection
    if (state !== 'open' || inFlight >= inFlightMax || inFlight >= least) continue
    if (Number.isNaN(heldSinceMs)) heldSinceMs = clock.monotonic() - laneHeadMsMax
    if (isHeldUp(lane, heldSinceMs)) continue
    best = lane
    least = inFlight
  }
  return best
}
