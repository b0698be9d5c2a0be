// Sums by which rows of two servers are compared: a 64-bit hash of each row's text, added up without a bound, so
// that the sum of a source's range is the sum of its targets' parts.
import {
  placingKey,
  type MovedTable,
  type PlaceOf,
  type PlacingKey,
  type RangeSum,
  type RowSums,
  type UnitRange,
} from '../../reshard-engine.ts'
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
  { range, place }: { readonly range: UnitRange; readonly place: PlaceOf | null },
): Promise<RangeSum> {
  if (place !== null) return sumPlaced(connection, table, range, place)
  const [row] = await connection.rows(
    `select count(*)::text, coalesce(sum(${rowHash(table)}::numeric), 0)::text
       from ${quoteTableName(table.name)} where ${rangeCondition(table, range)}`,
  )
  return { rows: Number(row?.[0]), sum: row?.[1] ?? '' }
}

/** Row by row, since only we know where each belongs. */
async function sumPlaced(
  connection: JobConnection,
  table: MovedTable,
  range: UnitRange,
  place: PlaceOf,
): Promise<RangeSum> {
  let rows = 0
  let sum = 0n
  const condition = rangeCondition(table, range)
  await eachRow(connection, table, { values: [rowHash(table)], condition }, (key, [hash]) => {
    const count = place(key).length
    rows += count
    sum += BigInt(hash ?? '0') * BigInt(count)
  })
  return { rows, sum: String(sum) }
}

/** Rows whose sums are fetched at once. */
const rowsMax = 10_000_000

/** See the port. */
export async function sumRows(
  connection: JobConnection,
  table: MovedTable,
  {
    range,
    keys,
    place,
  }: { readonly range: UnitRange; readonly keys: readonly string[] | null; readonly place: PlaceOf | null },
): Promise<RowSums> {
  const chosen = keys === null ? '' : ` and ${keyText(table)} = any ($1::text[])`
  const placedBy = place === null || table.shardKey === null ? 'null' : shardKeyText(table)
  const rows = await connection.rows(
    `select ${keyText(table)}, ${rowHash(table)}::text, ${placedBy} from ${quoteTableName(table.name)}
      where ${rangeCondition(table, range)}${chosen}`,
    keys === null ? [] : [arrayLiteral(keys)],
    rowsMax,
  )
  const sums = new Map<string, string>()
  for (const [key, sum, placed] of rows) {
    const count =
      place === null ? 1 : place(placingKey(placed ?? null, table.shardKey?.type ?? 'hash')).length
    if (count > 0) sums.set(key ?? '', Array.from({ length: count }, () => sum).join(' and '))
  }
  return sums
}

/** See the port. */
export async function eachKey(
  connection: JobConnection,
  table: MovedTable,
  visit: (key: PlacingKey) => void,
): Promise<void> {
  if (table.shardKey !== null) await eachRow(connection, table, { values: [], condition: 'true' }, visit)
}

const rowsAtOnce = 20_000

const shardKeyText = (table: MovedTable): string =>
  `${quoteIdentifier(columnAt(table, table.shardKey?.column ?? -1).name)}::text`

/** Calls for every row, with its shard key and those values as text. By a cursor, so that no more than a part is held. */
async function eachRow(
  connection: JobConnection,
  table: MovedTable,
  { values, condition }: { readonly values: readonly string[]; readonly condition: string },
  visit: (key: PlacingKey, values: readonly (string | null)[]) => void,
): Promise<void> {
  const by = table.shardKey?.type ?? 'hash'
  const list = [shardKeyText(table), ...values.map((value) => `${value}::text`)].join(', ')
  await connection.run(
    `begin read only; declare rows no scroll cursor for
       select ${list} from ${quoteTableName(table.name)} where ${condition}`,
  )
  for (;;) {
    const rows = await connection.rows(`fetch ${String(rowsAtOnce)} from rows`, [], rowsAtOnce)
    for (const [key, ...others] of rows) visit(placingKey(key ?? null, by), others)
    if (rows.length < rowsAtOnce) break
  }
  await connection.run('rollback')
}
