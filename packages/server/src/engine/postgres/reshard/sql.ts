// Pieces of SQL about a moved table, and array literals to send many values at once.
import type { MovedTable, UnitRange } from '../../reshard-engine.ts'
import { quoteIdentifier } from '../errors.ts'

/** Names of the columns at those positions, quoted; all of them by default. */
export function columnList(table: MovedTable, positions?: readonly number[]): string {
  const columns =
    positions === undefined ? table.columns : positions.map((position) => columnAt(table, position))
  return columns.map(({ name }) => quoteIdentifier(name)).join(', ')
}

/** The column at a position. */
export function columnAt(table: MovedTable, position: number): MovedTable['columns'][number] {
  const column = table.columns[position]
  if (column === undefined) throw new RangeError(`${table.name} has no column ${String(position)}`)
  return column
}

/** The first column of the primary key, by which units are divided. */
export function unitColumn(table: MovedTable): MovedTable['columns'][number] {
  return columnAt(table, table.primaryKey[0] ?? -1)
}

/** Condition of a range; the bounds are literals, since COPY takes no parameters. */
export function rangeCondition(table: MovedTable, { after, upTo }: UnitRange): string {
  const { name, type } = unitColumn(table)
  const column = quoteIdentifier(name)
  const parts = [
    ...(after === null ? [] : [`${column} > ${quoteText(after)}::${type}`]),
    ...(upTo === null ? [] : [`${column} <= ${quoteText(upTo)}::${type}`]),
  ]
  return parts.length === 0 ? 'true' : parts.join(' and ')
}

/** A string literal, whatever standard_conforming_strings says. */
export function quoteText(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted
}

/** `{"a",NULL,"b"}`: an array of texts for one parameter. */
export function arrayLiteral(values: readonly (string | null)[]): string {
  let literal = '{'
  for (const value of values) {
    if (literal.length > 1) literal += ','
    if (value === null) literal += 'NULL'
    else literal += `"${special.test(value) ? value.replaceAll(everySpecial, String.raw`\$&`) : value}"`
  }
  return `${literal}}`
}

const special = /["\\]/
const everySpecial = /["\\]/g

/**
 * For a session that finds rows by lists of their keys: for ten thousand of them Postgres would rather read a table of a
 * million whole, each time.
 */
export const findByKeySql = 'set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off'
