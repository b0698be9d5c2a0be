// The hash ring as sorted typed arrays: every token of every shard, with a table by the top bits of the hash so
// that finding a hash's owner takes one step, not a search.
import { FleetError } from '../errors/fleet-error.ts'
import type { ShardId } from '../ids.ts'
import { countTokens, unpackInto } from './tokens.ts'

/** What of a shard's record the ring is made from. */
export interface RingShard {
  readonly id: ShardId
  /** Packed tokens, see ShardRecord.vnodes. */
  readonly vnodes: string
}

/** A part of the hash space; bounds are inclusive, unsigned decimal strings, start ≤ end. */
export interface HashRange {
  readonly start: string
  readonly end: string
}

/**
 * All tokens in ascending order, as halves, with their owners. A token owns (previous token, token]; the lowest
 * also owns what lies above the highest.
 */
export interface Ring {
  /** In the order given; also those without tokens. */
  readonly shards: readonly RingShard[]
  readonly size: number
  readonly hi: Uint32Array
  readonly lo: Uint32Array
  /** Index into `shards` of each token's owner. */
  readonly owner: Uint32Array
  /** `firstAt[b]` is the first token whose top bits are ≥ b. */
  readonly firstAt: Uint32Array
  /** How far `hi` is shifted right to give the top bits. */
  readonly shift: number
}

/** Buckets of more tokens than this are searched by halving instead of one by one. */
const scanMax = 8
/** Buckets of more tokens than this are not sorted by insertion. */
const insertionMax = 32
/** The index has at most 2^20 buckets: 4 MB. */
const indexBitsMax = 20

/**
 * The ring of these shards.
 * @throws FleetError `corrupt_record` for tokens that are not ascending 64-bit words or that two shards share
 */
export function buildRing(shards: readonly RingShard[]): Ring {
  const size = shards.reduce((sum, shard) => sum + countTokens(shard.vnodes), 0)
  const unsorted = { hi: new Uint32Array(size), lo: new Uint32Array(size), owner: new Uint32Array(size) }
  let at = 0
  for (const [index, shard] of shards.entries()) {
    const count = unpackInto(shard.vnodes, unsorted.hi, unsorted.lo, at)
    unsorted.owner.fill(index, at, at + count)
    at += count
  }
  const bits = Math.min(indexBitsMax, Math.max(1, Math.ceil(Math.log2(size + 1))))
  return sortByBuckets(shards, unsorted, 32 - bits)
}

interface Tokens {
  readonly hi: Uint32Array
  readonly lo: Uint32Array
  readonly owner: Uint32Array
}

// A counting sort by the top bits gives the index on the way; what shares a bucket is then put in order.
function sortByBuckets(shards: readonly RingShard[], unsorted: Tokens, shift: number): Ring {
  const size = unsorted.hi.length
  const firstAt = new Uint32Array(2 ** (32 - shift) + 1)
  for (let i = 0; i < size; i++) firstAt[(unsorted.hi[i]! >>> shift) + 1]!++
  for (let b = 1; b < firstAt.length; b++) firstAt[b] = firstAt[b]! + firstAt[b - 1]!
  const next = firstAt.slice()
  const sorted = { hi: new Uint32Array(size), lo: new Uint32Array(size), owner: new Uint32Array(size) }
  for (let i = 0; i < size; i++) {
    const to = next[unsorted.hi[i]! >>> shift]!++
    sorted.hi[to] = unsorted.hi[i]!
    sorted.lo[to] = unsorted.lo[i]!
    sorted.owner[to] = unsorted.owner[i]!
  }
  for (let b = 1; b < firstAt.length; b++) sortSlice(sorted, firstAt[b - 1]!, firstAt[b]!)
  const ring: Ring = { shards, size, ...sorted, firstAt, shift }
  refuseDuplicates(ring)
  return ring
}

// Buckets hold about one token, so insertion is right; tokens crowded by many splits take the general sort.
function sortSlice(tokens: Tokens, from: number, to: number): void {
  if (to - from > insertionMax) return sortCrowded(tokens, from, to)
  const { hi, lo, owner } = tokens
  for (let i = from + 1; i < to; i++) {
    const [tokenHi, tokenLo, tokenOwner] = [hi[i]!, lo[i]!, owner[i]!]
    let at = i
    for (; at > from; at--) {
      if (hi[at - 1]! < tokenHi || (hi[at - 1]! === tokenHi && lo[at - 1]! <= tokenLo)) break
      hi[at] = hi[at - 1]!
      lo[at] = lo[at - 1]!
      owner[at] = owner[at - 1]!
    }
    hi[at] = tokenHi
    lo[at] = tokenLo
    owner[at] = tokenOwner
  }
}

function sortCrowded(tokens: Tokens, from: number, to: number): void {
  const order = Array.from({ length: to - from }, (_, i) => from + i)
  order.sort((a, b) => tokens.hi[a]! - tokens.hi[b]! || tokens.lo[a]! - tokens.lo[b]!)
  for (const column of [tokens.hi, tokens.lo, tokens.owner]) {
    column.set(
      order.map((i) => column[i]!),
      from,
    )
  }
}

function refuseDuplicates(ring: Ring): void {
  for (let i = 1; i < ring.size; i++) {
    if (ring.hi[i] === ring.hi[i - 1] && ring.lo[i] === ring.lo[i - 1]) {
      const [first, second] = [ring.shards[ring.owner[i - 1]!]!.id, ring.shards[ring.owner[i]!]!.id]
      throw new FleetError(
        'corrupt_record',
        `shards ${first} and ${second} share token ${String(tokenOf(ring, i))}`,
      )
    }
  }
}

/** Index of the token that owns a hash given by its unsigned halves; -1 for an empty ring. Allocates nothing. */
export function lookupRing(ring: Ring, hi: number, lo: number): number {
  const bucket = hi >>> ring.shift
  let from = ring.firstAt[bucket]!
  let to = ring.firstAt[bucket + 1]!
  while (to - from > scanMax) {
    const middle = (from + to) >>> 1
    if (isBelow(ring, middle, hi, lo)) from = middle + 1
    else to = middle
  }
  while (from < to && isBelow(ring, from, hi, lo)) from++
  if (from < ring.size) return from
  return ring.size === 0 ? -1 : 0
}

/** True when the token at that index is less than the hash. */
function isBelow(ring: Ring, index: number, hi: number, lo: number): boolean {
  const tokenHi = ring.hi[index]!
  return tokenHi < hi || (tokenHi === hi && ring.lo[index]! < lo)
}

/** The token at an index. */
export function tokenOf(ring: Ring, index: number): bigint {
  return (BigInt(ring.hi[index]!) << 32n) | BigInt(ring.lo[index]!)
}
