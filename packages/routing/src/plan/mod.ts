// Planning: from a statement text to the shard that answers it.
export { StatementCache, type KnownStatement } from './cache.ts'
export type { Analysis, StatementFacts } from './facts.ts'
export {
  keyOf,
  keyParametersOf,
  keysOf,
  placeCall,
  placeStatement,
  planOf,
  type KeyParameter,
} from './plan.ts'
export { slotKey } from './slot-key.ts'
export { tableNamesOf } from './table-names.ts'
export { checkStatementText } from './statement-text.ts'
export { notConcatenated, refuseUnlessConcatenated } from './concatenate.ts'
