// Names without a schema. The router takes them for the declared table of that name; the server looks along its
// search_path. They may differ only where several relations have that name.
import { FleetError, type ShardMap } from '@fleetshard/core'
import type { StatementFacts } from '../plan/facts.ts'
import { schemaNameOf, tableNamesOf } from '../plan/table-names.ts'
import type { SchemaFacts } from './schema-facts.ts'

/** Settings by which a server finds other tables: `"$user"` in the path is the role. */
export const PATH_SETTINGS: ReadonlySet<string> = new Set(['search_path', 'role', 'session_authorization'])

/** True for a statement after which names may mean other tables, up to the end of its transaction at least. */
export const changesPath = ({ command, functions }: StatementFacts): boolean =>
  functions.includes('set_config') ||
  ((command.kind === 'set' || command.kind === 'reset') &&
    (command.name === null || PATH_SETTINGS.has(command.name)))

/**
 * @param hasOwnPath the path may be another one than a new connection has
 * @throws FleetError `statement_refused` for a name that the server may take for another table
 */
export function refuseDoubleNames(
  { tables }: StatementFacts,
  map: ShardMap,
  { doubleNames }: SchemaFacts,
  hasOwnPath: boolean,
): void {
  if (map.owners.length <= 1 || doubleNames.size === 0) return
  for (const use of tables) {
    const seen = use.schema === null ? doubleNames.get(use.name) : undefined
    const table = seen === undefined ? null : tableNamesOf(map).find(use)
    if (table === null || (!hasOwnPath && seen === schemaNameOf(table))) continue
    throw new FleetError(
      'statement_refused',
      `several tables are named ${use.name}, and search_path may lead to another one than ${table.name}`,
      { hint: 'put the schema in front of the name' },
    )
  }
}
