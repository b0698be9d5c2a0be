// Execution: from a placed statement to its end on a server. The listeners stand on this.
export { Cancellation, DeadlineSweeper } from './cancellation.ts'
export { parseArrayLiteral } from './array-literal.ts'
export { Executor } from './executor.ts'
export type { ExecutorMetrics } from './executor.ts'
export type { Idempotency, StatementAnswer, Traceparent } from './calls.ts'
export type { HeldTransaction } from './held-transaction.ts'
export { HoldBuffer } from './hold-buffer.ts'
export { executeLimitsDefault, type ExecuteLimits } from './limits.ts'
export {
  ShardAccess,
  type IdentityCheck,
  type NodeAccess,
  type NodeLogin,
  type ShardLogin,
} from './shard-access.ts'
export type { RowsConsumer, RowsFlow, RowsPlace } from './statement-run.ts'
export { typeShape, type JsonForm, type TypeShape } from './value-types.ts'
export { SessionSettings, noSettings } from './session-settings.ts'
export type { LaneSharer, Session } from './session.ts'
export type { NodePool } from './node-pool.ts'
export type { Taker } from './waiting-line.ts'
export { leftBy, mayShareLane, mayWrite, readerIn, type SchemaFacts } from './schema-facts.ts'
export { abandonInLane, cleanSession, requestCancel, settled } from './session-work.ts'
export { refuseHidden, refuseOldMap, refuseState } from './checks.ts'
export { changesPath, PATH_SETTINGS, refuseDoubleNames } from './double-names.ts'
export { forgetNumbers, forgotten, mayCount, recalls, refuseForgotten, remembers } from './recall.ts'
export { refuseMoreThanReads, refuseWriting } from './only-reads.ts'
export { checkKeyTypes } from './parameters.ts'
export { learnCost, suitsLane } from './cost.ts'
export { askPrimary } from './positions.ts'
export { freshnessOf, tokenAfter, type ReadTerms } from './session-reads.ts'
