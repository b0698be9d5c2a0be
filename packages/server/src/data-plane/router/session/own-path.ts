// Whether a session may find other tables by a name than a new connection does.
import type { ShardMap } from '@fleetshard/core'
import { changesPath, PATH_SETTINGS, refuseDoubleNames, type SchemaFacts } from '@fleetshard/routing/execute'
import type { StatementFacts } from '@fleetshard/routing/plan'
import type { SessionState } from './session-state.ts'

/** @throws FleetError `statement_refused` for a name that may lead to another table than the declared one */
export function refuseOtherPath(
  state: SessionState,
  statements: readonly StatementFacts[],
  { map, schema }: { readonly map: ShardMap; readonly schema: SchemaFacts },
): void {
  if (schema.doubleNames.size === 0) return
  const isOwn = hasOwnPath(state, statements)
  for (const facts of statements) refuseDoubleNames(facts, map, schema, isOwn)
}

/** By a setting of the session or of its transaction, by code on its connection, by a statement of the same group. */
const hasOwnPath = (
  { settings, isBound, transaction }: SessionState,
  together: readonly StatementFacts[],
): boolean =>
  isBound ||
  transaction?.hasOwnPath === true ||
  Array.from(PATH_SETTINGS).some((name) => settings.get(name) !== undefined) ||
  together.some(changesPath)
