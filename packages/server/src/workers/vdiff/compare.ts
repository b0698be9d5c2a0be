// The comparison of one table. What is found at first may be a write on its way: it counts only if it is still there
// when it is looked at again.
import { parseKey, type KeyType, type ShardMap } from '@fleetshard/core'
import {
  vdiffDifferencesMax,
  vdiffKinds,
  vdiffSamplesMax,
  type ComparedRow,
  type ComparedTable,
  type TableSum,
  type VdiffKind,
  type VdiffTable,
} from '../../engine/mod.ts'
import { mergedRows, type KeyRows, type Place } from './merge.ts'

/** A table, and by what its rows are placed; null for a reference table. */
export interface TableUnderTest {
  readonly table: ComparedTable
  readonly keyType: KeyType | null
}

/** Looks at what differs, each time on what differed before. */
const looksMax = 3
const pauseMs = 200
const keyCharsMax = 200
/** Keys that are looked at again in one statement. */
const keysAtOnce = 500

interface Difference {
  readonly kind: VdiffKind
  readonly key: string
  readonly shards: readonly string[]
}

/** Judges one key's rows; null when nothing is wrong with them. */
type Judge = (found: KeyRows) => Omit<Difference, 'key'> | null

/** Waits a little, or rejects with the reason of whoever gives up. */
export type Pause = (ms: number) => Promise<void>

/** The shards of a keyspace: rows on their key's owner, keys once, reference tables alike. */
export async function compareShards(
  { table, keyType }: TableUnderTest,
  places: readonly Place[],
  { map, pause }: { readonly map: ShardMap; readonly pause: Pause },
): Promise<VdiffTable> {
  const sums = await sumsOf(table, places)
  if (keyType === null) {
    const rows = Math.max(0, ...sums.map((sum) => sum.rows))
    if (areAlike(sums)) return resultOf(table, rows, [])
    const judge = judgeAlike(places.map(({ shard }) => shard))
    return resultOf(table, rows, await persisting(table, places, judge, pause))
  }
  const rows = sums.reduce((total, sum) => total + sum.rows, 0)
  const judge = judgePlaced(map, keyType)
  // A row that lies where its key belongs cannot lie elsewhere as well, if the shard key is part of its key.
  const isTold = table.shardKey !== null && table.key.includes(table.shardKey)
  return resultOf(
    table,
    rows,
    isTold ? await misplaced(table, places, judge, pause) : await persisting(table, places, judge, pause),
  )
}

/** Sources and targets of a job that moved rows. */
export async function compareSides(
  { table, keyType }: TableUnderTest,
  { sources, targets }: { readonly sources: readonly Place[]; readonly targets: readonly Place[] },
  pause: Pause,
): Promise<VdiffTable> {
  // Reference tables are the same on all sources, and on all targets.
  const from = keyType === null ? sources.slice(0, 1) : sources
  const [there, here] = [await sumsOf(table, from), await sumsOf(table, targets)]
  const rows = there.reduce((sum, one) => sum + one.rows, 0)
  if (keyType === null ? areAlike([...there, ...here]) : areAlike([added(there), added(here)])) {
    return resultOf(table, rows, [])
  }
  const sourceNames = new Set(from.map(({ shard }) => shard))
  const copies = keyType === null ? targets.length : 1
  const judge = judgeSides(sourceNames, copies)
  return resultOf(table, rows, await persisting(table, [...from, ...targets], judge, pause))
}

const sumsOf = (table: ComparedTable, places: readonly Place[]): Promise<readonly TableSum[]> =>
  Promise.all(places.map(({ reader }) => reader.sum(table)))

const added = (sums: readonly TableSum[]): TableSum => ({
  rows: sums.reduce((total, { rows }) => total + rows, 0),
  sum: sums.reduce((total, { sum }) => total + sum, 0n),
})

const areAlike = ([first, ...others]: readonly TableSum[]): boolean =>
  others.every(({ rows, sum }) => rows === first?.rows && sum === first.sum)

const shardsOf = ({ rows }: KeyRows): readonly string[] => rows.map(({ shard }) => shard)

function judgeAlike(all: readonly string[]): Judge {
  return (found) => {
    const have = shardsOf(found)
    const lacking = all.filter((shard) => !have.includes(shard))
    if (lacking.length > 0) return { kind: 'missing', shards: lacking }
    const [first, ...others] = found.rows
    const unlike = others.filter(({ row }) => row.hash !== first?.row.hash)
    return unlike.length === 0 ? null : { kind: 'different', shards: unlike.map(({ shard }) => shard) }
  }
}

