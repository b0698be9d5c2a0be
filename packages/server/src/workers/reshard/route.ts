// From a change in the stream to what it means for the targets: which rows are to be put where, which are to go. Pure.
import { FleetError } from '@fleetshard/core'
import { placingKey, type MovedTable, type PgOutputMessage, type Tuple } from '../../engine/mod.ts'
import type { Place } from './move-plan.ts'

type RowChange = Extract<PgOutputMessage, { kind: 'insert' | 'update' | 'delete' }>

/** Put a row, or let it go, on one target. */
export type RoutedChange =
  | { readonly kind: 'remove'; readonly target: number; readonly key: readonly string[] }
  | {
      readonly kind: 'put'
      readonly target: number
      readonly key: readonly string[]
      /** Values that the update left as they were may lack. */
      readonly row: Tuple
      /** The key under which the row was before; the same unless the update changed it. */
      readonly oldKey: readonly string[]
      /** The whole old row where the stream has it. */
      readonly old: Tuple | null
      readonly isNew: boolean
    }

/** What placing needs to know. */
export interface RouteParts {
  readonly table: MovedTable
  readonly place: Place
  readonly targetCount: number
}

/** @throws FleetError `reshard_refused` for a row that cannot be placed */
export function routeChange(parts: RouteParts, change: RowChange): readonly RoutedChange[] {
  const { table } = parts
  if (change.kind === 'delete') {
    const gone: RoutedChange[] = []
    const key = keyOf(table, change.old.values)
    addRemovals(gone, { parts, key, from: oldPlace(parts, change), kept: none })
    return gone
  }
  const key = keyOf(table, change.row)
  const homes = placesOf(parts, change.row)
  const old = change.kind === 'update' ? change.old : null
  const oldKey = old === null ? key : keyOf(table, old.values)
  const isNew = change.kind === 'insert'
  const oldRow = old?.kind === 'full' ? old.values : null
  const routed: RoutedChange[] = []
  for (const target of homes)
    routed.push({ kind: 'put', target, key, row: change.row, oldKey, old: oldRow, isNew })
  if (isNew) return routed
  const isSameKey = old === null || key.every((value, index) => value === oldKey[index])
  // What comes may need values of what goes.
  addRemovals(routed, { parts, key: oldKey, from: oldPlace(parts, change), kept: isSameKey ? homes : none })
  return routed
}

const none: readonly number[] = []

/** Where the row was; null when the stream does not tell, so that it may have been anywhere. */
function oldPlace(parts: RouteParts, change: RowChange): readonly number[] | null {
  const { table } = parts
  if (change.kind === 'insert') return []
  const { old } = change
  if (table.shardKey === null) return null
  const position = table.shardKey.column
  // The old key columns come only when they have changed, or go with the row.
  const tellsKey = old?.kind === 'full' || (old !== null && table.primaryKey.includes(position))
  if (old !== null && tellsKey) return placesOf(parts, old.values)
  // Not part of a key that is there and did not change: then it is the same as in the new row.
  if (old === null && table.primaryKey.includes(position) && change.kind === 'update')
    return placesOf(parts, change.row)
  return null
}

/** `from`: null for every target; but for those of `kept`. */
function addRemovals(
  routed: RoutedChange[],
  {
    parts: { targetCount },
    key,
    from,
    kept,
  }: {
    readonly parts: RouteParts
    readonly key: readonly string[]
    readonly from: readonly number[] | null
    readonly kept: readonly number[]
  },
): void {
  for (let target = 0; target < targetCount; target += 1) {
    if ((from === null || from.includes(target)) && !kept.includes(target))
      routed.push({ kind: 'remove', target, key })
  }
}

/** The targets that a row belongs to: one as a rule, all for a reference table. */
function placesOf({ table, place, targetCount }: RouteParts, row: Tuple): readonly number[] {
  const { shardKey } = table
  if (shardKey === null) return Array.from({ length: targetCount }, (_, index) => index)
  const value = row[shardKey.column]
  if (typeof value !== 'string' && (value !== null || shardKey.type !== 'hash')) {
    throw new FleetError(
      'reshard_refused',
      `a row of ${table.name} was changed whose shard key is not told`,
      {
        hint: `ALTER TABLE ${table.name} REPLICA IDENTITY FULL, and start again`,
      },
    )
  }
  return place(placingKey(value, shardKey.type), shardKey.type)
}

function keyOf(table: MovedTable, row: Tuple): readonly string[] {
  const key: string[] = []
  for (const position of table.primaryKey) {
    const value = row[position]
    if (typeof value !== 'string') {
      throw new FleetError(
        'reshard_refused',
        `a row of ${table.name} was changed whose primary key is not told`,
        {
          hint: `ALTER TABLE ${table.name} REPLICA IDENTITY FULL, and start again`,
        },
      )
    }
    key.push(value)
  }
  return key
}
