// Qualified table names as text, in the form that Postgres' format('%I.%I') prints and a TableRecord stores.
import { FleetError } from '@fleetshard/core'
import { quoteIdentifier } from './errors.ts'

/** The two parts of a qualified name. */
export interface QualifiedName {
  readonly schema: string
  readonly relation: string
}

const PART = /(?:"(?:[^"]|"")+"|[^".\s]+)/y

/**
 * Takes `public.users`, `"Odd schema"."T"` apart; a name without schema lies in `public`. Unquoted parts are taken
 * as they are, not folded: these names come from the catalog, not from SQL.
 * @throws FleetError `invalid_id`
 */
export function parseTableName(name: string): QualifiedName {
  const parts: string[] = []
  let at = 0
  do {
    PART.lastIndex = at
    const match = PART.exec(name)
    if (match === null || parts.length === 2) throw notAName(name)
    parts.push(match[0].startsWith('"') ? match[0].slice(1, -1).replaceAll('""', '"') : match[0])
    at = PART.lastIndex
  } while (name[at++] === '.')
  if (at <= name.length) throw notAName(name)
  const [first = '', second] = parts
  return second === undefined ? { schema: 'public', relation: first } : { schema: first, relation: second }
}

function notAName(name: string): FleetError {
  return new FleetError('invalid_id', `${JSON.stringify(name.slice(0, 140))} is not a table name`, {
    hint: 'a table is named schema.table, with double quotes around parts that need them',
  })
}

/** Both parts in double quotes, safe to be put into SQL. */
export function quoteTableName(name: string): string {
  const { schema, relation } = parseTableName(name)
  return `${quoteIdentifier(schema)}.${quoteIdentifier(relation)}`
}

const PLAIN = /^[a-z_][a-z0-9_]*$/

/** The form that is stored: parts that are no plain lower-case names in double quotes. */
export function formatTableName({ schema, relation }: QualifiedName): string {
  const part = (name: string): string => (PLAIN.test(name) ? name : quoteIdentifier(name))
  return `${part(schema)}.${part(relation)}`
}
