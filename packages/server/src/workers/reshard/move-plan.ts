// What changes hands, decided from the map alone: the ranges of the sources, which target gets which, and the lookup
// by which copy, stream and verification place a key. Pure, so that every run and the flip come to the same.
import { createHash } from 'node:crypto'
import {
  addShard,
  buildRing,
  buildShardMap,
  FleetError,
  HASHES,
  makeHash64,
  type CanonicalKey,
  mergeShards,
  splitShard,
  type KeyspaceSnapshot,
  type RangeMove,
  type ReceivingShard,
  type Ring,
  type RingChange,
  type ShardId,
} from '@fleetshard/core'
import type { PlacedBy, PlacingKey, ReshardJobDetail } from '../../engine/mod.ts'

/** The ranges of a job at one state of the map. */
export interface MovePlan {
  readonly change: RingChange
  /** The same for the same moves, in any process. */
  readonly digest: string
  /** Sources that keep a part of their ranges. */
  readonly keeping: ReadonlySet<ShardId>
}

/**
 * Which targets (by position) a row belongs to: the one that owns its key; all of them without a hash.
 * @throws FleetError `reshard_refused` for a key that no source owns
 */
export type Place = (key: PlacingKey, by: PlacedBy) => readonly number[]

/** @throws FleetError `reshard_refused` where the map does not allow the job (any more) */
export function planMoves(
  snapshot: KeyspaceSnapshot,
  detail: Pick<ReshardJobDetail, 'kind' | 'sources' | 'targets' | 'splitPoint' | 'keepSource'>,
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
  const change = changeOf(ring, detail, { source, target, targets })
  const stranger = change.moves.find(({ from }) => from === null || !detail.sources.includes(from))
  if (stranger !== undefined) {
    throw new FleetError('reshard_refused', 'the ranges of another shard would move as well', {
      hint: 'start the move again: the ring is not what it was',
    })
  }
  const after = new Map(ring.shards.map(({ id, vnodes }) => [id, vnodes]))
  for (const [id, vnodes] of change.vnodes) after.set(id, vnodes)
  return {
    change,
    digest: createHash('sha256').update(JSON.stringify(change.moves)).digest('hex'),
    keeping: new Set(detail.sources.filter((id) => after.get(id) !== '')),
  }
}

function changeOf(
  ring: Ring,
  { kind, sources, splitPoint, keepSource = false }: Parameters<typeof planMoves>[1],
  {
    source,
    target,
    targets,
  }: {
    readonly source: ShardId
    readonly target: ReceivingShard
    readonly targets: readonly ReceivingShard[]
  },
): RingChange {
  if (kind === 'rebalance') return addShard(ring, target)
  if (kind !== 'split') return mergeShards(ring, { sources, target })
  return splitShard(ring, { source, targets, keepSource, ...(splitPoint === null ? {} : { splitPoint }) })
}

/** What a lookup is made of. */
export interface PlaceParts {
  /** Before the flip. */
  readonly snapshot: KeyspaceSnapshot
  readonly moves: readonly RangeMove[]
  readonly targets: readonly ShardId[]
  /** Sources that keep a part: rows of theirs that do not move belong to no target. */
  readonly keeping: ReadonlySet<ShardId>
}

/** The lookup for the rows of one source. */
export function createPlaceFrom(parts: PlaceParts, source: ShardId): Place {
  return createPlace({
    ...parts,
    moves: parts.moves.filter(({ from }) => from === source),
    keeping: new Set(parts.keeping.has(source) ? [source] : []),
  })
}

/** The lookup of a plan. Allocates nothing for keys. */
export function createPlace({ snapshot, moves, targets, keeping }: PlaceParts): Place {
  const map = buildShardMap(snapshot)
  const hash = HASHES[snapshot.keyspace.hash]
  const all = targets.map((_, index) => index)
  const single = all.map((index) => [index])
  const none: readonly number[] = []
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
    if (keeping.size > 0 && keeping.has(map.ownerOf(map.lookup(cell.hi, cell.lo)).id)) return none
    throw new FleetError('reshard_refused', 'a source holds a row whose key it does not own', {
      hint: 'look for rows that were written past the routers, and move them to their shard',
    })
  }
}

/** Whether a shard owns a key, by the map as it is. */
export function createOwnership(
  snapshot: KeyspaceSnapshot,
  shard: ShardId,
): (key: CanonicalKey, by: PlacedBy) => boolean {
  const map = buildShardMap(snapshot)
  const cell = makeHash64()
  return (key, by) => {
    if (by === 'hash') readHash(key, cell)
    else map.hash.ofKey(key, by, cell)
    return map.ownerOf(map.lookup(cell.hi, cell.lo)).id === shard
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
