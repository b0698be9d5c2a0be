// Rows in batches that one shard takes each, and several batches under way at once.
import { parseKey, toFleetError, type KeyType, type ShardMap } from '@fleetshard/core'
import type { Stage } from './act.ts'
import type { DataSet, Row } from './data-set.ts'

/** Rows of one table that one shard owns. */
export interface Batch {
  readonly dataSet: DataSet
  /** Id of the shard. */
  readonly shard: string
  readonly rows: readonly [Row, ...Row[]]
}

/** After that many failures the rest is not tried: they would fail as well. */
const failuresMax = 10

/** Id of the shard that owns the key. @throws FleetError `no_shard` */
export function ownerOf(map: ShardMap, key: string, type: KeyType): string {
  return map.shardFor(parseKey(key, type), type).id
}

/** All rows in batches of at most `rowsMax`, those of different shards taking turns. */
export function batchesOf(dataSets: readonly DataSet[], map: ShardMap, rowsMax: number): readonly Batch[] {
  const turns = dataSets.flatMap((dataSet) => {
    const byShard = Map.groupBy(dataSet.rows, ([key]) => ownerOf(map, key, dataSet.keyType))
    return [...byShard].flatMap(([shard, rows]) =>
      chunksOf(rows, rowsMax).map((chunk, turn) => ({ turn, batch: { dataSet, shard, rows: chunk } })),
    )
  })
  return turns.sort((a, b) => a.turn - b.turn).map(({ batch }) => batch)
}

function chunksOf(rows: readonly Row[], rowsMax: number): readonly Batch['rows'][] {
  const chunks: Batch['rows'][] = []
  for (let from = 0; from < rows.length; from += rowsMax) {
    const [first, ...rest] = rows.slice(from, from + rowsMax)
    if (first !== undefined) chunks.push([first, ...rest])
  }
  return chunks
}

/**
 * Works through the items, `lanes` at once, and returns what failed and why. One failure does not stop the others.
 * @throws the signal's reason when it aborts
 */
export async function inLanes<T>(
  items: readonly T[],
  lanes: number,
  signal: AbortSignal,
  work: (item: T) => Promise<void>,
): Promise<readonly string[]> {
  const failures: string[] = []
  const left = items.values()
  const lane = async (): Promise<void> => {
    for (const item of left) {
      if (signal.aborted || failures.length >= failuresMax) return
      try {
        await work(item)
      } catch (error) {
        failures.push(toFleetError(error).message)
      }
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  signal.throwIfAborted()
  return failures
}

/** Tells of long work at most `progressSteps` times: call the function with how much is done. */
export function progressOf(
  { progressSteps }: Stage,
  total: number,
  tell: (done: number) => void,
): (done: number) => void {
  let told = 0
  return (done) => {
    const step = Math.floor((done / total) * progressSteps)
    if (step === told) return
    told = step
    tell(done)
  }
}
