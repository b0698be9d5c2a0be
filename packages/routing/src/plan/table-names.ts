// Finds the declared table that a statement names. The search path is the server's affair: an unqualified name is
// taken for every declared table of that name.
import type { ShardMap, TableRecord } from '@fleetshard/core'
import type { TableUse } from './facts.ts'

/** Declared tables by name. */
export interface TableNames {
  /** The table, or null when none is declared by that name, or several are and the statement does not say which. */
  find(use: Pick<TableUse, 'schema' | 'name'>): TableRecord | null
  /** True when several tables are declared by that name, in several schemas. */
  isAmbiguous(use: Pick<TableUse, 'schema' | 'name'>): boolean
}

const kept = new WeakMap<ShardMap['tables'], TableNames>()

/** The names of a map's tables; made once a set of tables. */
export function tableNamesOf(map: Pick<ShardMap, 'tables'>): TableNames {
  const known = kept.get(map.tables)
  if (known !== undefined) return known
  const names = makeTableNames([...map.tables.values()])
  kept.set(map.tables, names)
  return names
}

/** Names over a list of tables. */
export function makeTableNames(tables: readonly TableRecord[]): TableNames {
  const qualified = new Map<string, TableRecord>()
  const bare = new Map<string, TableRecord | null>()
  for (const table of tables) {
    const [schema = 'public', name = ''] = splitName(table.name)
    qualified.set(JSON.stringify([schema, name]), table)
    bare.set(name, bare.has(name) ? null : table)
  }
  return {
    find: ({ schema, name }) =>
      (schema === null ? bare.get(name) : qualified.get(JSON.stringify([schema, name]))) ?? null,
    isAmbiguous: ({ schema, name }) => schema === null && bare.get(name) === null,
  }
}

/** `public.users`, `"Odd.schema"."t"`: schema and name without quotes. */
function splitName(qualified: string): string[] {
  return [...qualified.matchAll(/"((?:[^"]|"")*)"|([^."]+)/g)].map(
    (match) => match[2] ?? (match[1] ?? '').replaceAll('""', '"'),
  )
}

/** The schema of a declared table. */
export const schemaNameOf = ({ name }: Pick<TableRecord, 'name'>): string => splitName(name)[0] ?? ''

/** The name of a declared table without schema and quotes. */
export const bareNameOf = ({ name }: Pick<TableRecord, 'name'>): string => splitName(name)[1] ?? ''
