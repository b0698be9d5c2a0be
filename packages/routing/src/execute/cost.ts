// What statements have shown about their cost, learned while they run: it decides who may share a lane.
import type { StatementCost } from '../plan/mod.ts'
import { laneMeanMsMax, laneResultBytesMax } from './limits.ts'

/** Weight of a run that was faster, and of one that was slower, than what is known of the statement. */
const fasterWeight = 0.3
const slowerWeight = 0.02

/** True once a statement has shown that nobody waits long behind it. */
export const isCheap = (cost: StatementCost): boolean =>
  !cost.large && cost.meanMs !== null && cost.meanMs < laneMeanMsMax

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
