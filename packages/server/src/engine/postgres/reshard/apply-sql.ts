// The statements that bring a batch of changes to a target's table: first every touched row goes, then the rows come
// as they are at the end of the batch. So no order of theirs can clash with a unique constraint that held at the
// source, and one statement handles thousands of rows.
import type { MovedTable } from '../../reshard-engine.ts'
import { quoteIdentifier } from '../errors.ts'
import { quoteTableName } from '../names.ts'
import { arrayLiteral, columnAt, columnList } from './sql.ts'

/** A statement with its values as texts. */
interface Statement {
  readonly text: string
  readonly params: readonly string[]
}

/** Removes rows by their primary keys. */
export function removeSql(table: MovedTable, keys: readonly (readonly string[])[]): Statement {
  const columns = table.primaryKey.map((position) => columnAt(table, position))
  const params = columns.map((_, index) => arrayLiteral(keys.map((key) => key[index] ?? null)))
  const [only, ...others] = columns
  if (only !== undefined && others.length === 0) {
    const text = `delete from ${quoteTableName(table.name)} where ${quoteIdentifier(only.name)} = any ($1::${only.type}[])`
    return { text, params }
  }
  const conditions = columns.map(
    ({ name, type }, index) => `t.${quoteIdentifier(name)} = k.c${String(index)}::${type}`,
  )
  const text = `delete from ${quoteTableName(table.name)} t using ${unnested(columns.length)} as k(${names(columns.length)})
    where ${conditions.join(' and ')}`
  return { text, params }
}

/**
 * A COPY and its data, since a server takes rows the fastest by it. Values of identity columns stay as they are.
 * Format: PostgreSQL documentation, "COPY", "Text Format".
 */
export function insertCopy(
  table: MovedTable,
  rows: readonly (readonly (string | null)[])[],
): { readonly text: string; readonly data: Buffer } {
  let data = ''
  for (const row of rows) {
    for (let column = 0; column < row.length; column += 1) {
      const value = row[column] ?? null
      if (column > 0) data += '\t'
      if (value === null) data += String.raw`\N`
      else data += special.test(value) ? value.replaceAll(everySpecial, escaped) : value
    }
    data += '\n'
  }
  return {
    text: `copy ${quoteTableName(table.name)} (${columnList(table)}) from stdin`,
    data: Buffer.from(data),
  }
}

const special = /[\\\t\n\r]/
const everySpecial = /[\\\t\n\r]/g
const escapes: Readonly<Record<string, string>> = { '\t': 't', '\n': 'n', '\r': 'r' }
const escaped = (character: string): string => `\\${escapes[character] ?? character}`

/** Reads the shard key and the primary key of rows. */
export function keysSql(table: MovedTable, condition: string): string {
  const columns = [table.shardKey?.column ?? -1, ...table.primaryKey].map(
    (position) => `${quoteIdentifier(columnAt(table, position).name)}::text`,
  )
  return `select ${columns.join(', ')} from ${quoteTableName(table.name)} where ${condition}`
}

const unnested = (count: number): string =>
  `unnest(${Array.from({ length: count }, (_, index) => `$${String(index + 1)}::text[]`).join(', ')})`

const names = (count: number): string =>
  Array.from({ length: count }, (_, index) => `c${String(index)}`).join(', ')

/** Reads rows by their primary keys: the position of the key, from 1 on, then the columns. */
export function readSql(
  table: MovedTable,
  keys: readonly (readonly string[])[],
  columns: readonly number[],
): Statement {
  const primary = table.primaryKey.map((position) => columnAt(table, position))
  const params = primary.map((_, index) => arrayLiteral(keys.map((key) => key[index] ?? null)))
  const list = columns.map((position) => `t.${quoteIdentifier(columnAt(table, position).name)}::text`)
  const conditions = primary.map(
    ({ name, type }, index) => `t.${quoteIdentifier(name)} = k.c${String(index)}::${type}`,
  )
  const text = `select k.position::text, ${list.join(', ')}
    from ${unnested(primary.length)} with ordinality as k(${names(primary.length)}, position)
    join ${quoteTableName(table.name)} t on ${conditions.join(' and ')}`
  return { text, params }
}
