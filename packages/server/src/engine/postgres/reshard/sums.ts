// Sums by which rows of two servers are compared: a 64-bit hash of each row's text, added up without a bound, so
// that the sum of a source's range is the sum of its targets' parts.
import { parseKey, type CanonicalKey } from '@fleetshard/core'
import type { MovedTable, RangeSum, RowSums, UnitRange } from '../../reshard-engine.ts'
import { quoteIdentifier } from '../errors.ts'
import { quoteTableName } from '../names.ts'
import type { JobConnection } from './connection.ts'
import { arrayLiteral, columnAt, columnList, rangeCondition } from './sql.ts'

const rowHash = (table: MovedTable): string => `hashtextextended(row(${columnList(table)})::text, 0)`

/** The primary key as one text; the same on every server. */
const keyText = (table: MovedTable): string => `row(${columnList(table, table.primaryKey)})::text`

/** See the port. */
export async function sumRange(
  connection: JobConnection,
  table: MovedTable,
  range: UnitRange,
): Promise<RangeSum> {
  const [row] = await connection.rows(
    `select count(*)::text, coalesce(sum(${rowHash(table)}::numeric), 0)::text
       from ${quoteTableName(table.name)} where ${rangeCondition(table, range)}`,
  )
  return { rows: Number(row?.[0]), sum: row?.[1] ?? '' }
}

/** Rows whose sums are fetched at once. */
const rowsMax = 10_000_000

/** See the port. */
export async function sumRows(
  connection: JobConnection,
  table: MovedTable,
  { range, keys }: { readonly range: UnitRange; readonly keys: readonly string[] | null },
): Promise<RowSums> {
  const chosen = keys === null ? '' : ` and ${keyText(table)} = any ($1::text[])`
  const rows = await connection.rows(
    `select ${keyText(table)}, ${rowHash(table)}::text from ${quoteTableName(table.name)}
      where ${rangeCondition(table, range)}${chosen}`,
    keys === null ? [] : [arrayLiteral(keys)],
    rowsMax,
  )
  return new Map(rows.map(([key, sum]) => [key ?? '', sum ?? '']))
}

const keysAtOnce = 20_000

/** See the port. By a cursor, so that no more than a part is held. */
export async function eachKey(
  connection: JobConnection,
  table: MovedTable,
  visit: (key: CanonicalKey) => void,
): Promise<void> {
  const { shardKey } = table
  if (shardKey === null) return
  const column = quoteIdentifier(columnAt(table, shardKey.column).name)
  await connection.run(
    `begin read only; declare keys no scroll cursor for select ${column}::text from ${quoteTableName(table.name)}`,
  )
  for (;;) {
    const rows = await connection.rows(`fetch ${String(keysAtOnce)} from keys`, [], keysAtOnce)
    for (const [key] of rows) visit(parseKey(key, shardKey.type))
    if (rows.length < keysAtOnce) break
  }
  await connection.run('rollback')
}
