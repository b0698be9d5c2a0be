// The units of one source's table that every target has: what a change of a row has to be judged by.
import { FleetError } from '@fleetshard/core'
import type { MovedTable, UnitRange, UnitRecord, XidSnapshot } from '../../engine/mod.ts'
import { parseXidSnapshot } from '../../engine/mod.ts'

/** A unit that every target has, with the snapshot that it was copied under. */
export interface DoneUnit {
  readonly number: number
  readonly range: UnitRange
  readonly snapshot: XidSnapshot
  readonly rows: number
}

/** Units in the order of their ranges, without gaps from the beginning of the table to the frontier. */
export class TableUnits {
  readonly table: MovedTable
  readonly #units: DoneUnit[] = []

  constructor(table: MovedTable) {
    this.table = table
  }

  get done(): readonly DoneUnit[] {
    return this.#units
  }

  get rows(): number {
    return this.#units.reduce((sum, { rows }) => sum + rows, 0)
  }

  /** Where the next unit begins; undefined when the table is whole. */
  get frontier(): string | null | undefined {
    const last = this.#units.at(-1)
    if (last === undefined) return null
    return last.range.upTo ?? undefined
  }

  get nextNumber(): number {
    return (this.#units.at(-1)?.number ?? 0) + 1
  }

  /** @throws FleetError `internal` when it does not begin at the frontier */
  add(unit: DoneUnit): void {
    if (this.frontier !== unit.range.after) throw new FleetError('internal', 'units of a table leave a gap')
    this.#units.push(unit)
  }

  /** The snapshot of the unit that a key lies in; null beyond the frontier. `first` is of the primary key. */
  snapshotOf(first: string): XidSnapshot | null {
    return this.unitOf(first)?.snapshot ?? null
  }

  /** The unit that a key lies in; null beyond the frontier. */
  unitOf(first: string): DoneUnit | null {
    let [low, high] = [0, this.#units.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#endsBefore(middle, first)) low = middle + 1
      else high = middle
    }
    return this.#units[low] ?? null
  }

  #endsBefore(index: number, first: string): boolean {
    const upTo = this.#units[index]?.range.upTo ?? null
    return upTo !== null && isLess(this.table, upTo, first)
  }
}

/** Tables of which everything that the stream tells is to be applied: nothing of it is in a copy. */
export function streamedUnits(tables: readonly MovedTable[]): ReadonlyMap<string, TableUnits> {
  return new Map(
    tables.map((table) => {
      const units = new TableUnits(table)
      units.add({ number: 1, range: { after: null, upTo: null }, snapshot: seesNothing, rows: 0 })
      return [table.name, units]
    }),
  )
}

/** Transaction ids below 3 are none of any row's. */
const seesNothing = parseXidSnapshot('3:3:')

/** Order of the first column of a primary key, as Postgres has it; of texts as Postgres prints them. */
function isLess({ unitsBy }: MovedTable, a: string, b: string): boolean {
  // The text form of a uuid orders like its bytes.
  return unitsBy === 'integer' ? BigInt(a) < BigInt(b) : a < b
}

/**
 * What the targets have together: units that all of them recorded alike, and those to be removed, because some
 * target lacks them or a unit before them.
 */
export function joinUnits(
  tables: readonly MovedTable[],
  perTarget: readonly (readonly UnitRecord[])[],
): { readonly units: ReadonlyMap<string, TableUnits>; readonly broken: readonly UnitRecord[] } {
  const units = new Map(tables.map((table) => [table.name, new TableUnits(table)]))
  const broken: UnitRecord[] = []
  const key = ({ table, number, range, snapshot }: UnitRecord): string =>
    JSON.stringify([table, number, range.after, range.upTo, snapshot])
  const have = perTarget.map((records) => new Set(records.map(key)))
  const all = new Map(perTarget.flat().map((record) => [key(record), record]))
  for (const [id, record] of [...all].sort(([, a], [, b]) => a.number - b.number)) {
    const joined = units.get(record.table)
    const isWhole = have.every((keys) => keys.has(id))
    if (joined !== undefined && isWhole && joined.frontier === record.range.after) {
      const { number, range, rows } = record
      joined.add({ number, range, rows, snapshot: parseXidSnapshot(record.snapshot) })
    } else broken.push(record)
  }
  return { units, broken }
}
