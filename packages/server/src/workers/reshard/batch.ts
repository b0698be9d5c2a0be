// Changes on their way to one target, joined: of each row only what is to become of it in the end. Applied as "all
// touched rows go, then the rows come", so a batch is right at every border of statements that the source had.
import { FleetError } from '@fleetshard/core'
import {
  unchanged,
  type MovedTable,
  type TableChanges,
  type Tuple,
  type TupleValue,
} from '../../engine/mod.ts'

/** A row whose values may lack: the stream does not tell large ones that an update left as they were. */
export interface PartialRow {
  readonly key: readonly string[]
  readonly values: TupleValue[]
  /** The key under which the row stood before the batch, where the missing values are. */
  readonly origin: readonly string[]
}

interface Entry extends PartialRow {
  /** Null: it goes. */
  readonly row: TupleValue[] | null
  /** The target may have the row already. */
  mayExist: boolean
}

const nothing: TupleValue[] = []
/** Rough size of what a row takes beside its texts. */
const entryBytes = 64

/** The changes of one target since the last flush. */
export class TargetBatch {
  readonly #tables = new Map<MovedTable, Map<string, Entry>>()
  #bytes = 0
  #rows = 0
  #hasPartial = false

  get isEmpty(): boolean {
    return this.#rows === 0
  }

  /** Rows touched. */
  get rows(): number {
    return this.#rows
  }

  /** About what it holds in memory. */
  get bytes(): number {
    return this.#bytes
  }

  /** The row as it is to be, and where it was; null when the batch does not touch it, or lets it go. */
  find(table: MovedTable, key: readonly string[]): PartialRow | null {
    const entry = this.#tables.get(table)?.get(idOf(key))
    return entry === undefined || entry.row === null ? null : entry
  }

  /** @param row.isNew the target cannot have the row */
  put(
    table: MovedTable,
    row: {
      readonly key: readonly string[]
      readonly values: Tuple
      readonly origin: readonly string[]
      readonly isNew: boolean
    },
  ): void {
    const isPartial = row.values.includes(unchanged)
    if (isPartial) this.#hasPartial = true
    // Only what lacks is filled in.
    const values = isPartial ? [...row.values] : (row.values as TupleValue[])
    this.#set(table, { key: row.key, values, row: values, origin: row.origin, mayExist: !row.isNew })
  }

  remove(table: MovedTable, key: readonly string[]): void {
    this.#set(table, { key, values: nothing, row: null, origin: key, mayExist: true })
  }

  /** Rows that lack values; those are to be filled in before `take`. */
  *partial(): Iterable<{ readonly table: MovedTable; readonly rows: readonly PartialRow[] }> {
    if (!this.#hasPartial) return
    for (const [table, entries] of this.#tables) {
      const rows = [...entries.values()].filter(({ row }) => row?.includes(unchanged) === true)
      if (rows.length > 0) yield { table, rows }
    }
  }

  /** What is to be done, and begins anew. */
  take(): readonly TableChanges[] {
    const changes = [...this.#tables].map(([table, entries]): TableChanges => {
      const remove: (readonly string[])[] = []
      const insert: (readonly (string | null)[])[] = []
      for (const { key, row, mayExist } of entries.values()) {
        if (mayExist) remove.push(key)
        if (row !== null) insert.push(textsOf(row))
      }
      return { table, remove, insert }
    })
    this.#tables.clear()
    this.#bytes = 0
    this.#rows = 0
    this.#hasPartial = false
    return changes
  }

  #set(table: MovedTable, entry: Entry): void {
    let entries = this.#tables.get(table)
    if (entries === undefined) this.#tables.set(table, (entries = new Map()))
    const id = idOf(entry.key)
    const before = entries.get(id)
    if (before === undefined) this.#rows += 1
    this.#bytes += entryBytes
    for (const value of entry.row ?? entry.key) if (typeof value === 'string') this.#bytes += value.length
    if (before !== undefined) entry.mayExist = before.mayExist
    entries.set(id, entry)
  }
}

/** @throws FleetError `internal` for a value that was never filled in */
function textsOf(row: readonly TupleValue[]): readonly (string | null)[] {
  for (const value of row) {
    if (typeof value !== 'string' && value !== null)
      throw new FleetError('internal', 'a row without all its values')
  }
  return row as readonly (string | null)[]
}

/** One text for a primary key. */
function idOf(key: readonly string[]): string {
  const [only] = key
  return key.length === 1 && only !== undefined ? only : JSON.stringify(key)
}
