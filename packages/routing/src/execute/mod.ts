// Execution: from a placed statement to its end on a server. The listeners stand on this.
export { Cancellation, DeadlineSweeper } from './cancellation.ts'
export { parseArrayLiteral } from './array-literal.ts'
export { Executor } from './executor.ts'
export type { ExecutorMetrics, Idempotency, StatementAnswer } from './executor.ts'
export type { HeldTransaction } from './held-transaction.ts'
export { executeLimitsDefault, type ExecuteLimits } from './limits.ts'
export { ShardAccess, type IdentityCheck } from './shard-access.ts'
export type { RowsConsumer, RowsFlow, RowsPlace } from './statement-run.ts'
