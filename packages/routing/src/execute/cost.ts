// What statements have shown about their cost, learned while they run: it decides who may share a lane.
import type { StatementCost } from '../plan/mod.ts'
import { laneMeanMsMax, laneResultBytesMax, laneTrialEvery, laneTrialMsMax } from './limits.ts'

/** Weight of a run that was faster, and of one that was slower, than what is known of the statement. */
const fasterWeight = 0.3
const slowerWeight = 0.02

/** True for what is known to be cheap, and now and then for what is not known to be slow. */
export function suitsLane(cost: StatementCost): boolean {
  if (cost.large || cost.meanMs === null) return false
  if (cost.meanMs < laneMeanMsMax) return true
  cost.alone += 1
  if (cost.meanMs > laneTrialMsMax || cost.alone < laneTrialEvery) return false
  cost.alone = 0
  return true
}

/**
 * Follows the low end of what a statement takes: on a busy machine most runs are slow for reasons that are not the
 * statement's own.
 */
export function learnCost(
  cost: StatementCost,
  run: { readonly bytes: number; readonly serverMs: number },
): void {
  if (run.bytes > laneResultBytesMax) cost.large = true
  const known = cost.meanMs
  const { serverMs } = run
  cost.meanMs =
    known === null ? serverMs : known + (serverMs - known) * (serverMs < known ? fasterWeight : slowerWeight)
}