function judgePlaced(map: ShardMap, type: KeyType): Judge {
  const isStrange = ({ shard, row }: KeyRows['rows'][number]): boolean =>
    row.shardKey === null || map.shardFor(parseKey(row.shardKey, type), type).id !== shard
  return (found) => {
    const strange = found.rows.filter(isStrange)
    if (strange.length > 0) return { kind: 'misplaced', shards: strange.map(({ shard }) => shard) }
    return found.rows.length > 1 ? { kind: 'duplicated', shards: shardsOf(found) } : null
  }
}

function judgeSides(sources: ReadonlySet<string>, copies: number): Judge {
  return (found) => {
    const there = found.rows.filter(({ shard }) => sources.has(shard))
    const here = found.rows.filter(({ shard }) => !sources.has(shard))
    const shards = shardsOf(found)
    if (there.length === 0) return { kind: 'extra', shards }
    if (here.length < copies * there.length) return { kind: 'missing', shards }
    if (here.length > copies * there.length) return { kind: 'duplicated', shards }
    const [first] = there
    return here.every(({ row }) => row.hash === first?.row.hash) ? null : { kind: 'different', shards }
  }
}

/** Rows in the wrong place, in whatever order they come. */
async function misplaced(
  table: ComparedTable,
  places: readonly Place[],
  judge: Judge,
  pause: Pause,
): Promise<readonly Difference[]> {
  const found: Difference[] = []
  for (const { shard, reader } of places) {
    for await (const part of reader.rows(table, { isOrdered: false })) {
      for (const row of part) {
        const judged = judge({ key: row.key, rows: [{ shard, row }] })
        if (judged !== null && found.length <= vdiffDifferencesMax) found.push({ ...judged, key: row.key })
      }
    }
  }
  return lookAgain(table, places, { judge, pause, found })
}

async function persisting(
  table: ComparedTable,
  places: readonly Place[],
  judge: Judge,
  pause: Pause,
): Promise<readonly Difference[]> {
  const found: Difference[] = []
  for await (const one of mergedRows(table, places)) {
    const judged = judge(one)
    if (judged !== null && found.length <= vdiffDifferencesMax) found.push({ ...judged, key: one.key })
  }
  return lookAgain(table, places, { judge, pause, found })
}

/** Those that stay. One more than are counted is kept: then there are more. */
async function lookAgain(
  table: ComparedTable,
  places: readonly Place[],
  { judge, pause, found }: { readonly judge: Judge; readonly pause: Pause; found: readonly Difference[] },
): Promise<readonly Difference[]> {
  let left = found
  for (let look = 1; look <= looksMax && left.length > 0; look += 1) {
    await pause(pauseMs)
    const keys = left.map(({ key }) => key)
    const now = await currentRows(table, places, keys)
    left = keys.flatMap((key) => {
      const judged = judge({ key, rows: now.get(key) ?? [] })
      // Gone everywhere is nothing to be wrong.
      return judged === null || (now.get(key) ?? []).length === 0 ? [] : [{ ...judged, key }]
    })
  }
  return left
}

async function currentRows(
  table: ComparedTable,
  places: readonly Place[],
  keys: readonly string[],
): Promise<ReadonlyMap<string, KeyRows['rows']>> {
  const found = new Map<string, { readonly shard: string; readonly row: ComparedRow }[]>()
  for (let at = 0; at < keys.length; at += keysAtOnce) {
    const part = keys.slice(at, at + keysAtOnce)
    for (const { shard, reader } of places) {
      for (const row of await reader.rowsOf(table, part)) {
        const rows = found.get(row.key)
        if (rows === undefined) found.set(row.key, [{ shard, row }])
        else rows.push({ shard, row })
      }
    }
  }
  return found
}

function resultOf(table: ComparedTable, rows: number, differences: readonly Difference[]): VdiffTable {
  const counted = differences.slice(0, vdiffDifferencesMax)
  const counts = Object.fromEntries(
    vdiffKinds.map((kind) => [kind, counted.filter((one) => one.kind === kind).length]),
  ) as Record<VdiffKind, number>
  return {
    name: table.name,
    rows,
    ...counts,
    isCut: differences.length > counted.length,
    samples: counted.slice(0, vdiffSamplesMax).map(({ kind, key, shards }) => ({
      kind,
      key: key.slice(0, keyCharsMax),
      shards: [...new Set(shards)].slice(0, 16),
    })),
  }
}
