// Rings of keyspaces: built when somebody asks who owns what, and dealt to new shards without being built.
import {
  buildRing,
  createRingDealer,
  rangesByShard,
  rangesOf,
  type HashRange,
  type KeyspaceSnapshot,
  type RangeMove,
  type ReceivingShard,
  type Ring,
  type RingDealer,
  type RingShard,
  type ShardId,
} from '@fleetshard/core'

/** The place of a new shard. */
export interface DealtPlace {
  /** Its packed tokens. */
  readonly vnodes: string
  /** What it owns: ascending, merged. */
  readonly ranges: readonly HashRange[]
}

/** Ownership in keyspaces. */
export interface Rings {
  /** What one shard owns: ascending, merged. */
  ranges(snapshot: KeyspaceSnapshot, shard: ShardId): readonly HashRange[]
  /** The same of all shards that own something, in one pass. */
  rangesOfAll(snapshot: KeyspaceSnapshot): ReadonlyMap<ShardId, readonly HashRange[]>
  /** The shards that own exactly one range, with it. */
  contiguous(snapshot: KeyspaceSnapshot): ReadonlyMap<ShardId, HashRange>
  /** The place of a shard that joins; changes nothing. @throws FleetError `conflict` when it has one already */
  deal(snapshot: KeyspaceSnapshot, shard: ReceivingShard): DealtPlace
}

/** A ring and what was made from it. */
interface BuiltRing {
  readonly ring: Ring
  contiguous: ReadonlyMap<ShardId, HashRange> | null
}

/** A dealer and the owners that it has reached. */
interface Dealing {
  readonly dealer: RingDealer
  readonly owners: Map<ShardId, string>
}

/** Holds, for each keyspace, the ring that was asked for last and the dealer that dealt last. */
export function createRings(): Rings {
  const built = new Map<string, BuiltRing>()
  const dealings = new Map<string, Dealing>()

  function ringOf({ keyspace, shards }: KeyspaceSnapshot): BuiltRing {
    const owners = shards.filter(({ vnodes }) => vnodes !== '')
    const known = built.get(keyspace.name)
    if (known !== undefined && sameOwners(known.ring.shards, owners)) return known
    const made = { ring: buildRing(owners), contiguous: null }
    built.set(keyspace.name, made)
    return made
  }

  function dealingOf(snapshot: KeyspaceSnapshot): Dealing {
    const { name } = snapshot.keyspace
    const owners = snapshot.shards.filter(({ vnodes }) => vnodes !== '')
    const known = dealings.get(name)
    // One that has dealt more (its commit failed) or less (another manager dealt) begins anew.
    if (
      known?.owners.size === owners.length &&
      owners.every(({ id, vnodes }) => known.owners.get(id) === vnodes)
    ) {
      return known
    }
    const made = {
      dealer: createRingDealer(ringOf(snapshot).ring),
      owners: new Map(owners.map(({ id, vnodes }) => [id, vnodes])),
    }
    dealings.set(name, made)
    return made
  }

  return {
    ranges: (snapshot, shard) => rangesOf(ringOf(snapshot).ring, shard),
    rangesOfAll: (snapshot) => rangesByShard(ringOf(snapshot).ring),
    contiguous(snapshot) {
      const found = ringOf(snapshot)
      found.contiguous ??= contiguousOf(found.ring)
      return found.contiguous
    },
    deal(snapshot, shard) {
      const dealing = dealingOf(snapshot)
      const { vnodes, moves } = dealing.dealer.add(shard)
      const own = vnodes.get(shard.id) ?? ''
      dealing.owners.set(shard.id, own)
      return { vnodes: own, ranges: mergedRanges(moves) }
    },
  }
}

/** Unchanged records keep their texts, so that this compares pointers. */
function sameOwners(before: readonly RingShard[], after: readonly RingShard[]): boolean {
  return (
    before.length === after.length &&
    before.every((shard, index) => {
      const other = after[index]
      return other !== undefined && other.id === shard.id && other.vnodes === shard.vnodes
    })
  )
}

function contiguousOf(ring: Ring): ReadonlyMap<ShardId, HashRange> {
  const found = new Map<ShardId, HashRange>()
  for (const [shard, [only, ...others]] of rangesByShard(ring)) {
    if (only !== undefined && others.length === 0) found.set(shard, only)
  }
  return found
}

/** Moves to one shard as its ranges: neighbours from different shards are one. */
function mergedRanges(moves: readonly RangeMove[]): HashRange[] {
  const merged: { start: string; end: string }[] = []
  for (const { start, end } of moves) {
    const last = merged.at(-1)
    if (last !== undefined && BigInt(last.end) + 1n === BigInt(start)) last.end = end
    else merged.push({ start, end })
  }
  return merged
}
