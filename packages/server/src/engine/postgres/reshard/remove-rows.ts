// Removes from a source the rows that belong to others now: a few blocks of the table at a time, each in a transaction
// of its own, by where the rows lie. Nobody writes such rows any more, so none comes in behind.
import { isFleetError, type CanonicalKey } from '@fleetshard/core'
import { placingKey, type MovedTable } from '../../reshard-engine.ts'
import { quoteIdentifier } from '../errors.ts'
import { quoteTableName } from '../names.ts'
import type { JobConnection } from './connection.ts'
import { arrayLiteral, columnAt, findByKeySql } from './sql.ts'

/** Blocks looked at in one transaction: about a megabyte. */
const blocksAtOnce = 128
/** More rows than that many blocks of the largest size can hold. */
const rowsAtOnceMax = 1_000_000

/** See the port. */
export async function removeRows(
  connection: JobConnection,
  table: MovedTable,
  isGone: (key: CanonicalKey) => boolean,
): Promise<void> {
  const { shardKey } = table
  if (shardKey === null) return
  await bypassTriggers(connection)
  await connection.run(findByKeySql)
  const name = quoteTableName(table.name)
  const column = quoteIdentifier(columnAt(table, shardKey.column).name)
  const size = await connection.value(
    `select (pg_relation_size($1::regclass) / current_setting('block_size')::int)::text`,
    [name],
  )
  const blocks = Number(size)
  for (let first = 0; first <= blocks; first += blocksAtOnce) {
    const rows = await connection.rows(
      `select ctid::text, ${column}::text from ${name}
        where ctid >= '(${String(first)},0)' and ctid < '(${String(first + blocksAtOnce)},0)'`,
      [],
      rowsAtOnceMax,
    )
    const gone = rows.filter(([, value]) => {
      const key = placingKey(value ?? null, shardKey.type)
      return key !== null && isGone(key)
    })
    if (gone.length === 0) continue
    // The key once more: by now another row may lie there.
    await connection.rows(
      `delete from ${name} t using unnest($1::tid[], $2::text[]) as g(place, key)
        where t.ctid = g.place and t.${column}::text = g.key`,
      [arrayLiteral(gone.map(([place = null]) => place)), arrayLiteral(gone.map(([, key = null]) => key))],
    )
  }
}

/** Where the login may not, preflight has found that there is nothing to bypass. */
async function bypassTriggers(connection: JobConnection): Promise<void> {
  try {
    await connection.run('set session_replication_role = replica')
  } catch (error) {
    if (!isFleetError(error, 'sql_error') || error.sqlstate !== '42501') throw error
  }
}
