// Whether a statement may run on every shard of a keyspace with its rows put together: the facts of its text and the
// keyspace's tables. What the database says of its functions is asked by the executor.
import { FleetError, type KeyType, type ShardMap, type TableRecord } from '@fleetshard/core'
import type { KnownStatement } from './cache.ts'
import type { ColumnName, Concatenation, FromTable } from './facts.ts'
import { tableNamesOf, type TableNames } from './table-names.ts'
import { undeclaredTable } from './plan.ts'

const hint =
  'name the shard key so that one shard answers, or ask each shard by its id (in the client: a handle of db.shards()) and put the answers together'

/** The refusal of a statement over all shards. */
export const notConcatenated = (reason: string): FleetError =>
  new FleetError('cross_shard', `the statement cannot simply run on every shard: ${reason}`, { hint })

/** @throws FleetError `cross_shard` unless the rows of all shards may be put together, as far as the map tells */
export function refuseUnlessConcatenated({ facts }: KnownStatement, map: ShardMap): void {
  const reason = facts.explained
    ? 'EXPLAIN tells of one shard'
    : reasonAgainst(facts.concatenation, tableNamesOf(map))
  if (reason !== null) throw notConcatenated(reason)
}

function reasonAgainst(concatenation: Concatenation, names: TableNames): string | null {
  if (concatenation.kind === 'no') return concatenation.reason
  const { tables, optional, inside, ties } = concatenation
  const other = [...optional, ...inside].find((table) => names.find(table)?.kind !== 'reference')
  if (other !== undefined)
    return `${other.name} stands in an outer join or a subquery and is no reference table`
  const sharded: Sharded[] = []
  for (const use of tables) {
    const table = names.find(use)
    if (table === null) return undeclaredTable(use)
    if (table.kind === 'global') return `the global table ${use.name} is on one shard only`
    if (table.kind === 'sharded') sharded.push({ use, table })
  }
  if (sharded.length === 0) return 'it reads no sharded table, so every shard would give the same rows'
  return areTied(sharded, ties) ? null : 'its sharded tables are not joined by their shard keys'
}

interface Sharded {
  readonly use: FromTable
  readonly table: TableRecord
}

/** True when equal keys connect all of the tables, so that rows that belong together lie on one shard. */
function areTied(sharded: readonly Sharded[], ties: readonly (readonly [ColumnName, ColumnName])[]): boolean {
  const [first, ...rest] = sharded
  const reached = new Set([first])
  const left = new Set<Sharded>(rest)
  for (let grown = true; grown && left.size > 0;) {
    grown = false
    for (const one of left) {
      const isTied = [...reached].some(
        (other) => other !== undefined && ties.some((tie) => connects(tie, one, other)),
      )
      if (!isTied) continue
      left.delete(one)
      reached.add(one)
      grown = true
    }
  }
  return left.size === 0
}

function connects([left, right]: readonly [ColumnName, ColumnName], one: Sharded, other: Sharded): boolean {
  const keyType: KeyType | null = one.table.keyType
  if (keyType === null || keyType !== other.table.keyType) return false
  return (isKey(left, one) && isKey(right, other)) || (isKey(right, one) && isKey(left, other))
}

const isKey = ({ qualifier, column }: ColumnName, { use, table }: Sharded): boolean =>
  qualifier === use.alias && column === table.keyColumn
