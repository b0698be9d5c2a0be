// The shard map that routers, clients and workers hold: built once per epoch from a keyspace's snapshot, then
// only read. Placement of a key is a hash, a table lookup and a short scan.
import { FleetError } from '../errors/fleet-error.ts'
import { formatHash, makeHash64 } from '../hash/hash64.ts'
import type { HashFunction } from '../hash/hash-function.ts'
import { HASHES } from '../hash/hashes.ts'
import type { Epoch, ShardId } from '../ids.ts'
import type { CanonicalKey, TypedKey } from '../key/canonical-key.ts'
import type { KeyspaceSnapshot, KeyType, ShardRecord, TableRecord } from '../model.ts'
import { buildRing, lookupRing, tokenOf, type HashRange, type Ring } from '../ring/ring.ts'
import { commonKeyType } from './key-type.ts'

/** Where one key lies. `hash` and `token` are unsigned decimal strings. */
export interface Location {
  readonly shard: ShardRecord
  /** Index of the vnode in this map; another epoch may number differently. */
  readonly vnode: number
  /** The vnode's token, which is stable over epochs; null under the `modulo` strategy. */
  readonly token: string | null
  readonly hash: string
  readonly epoch: Epoch
}

/** A part of the hash space with its owner; bounds are inclusive, unsigned decimal strings. */
export interface PlacedRange extends HashRange {
  readonly shard: ShardRecord
}

/** Ownership of a keyspace's keys at one epoch. Immutable; all methods are pure and never block. */
export interface ShardMap {
  readonly snapshot: KeyspaceSnapshot
  readonly epoch: Epoch
  readonly hash: HashFunction
  /** Every shard of the keyspace by its id, those without ranges too. */
  readonly shards: ReadonlyMap<ShardId, ShardRecord>
  /** The shards that own keys, in the order of the snapshot. */
  readonly owners: readonly ShardRecord[]
  /** Declared tables by their qualified name. */
  readonly tables: ReadonlyMap<string, TableRecord>
  /**
   * The type of a key that comes without its table: the sharded tables' common type (the widest, for integers),
   * `text` when none is declared, null when they differ, so that only the table can tell.
   */
  readonly keyType: KeyType | null
  /** The ring behind the map; null under the `modulo` strategy. */
  readonly ring: Ring | null
  readonly vnodeCount: number
  /** True while a shard has rows that it has given away: see `ShardRecord.leftovers`. */
  readonly hasLeftovers: boolean
  /** Index of the vnode that owns a hash, -1 when no shard owns anything. Allocates nothing. */
  lookup(hi: number, lo: number): number
  /** Hash and lookup in one: the vnode of a key, -1 when no shard owns anything. Allocates nothing. */
  vnodeOf(key: CanonicalKey, type: KeyType): number
  /** The shard that owns a vnode given by its index. */
  ownerOf(vnode: number): ShardRecord
  /** The shard that owns a key. Allocates nothing. @throws FleetError `no_shard` */
  shardFor(key: CanonicalKey, type: KeyType): ShardRecord
  /** All about a key's place, for answers and explanations. @throws FleetError `no_shard` */
  locate(key: CanonicalKey, type: KeyType): Location
  /**
   * The parts of the hash space where rows of that key may lie; one point as long as keys have one column.
   * @throws FleetError `no_shard`, `invalid_shard_key` when the key has another number of columns
   */
  place(key: readonly TypedKey[]): readonly PlacedRange[]
}

/** What answers "which vnode" under one strategy. */
interface Placement {
  readonly ring: Ring | null
  readonly vnodeCount: number
  readonly lookup: (hi: number, lo: number) => number
  /** Index into the shards that the placement was made from. */
  readonly shardAt: (vnode: number) => number
}

/**
 * The map of a snapshot. Under `ring` the shards with tokens own keys; under `modulo` the ids of the n shards are the
 * numbers from 0 to n-1, and a shard owns the keys whose hash leaves its number, in whatever order they are listed. A
 * keyspace without owners has a map too, which finds no shard.
 * @throws FleetError `corrupt_record` for broken tokens, missing numbers, or a hash that doesn't fit the strategy
 */
