// What changes hands, decided from the map alone: the ranges of the sources, which target gets which, and the lookup
// by which copy, stream and verification place a key. Pure, so that every run and the flip come to the same.
import { createHash } from 'node:crypto'
import {
  buildRing,
  FleetError,
  HASHES,
  makeHash64,
  mergeShards,
  splitShard,
  type KeyspaceSnapshot,
  type RangeMove,
  type RingChange,
  type ShardId,
} from '@fleetshard/core'
import type { PlacedBy, PlacingKey, ReshardJobDetail } from '../../engine/mod.ts'

/** The ranges of a job at one state of the map. */
export interface MovePlan {
  readonly change: RingChange
  /** The same for the same moves, in any process. */
  readonly digest: string
}

/**
 * Which targets (by position) a row belongs to: the one that owns its key; all of them without a hash.
 * @throws FleetError `reshard_refused` for a key that no source owns
 */
export type Place = (key: PlacingKey, by: PlacedBy) => readonly number[]

/** @throws FleetError `reshard_refused` where the map does not allow the job (any more) */
export function planMoves(
  snapshot: KeyspaceSnapshot,
  detail: Pick<ReshardJobDetail, 'kind' | 'sources' | 'targets' | 'splitPoint'>,
): MovePlan {
  if (snapshot.keyspace.strategy !== 'ring') {
    throw new FleetError(
      'reshard_refused',
      'a keyspace that places keys by modulo cannot be moved in parts',
      {
        hint: 'create a keyspace on the ring and copy the rows there',
      },
    )
  }
  const ring = buildRing(snapshot.shards.filter(({ vnodes }) => vnodes !== ''))
  const targets = detail.targets.map(({ shard, vnodeCount }) => ({ id: shard, vnodeCount }))
  const [source] = detail.sources
  const [target] = targets
  if (source === undefined || target === undefined) throw new FleetError('internal', 'a move without an end')
  const change =
    detail.kind === 'split'
      ? splitShard(ring, {
          source,
          targets,
          ...(detail.splitPoint === null ? {} : { splitPoint: detail.splitPoint }),
        })
      : mergeShards(ring, { sources: detail.sources, target })
  return { change, digest: createHash('sha256').update(JSON.stringify(change.moves)).digest('hex') }
}

/** The lookup of a plan. Allocates nothing for keys. */
export function createPlace(
  snapshot: KeyspaceSnapshot,
  moves: readonly RangeMove[],
  targets: readonly ShardId[],
): Place {
  const hash = HASHES[snapshot.keyspace.hash]
  const all = targets.map((_, index) => index)
  const single = all.map((index) => [index])
  const cell = makeHash64()
  const table = moves.map(({ start, end, to }) => ({
    start: BigInt(start),
    end: BigInt(end),
    places: single[targets.indexOf(to)] ?? [],
  }))
  const halves = (bounds: readonly bigint[]) => ({
    hi: Uint32Array.from(bounds, (bound) => Number(bound >> 32n)),
    lo: Uint32Array.from(bounds, (bound) => Number(bound & 0xffff_ffffn)),
  })
  const starts = halves(table.map(({ start }) => start))
  const ends = halves(table.map(({ end }) => end))
  const isAbove = (bounds: typeof starts, index: number): boolean => {
    const hi = bounds.hi[index] ?? 0
    return cell.hi > hi || (cell.hi === hi && cell.lo > (bounds.lo[index] ?? 0))
  }
  return (key, by) => {
    if (key === null) return all
    if (by === 'hash') readHash(key, cell)
    else hash.ofKey(key, by, cell)
    // The first range that does not end before the hash.
    let [low, high] = [0, table.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isAbove(ends, middle)) low = middle + 1
      else high = middle
    }
    const found = table[low]
    if (found !== undefined && !isBelow(starts, low, cell)) return found.places
    throw new FleetError('reshard_refused', 'a source holds a row whose key it does not own', {
      hint: 'look for rows that were written past the routers, and move them to their shard',
    })
  }
}

/** @throws FleetError `corrupt_record` */
function readHash(text: string, cell: { hi: number; lo: number }): void {
  if (!/^[0-9]{1,20}$/.test(text)) throw new FleetError('corrupt_record', 'a stored hash is not a number')
  const hash = BigInt(text)
  cell.hi = Number(BigInt.asUintN(32, hash >> 32n))
  cell.lo = Number(BigInt.asUintN(32, hash))
}

function isBelow(
  bounds: { readonly hi: Uint32Array; readonly lo: Uint32Array },
  index: number,
  cell: { readonly hi: number; readonly lo: number },
): boolean {
  const hi = bounds.hi[index] ?? 0
  return cell.hi < hi || (cell.hi === hi && cell.lo < (bounds.lo[index] ?? 0))
}
