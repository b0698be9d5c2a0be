// Primary keys without the shard key: no shard sees the rows of the others, so they are unique over the keyspace only as
// long as every value comes from a sequence, which counts in a block of its own on each shard.
import { FleetError, type ShardMap } from '@fleetshard/core'
import { givenColumns } from '../plan/given-columns.ts'
import { tableNamesOf, type KnownStatement } from '../plan/mod.ts'
import type { SchemaFacts } from './schema-facts.ts'

/** A primary key with columns that a sequence, or our generator, gives. */
export interface AllocatedKey {
  readonly columns: readonly string[]
  /** All columns of the primary key. */
  readonly primary: readonly string[]
}

/**
 * A value that a statement gives may be on another shard already, or be given there later.
 * @throws FleetError `statement_refused`
 */
export function refuseGivenIds({ facts }: KnownStatement, map: ShardMap, schema: SchemaFacts): void {
  if (schema.allocatedKeys.size === 0) return
  const names = tableNamesOf(map)
  for (const { use, columns } of givenColumns(facts.query)) {
    const target = facts.tables[use]
    const keys = target === undefined ? undefined : schema.allocatedKeys.get(target.name)
    if (target === undefined || keys === undefined) continue
    const table = names.find(target)
    if (table?.kind !== 'sharded' || table.keyColumn === null) continue
    for (const key of keys) {
      if (key.primary.includes(table.keyColumn)) continue
      const given = key.columns.find((column) => columns?.has(column) !== false)
      if (given !== undefined) throw givenId(target.name, given, table.keyColumn)
    }
  }
}

const givenId = (table: string, column: string, keyColumn: string): FleetError =>
  new FleetError(
    'statement_refused',
    `the primary key of ${table} is unique over all shards only while its sequence gives every ${column}`,
    {
      hint: `leave ${column} out, or write DEFAULT (RETURNING ${column} tells the number); to give numbers of your own, take ${keyColumn} into the primary key`,
    },
  )