export function buildShardMap(snapshot: KeyspaceSnapshot): ShardMap {
  const { keyspace, epoch, shards } = snapshot
  const hash: HashFunction = HASHES[keyspace.hash]
  const placement = keyspace.strategy === 'ring' ? ringPlacement(snapshot, hash) : moduloPlacement(shards)
  const { ring, vnodeCount, lookup } = placement
  const ownerOf = (vnode: number): ShardRecord => shards[placement.shardAt(vnode)]!
  const cell = makeHash64()

  const vnodeOf = (key: CanonicalKey, type: KeyType): number => {
    hash.ofKey(key, type, cell)
    return lookup(cell.hi, cell.lo)
  }
  const shardFor = (key: CanonicalKey, type: KeyType): ShardRecord => {
    const vnode = vnodeOf(key, type)
    if (vnode < 0) throw noShard(snapshot)
    return ownerOf(vnode)
  }
  const locate = (key: CanonicalKey, type: KeyType): Location => {
    const vnode = vnodeOf(key, type)
    if (vnode < 0) throw noShard(snapshot)
    return {
      shard: ownerOf(vnode),
      vnode,
      token: ring === null ? null : tokenOf(ring, vnode).toString(),
      hash: formatHash(cell.hi, cell.lo),
      epoch,
    }
  }
  const place = (key: readonly TypedKey[]): readonly PlacedRange[] => {
    const [column] = key
    if (column === undefined || key.length > 1) throw wrongColumns(key.length)
    const { shard, hash: point } = locate(column.text, column.type)
    return [{ start: point, end: point, shard }]
  }
  return {
    snapshot,
    epoch,
    hash,
    shards: new Map(shards.map((shard) => [shard.id, shard])),
    hasLeftovers: shards.some(({ leftovers }) => leftovers !== undefined),
    owners: keyspace.strategy === 'ring' ? shards.filter((shard) => shard.vnodes !== '') : shards,
    tables: new Map(snapshot.tables.map((table) => [table.name, table])),
    keyType: commonKeyType(snapshot.tables),
    ring,
    vnodeCount,
    lookup,
    vnodeOf,
    ownerOf,
    shardFor,
    locate,
    place,
  }
}

function ringPlacement(snapshot: KeyspaceSnapshot, hash: HashFunction): Placement {
  if (hash.bits < 64) {
    throw new FleetError(
      'corrupt_record',
      `keyspace ${snapshot.keyspace.name} has hash ${hash.name} on a ring`,
      {
        hint: 'a ring needs a hash of 64 bits: murmur3, xxhash or postgres',
      },
    )
  }
  const ring = buildRing(snapshot.shards)
  return {
    ring,
    vnodeCount: ring.size,
    lookup: (hi, lo) => lookupRing(ring, hi, lo),
    shardAt: (vnode) => ring.owner[vnode]!,
  }
}

/** Most shards under `modulo`, so that the division below stays exact. */
const moduloShardsMax = 2 ** 20

function moduloPlacement(shards: readonly ShardRecord[]): Placement {
  const count = shards.length
  if (count > moduloShardsMax) throw new FleetError('corrupt_record', `${String(count)} shards are too many`)
  // (hi * 2^32 + lo) mod count; with that many shards the sum stays below 2^53.
  const highUnit = count === 0 ? 0 : 2 ** 32 % count
  const byNumber = indexesByNumber(shards)
  return {
    ring: null,
    vnodeCount: count,
    lookup: (hi, lo) => (count === 0 ? -1 : (hi * highUnit + lo) % count),
    shardAt: (vnode) => byNumber[vnode]!,
  }
}

/** Where the shard with each number stands in the list. A shard that is missing would shift the keys of all others. */
function indexesByNumber(shards: readonly ShardRecord[]): Uint32Array {
  const indexes = new Uint32Array(shards.length)
  const byId = new Map(shards.map(({ id }, index) => [String(id), index]))
  for (let number = 0; number < shards.length; number++) {
    const index = byId.get(String(number))
    if (index === undefined) {
      throw new FleetError(
        'corrupt_record',
        `there is no shard ${String(number)} among ${String(shards.length)}`,
        {
          hint: 'under modulo the ids of n shards are the numbers from 0 to n-1',
        },
      )
    }
    indexes[number] = index
  }
  return indexes
}

function noShard(snapshot: KeyspaceSnapshot): FleetError {
  return new FleetError('no_shard', `keyspace ${snapshot.keyspace.name} has no shard that owns keys`, {
    hint: 'create a shard: fleetshard shard create',
  })
}

function wrongColumns(count: number): FleetError {
  return new FleetError(
    'invalid_shard_key',
    `the shard key has one column, and ${String(count)} were given`,
    {
      hint: 'send one value',
    },
  )
}
