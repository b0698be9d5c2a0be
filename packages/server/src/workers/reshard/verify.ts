// Compares sources and targets while both are written: sums of ranges after a barrier in the stream, then single rows
// where sums differ, then those rows again. Only what stays different while the source stays as it is counts.
import { FleetError } from '@fleetshard/core'
import type { MovedTable, PlaceOf, PlacingKey, RowSums, UnitRange } from '../../engine/mod.ts'
import type { Movement } from './movement.ts'
import type { Place, ReshardStep } from './step.ts'

/** What a verification found. */
export interface Verified {
  readonly rows: number
  /** For people. */
  readonly differences: readonly string[]
}

/** Sums of a range are taken again so often before single rows are looked at. */
const sumsMax = 2
/** A row counts as different when it was so often in a row, and the source's did not change meanwhile. */
const sightingsMin = 3
/** Rounds over rows that keep changing. */
const roundsMax = 30
const differencesMax = 20

/** What one comparison works with. */
interface Compared {
  readonly step: ReshardStep
  readonly movement: Movement
  readonly table: MovedTable
  readonly range: UnitRange
}

/** Looks at every row. @throws FleetError `shard_unavailable` when rows change too fast to be compared */
export async function verify(step: ReshardStep, movement: Movement): Promise<Verified> {
  const differences: string[] = []
  let rows = 0
  for (const table of movement.tables) {
    for (const range of rangesOf(movement, table)) {
      const found = await compareRange({ step, movement, table, range })
      rows += found.rows
      differences.push(...found.differences)
      if (differences.length >= differencesMax)
        return { rows, differences: differences.slice(0, differencesMax) }
    }
    differences.push(...(await misplaced(step, movement, table)))
  }
  return { rows, differences: differences.slice(0, differencesMax) }
}

/** The units of the first source: they cover the whole table. */
function rangesOf({ movers }: Movement, table: MovedTable): readonly UnitRange[] {
  const units = movers[0]?.units.get(table.name)?.done ?? []
  return units.length === 0 ? [{ after: null, upTo: null }] : units.map(({ range }) => range)
}

async function compareRange(compared: Compared): Promise<Verified> {
  let rows = 0
  for (let round = 0; round < sumsMax; round += 1) {
    const there = await sumsOn(compared, sourcesOf(compared))
    await barrier(compared.movement)
    const here = await sumsOn(compared, targetsOf(compared))
    rows = there.rows
    if (areAlike(compared, there, here)) return { rows, differences: [] }
  }
  return { rows, differences: await differentRows(compared) }
}

/** One side of a comparison: shards, and how often each row of theirs counts; null: once. */
type Side = readonly { readonly shard: Place; readonly place: PlaceOf | null }[]

/** Reference tables are the same on all of them. */
function sourcesOf({ movement, table }: Compared): Side {
  const { sources, placeFrom, keeping } = movement
  const by = table.shardKey?.type
  if (by === undefined) return sources.slice(0, 1).map((shard) => ({ shard, place: null }))
  return sources.map((source) => {
    const { id } = source.shard
    // Where nothing stays every row of a key goes to one target, and need not be asked where.
    if (by !== 'hash' && !keeping.has(id)) return { shard: source, place: null }
    const place = placeFrom(id)
    return { shard: source, place: (key) => place(key, by) }
  })
}

const targetsOf = ({ movement }: Compared): Side => movement.targets.map((shard) => ({ shard, place: null }))

interface Sums {
  readonly rows: number
  readonly sum: bigint
}

async function sumsOn({ step, table, range, movement }: Compared, side: Side): Promise<Sums> {
  const sums = await Promise.all(
    side.map(({ shard, place }) =>
      step.engine.sumRange(shard.target, table, { range, place }, movement.signal),
    ),
  )
  return {
    rows: sums.reduce((total, { rows }) => total + rows, 0),
    sum: sums.reduce((total, { sum }) => total + BigInt(sum), 0n),
  }
}

function areAlike({ table, movement }: Compared, there: Sums, here: Sums): boolean {
  const copies = table.kind === 'reference' ? movement.targets.length : 1
  return there.rows * copies === here.rows && there.sum * BigInt(copies) === here.sum
}

/** Everything committed so far on the sources is on the targets. */
async function barrier({ movers, signal }: Movement): Promise<void> {
  await Promise.all(movers.map((mover) => mover.reach(signal)))
}

/** Rows of all places; the sum of one that lies on several says on how many. */
async function rowsOn(
  { step, table, range, movement }: Compared,
  side: Side,
  keys: readonly string[] | null,
): Promise<RowSums> {
  const found = await Promise.all(
    side.map(({ shard, place }) =>
      step.engine.sumRows(shard.target, table, { range, keys, place }, movement.signal),
    ),
  )
  const joined = new Map<string, string>()
  for (const rows of found) {
    for (const [key, sum] of rows) {
      const before = joined.get(key)
      joined.set(key, before === undefined ? sum : `${before} and ${sum}`)
    }
  }
  return joined
}

/** What a row of the source is to look like on the targets. */
function expected({ table, movement }: Compared, sum: string | undefined): string | undefined {
  if (sum === undefined || table.kind !== 'reference') return sum
  return movement.targets.map(() => sum).join(' and ')
}

async function differentRows(compared: Compared): Promise<readonly string[]> {
  const { movement, table } = compared
  const sources = sourcesOf(compared)
  const sightings = new Map<string, number>()
  let keys: readonly string[] | null = null
  for (let round = 0; round < roundsMax; round += 1) {
    const before = await rowsOn(compared, sources, keys)
    await barrier(movement)
    const here = await rowsOn(compared, targetsOf(compared), keys)
    const after = await rowsOn(compared, sources, keys)
    const looked: readonly string[] = keys ?? [
      ...new Set([...before.keys(), ...here.keys(), ...after.keys()]),
    ]
    keys = looked.filter((key) => {
      // Read between the two, the target's row is as the source's was then, or is by now.
      const sums = [before.get(key), after.get(key)].map((sum) => expected(compared, sum))
      if (sums.includes(here.get(key))) return false
      const isStill = sums[0] === sums[1]
      sightings.set(key, isStill ? (sightings.get(key) ?? 0) + 1 : 0)
      return true
    })
    if (keys.length === 0) return []
    if (keys.every((key) => (sightings.get(key) ?? 0) >= sightingsMin)) {
      return keys.slice(0, differencesMax).map((key) => `${table.name}: the row with the key ${key}`)
    }
  }
  throw new FleetError('shard_unavailable', `rows of ${table.name} change too fast to be compared`, {
    hint: 'the job tries again; it succeeds sooner with fewer writes to the same rows',
  })
}

/** Rows on a target that does not own their key. Nobody but the job writes there, so once is enough. */
async function misplaced(
  step: ReshardStep,
  movement: Movement,
  table: MovedTable,
): Promise<readonly string[]> {
  const { shardKey } = table
  if (shardKey === null) return []
  const found: string[] = []
  for (const [index, { shard, target }] of movement.targets.entries()) {
    const visit = (key: PlacingKey): void => {
      if (movement.place(key, shardKey.type).includes(index) || found.length >= differencesMax) return
      found.push(`${table.name}: a row on shard ${shard.id}, which does not own its key`)
    }
    await step.engine.eachKey(target, table, visit, movement.signal)
  }
  return found
}
