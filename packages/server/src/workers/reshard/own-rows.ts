// Rows of several sources that come to one target: the same primary key may stand there for a row of one and then of
// another, and their streams keep no order among each other. Each removes its own rows only, and none takes the place
// of another's that has yet to go. SPEC.md, invariant 22.
import { FleetError, type Clock, type ShardId } from '@fleetshard/core'
import {
  placingKey,
  type MovedTable,
  type PlacingKey,
  type TableChanges,
  type TargetWriter,
} from '../../engine/mod.ts'

/** Tells whether a row is of the source, by its shard key. */
export type IsOwn = (key: PlacingKey) => boolean

/** What waiting for another stream takes. */
export interface OwnRowsParts {
  readonly clock: Clock
  readonly source: ShardId
  /** How long a row of another source may stand in the way. */
  readonly meetMsMax: number
  /** Null for a table whose primary key tells whose a row is: there is nothing to be mixed up. */
  readonly isOwnOf: (table: MovedTable) => IsOwn | null
}

/** Between two looks at a row that stands in the way. */
const lookEveryMs = 20

/**
 * The changes without removals of what is another source's, or is not there: nobody else removes or brings rows of this
 * one, so what was seen to be its own stays so. Waits until no row of another source stands where one is to come.
 * @throws FleetError `reshard_refused` when one does for too long; the signal's reason
 */
export async function ownChanges(
  { clock, source, meetMsMax, isOwnOf }: OwnRowsParts,
  target: TargetWriter,
  changes: TableChanges,
  signal: AbortSignal,
): Promise<TableChanges> {
  const isOwn = isOwnOf(changes.table)
  if (isOwn === null) return changes
  const deadline = clock.monotonic() + meetMsMax
  for (;;) {
    const { own, clash } = await judge(target, changes, isOwn)
    if (clash === null) return own
    if (clock.monotonic() >= deadline) throw clashes(changes.table, clash, source)
    await clock.sleep(lookEveryMs, signal)
  }
}

async function judge(
  target: TargetWriter,
  { table, remove, insert }: TableChanges,
  isOwn: IsOwn,
): Promise<{ readonly own: TableChanges; readonly clash: readonly string[] | null }> {
  const { shardKey } = table
  if (shardKey === null) throw new FleetError('internal', 'a table without a shard key has rows of nobody')
  const inserted = insert.map((row) => table.primaryKey.map((position) => row[position] ?? ''))
  const found = await target.readRows(table, [...remove, ...inserted], [shardKey.column])
  const isForeign = (row: readonly (string | null)[] | null | undefined): boolean =>
    row !== null && row !== undefined && !isOwn(placingKey(row[0] ?? null, shardKey.type))
  const clash = inserted.find((_, index) => isForeign(found[remove.length + index]))
  const mine = remove.filter((_, index) => found[index] !== null && !isForeign(found[index]))
  return { own: { table, remove: mine, insert }, clash: clash ?? null }
}

function clashes({ name }: MovedTable, key: readonly string[], source: ShardId): FleetError {
  return new FleetError(
    'reshard_refused',
    `the row (${key.join(', ')}) of ${name} stands on shard ${source} and on another one that is merged with it`,
    { hint: clashHint(name) },
  )
}

const clashHint = (table: string): string =>
  `delete one of them, or take the shard key into the unique constraints of ${table}, and start the move again`

/** What Postgres says of two rows with one key, where they may come from two sources. */
export function toldAsClash(error: unknown, sources: number): unknown {
  if (sources < 2 || !(error instanceof FleetError) || error.sqlstate !== '23505') return error
  return new FleetError('reshard_refused', `rows of two sources clash: ${error.message}`, {
    hint: clashHint('the table'),
    cause: error,
  })
}
