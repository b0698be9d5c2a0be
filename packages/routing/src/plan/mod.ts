// Planning: from a statement text to the shard that answers it.
export { StatementCache, type KnownStatement, type StatementCost } from './cache.ts'
export type {
  Command,
  CommandOption,
  CursorCommand,
  NamedTable,
  PreparedCommand,
  SessionCommand,
  TransactionCommand,
  TransactionModes,
} from './command.ts'
export { explainRoute, routeLines, type ExplainedKey, type RouteExplanation } from './explain.ts'
export type { Analysis, Slot, StatementFacts } from './facts.ts'
export {
  isRouteSetting,
  noTarget,
  ROUTE_SETTINGS,
  sessionTarget,
  targetOf,
  type RouteSettings,
  type RouteTarget,
} from './hint.ts'
export { hintOf, lexQuery, type LexOptions } from './lexer/lex.ts'
export { redactStatement } from './lexer/redact.ts'
export type { LexedStatement, LiteralKind, Literals } from './lexer/lexed.ts'
export { lookupTextOf, type ComparedKind, type LookupText } from './lookup-text.ts'
export {
  isNamed,
  keyParametersOf,
  keysOf,
  placeCall,
  placementOf,
  placeStatement,
  refuseLeftovers,
  type KeyParameter,
  type Placement,
  type PlacementRequest,
} from './placement.ts'
export { isSystemName, planOf, undeclaredTable, type Keys, type Plan } from './plan.ts'
export { keysOfSlot, type Values } from './slot-values.ts'
export { meetingIn } from './meeting-place.ts'
export { slotKey } from './slot-key.ts'
export { bareNameOf, tableNamesOf } from './table-names.ts'
export { keyOfParameter, keysOfParameter, WireParameter } from './wire-parameter.ts'
export { positionInQuery, writeTextOf } from './write-text.ts'
export { withTraceparent } from './trace-comment.ts'
export { isProtected, refuseUnprotected, refuseUnprotectedSetting } from './commit-wait.ts'
export { checkStatementText } from './statement-text.ts'
export { notConcatenated, refuseUnlessConcatenated } from './concatenate.ts'
