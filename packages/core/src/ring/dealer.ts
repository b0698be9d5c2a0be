// Gives new shards their places on a ring, one after the other. Only the new shard's record changes: each of its
// tokens takes the front part of one arc, since a token owns what lies between the previous token and itself.
import { FleetError } from '../errors/fleet-error.ts'
import { makeHash64 } from '../hash/hash64.ts'
import { murmur3 } from '../hash/murmur3.ts'
import type { ShardId } from '../ids.ts'
import { hashMax, vnodeLength, type Span } from './ranges.ts'
import {
  equalParts,
  toRangeMoves,
  vnodeCountOf,
  type ReceivingShard,
  type RingChange,
  type SpanMove,
} from './ring-change.ts'
import { tokenOf, type Ring } from './ring.ts'
import { packTokens, tokensPerShardMax, vnodeCountDefault } from './tokens.ts'

const hashSpace = 2 ** 64
/** Pieces differ by up to this part of their length, so that two shards never pick the same tokens. */
const spread = 1 / 256
/** Largest part of an arc that is taken, so that no sliver is left that would never hold a key. */
const pieceMax = 15 / 16
/** Part of its share that a shard may be short of. */
const shareMissed = 1 / 256

/** A ring that shards are added to, without building it anew for each. It is of no use after an error. */
export interface RingDealer {
  /**
   * Adds a shard as the (n+1)th owner, with 1/(n+1) of the hash space.
   * @throws FleetError `conflict` when the shard has tokens already
   */
  add(shard: ReceivingShard): RingChange
}

/** The ring of a keyspace's first owner: the whole hash space in equal vnodes. */
export function firstShard(shard: ReceivingShard): RingChange {
  const whole = { start: 0n, end: hashMax }
  const tokens = equalParts(whole, vnodeCountOf(shard, vnodeCountDefault)).map((part) => part.end)
  return {
    vnodes: new Map([[shard.id, packTokens(tokens)]]),
    moves: toRangeMoves([{ ...whole, from: null, to: shard.id }]),
  }
}

/**
 * A dealer that begins with this ring. Each piece comes from the shard that owns the most by then, which leaves all
 * of them even; which of its arcs is cut is drawn by the new shard's id. The same ring and shards always give the
 * same tokens, in whatever order the ring lists its shards.
 */
export function createRingDealer(ring: Ring): RingDealer {
  return new ArcTable(ring)
}

/** A shard that owns something: its arcs by their number, and what is left of each, as lengths to choose by. */
interface Owner {
  readonly id: ShardId
  readonly arcs: number[]
  readonly lengths: number[]
  total: number
}

/** One token of a new shard and the arc that it ends. */
interface Piece {
  readonly start: bigint
  readonly end: bigint
  readonly length: number
}

// Arcs of the ring have the number of their vnode; those of shards that were added count on from there.
class ArcTable implements RingDealer {
  readonly #ring: Ring
  /** Where arcs begin that were cut or added; the others begin where the ring says. */
  readonly #starts = new Map<number, bigint>()
  readonly #owners: Owner[]
  #nextArc: number

  constructor(ring: Ring) {
    this.#ring = ring
    this.#owners = ownersOf(ring)
    this.#nextArc = ring.size
  }

  add(shard: ReceivingShard): RingChange {
    if (this.#owners.some(({ id }) => id === shard.id)) {
      throw new FleetError('conflict', `shard ${shard.id} has its place on the ring already`, {
        hint: 'add shards that own nothing',
      })
    }
    const count = vnodeCountOf(shard, vnodeCountDefault)
    if (this.#owners.length === 0) return this.#addFirst(shard, count)
    const pieces: Piece[] = []
    const moves: SpanMove[] = []
    const share = hashSpace / (this.#owners.length + 1)
    let missing = share
    // Where arcs are shorter than the pieces wanted, it takes more of them.
    for (let i = 0; i < count || (missing > share * shareMissed && i < tokensPerShardMax); i++) {
      draw(shard.id, i)
      const owner = heaviest(this.#owners)
      const piece = this.#take(owner, missing / Math.max(1, count - i))
      missing -= piece.length
      pieces.push(piece)
      for (const span of unwrap(piece.start, piece.end)) moves.push({ ...span, from: owner.id, to: shard.id })
    }
    this.#enter(shard.id, pieces)
    return {
      vnodes: new Map([[shard.id, packTokens(pieces.map(({ end }) => end))]]),
      moves: toRangeMoves(moves),
    }
  }

  #addFirst(shard: ReceivingShard, count: number): RingChange {
    const parts = equalParts({ start: 0n, end: hashMax }, count)
    this.#enter(
      shard.id,
      parts.map(({ start, end }) => ({ start, end, length: Number(end - start + 1n) })),
    )
    return firstShard(shard)
  }

  /** Takes about `wantedLength` off one of the owner's arcs, as the draw has it. */
  #take(owner: Owner, wantedLength: number): Piece {
    const wanted = wantedLength * (1 + spread * (drawn.hi / 2 ** 32 - 0.5))
    const picked = pickArc(owner, wanted / pieceMax, drawn.lo / 2 ** 32)
    const length = Math.floor(Math.min(wanted, owner.lengths[picked]! * pieceMax))
    owner.lengths[picked]! -= length
    owner.total -= length
    const arc = owner.arcs[picked]!
    const start = this.#starts.get(arc) ?? startOf(this.#ring, arc)
    const next = BigInt.asUintN(64, start + BigInt(length))
    this.#starts.set(arc, next)
    return { start, end: BigInt.asUintN(64, next - 1n), length }
  }

  /** The pieces become arcs of a new owner. */
  #enter(id: ShardId, pieces: readonly Piece[]): void {
    const owner: Owner = { id, arcs: [], lengths: [], total: 0 }
    for (const { start, length } of pieces.toSorted((a, b) => (a.end < b.end ? -1 : 1))) {
      this.#starts.set(this.#nextArc, start)
      owner.arcs.push(this.#nextArc)
      owner.lengths.push(length)
      owner.total += length
      this.#nextArc += 1
    }
    const before = this.#owners.findIndex((other) => other.id > id)
    this.#owners.splice(before < 0 ? this.#owners.length : before, 0, owner)
  }
}

/** One of the arcs that are long enough, by `luck` from 0 to 1; the longest when none is. */
function pickArc(owner: Owner, enough: number, luck: number): number {
  const candidates: number[] = []
  let longest = 0
  for (let i = 0; i < owner.lengths.length; i++) {
    if (owner.lengths[i]! >= enough) candidates.push(i)
    if (owner.lengths[i]! > owner.lengths[longest]!) longest = i
  }
  return candidates[Math.floor(luck * candidates.length)] ?? longest
}

/** What decides over one piece: fixed by shard and piece, even over all of them. */
function draw(shard: ShardId, piece: number): void {
  murmur3.ofKey(`${shard}#${String(piece)}`, 'text', drawn)
}

const drawn = makeHash64()

/** Where a vnode begins: behind the previous token, around the end of the hash space for the lowest. */
function startOf(ring: Ring, vnode: number): bigint {
  return BigInt.asUintN(64, tokenOf(ring, vnode === 0 ? ring.size - 1 : vnode - 1) + 1n)
}

function unwrap(start: bigint, end: bigint): Span[] {
  if (start <= end) return [{ start, end }]
  return [
    { start: 0n, end },
    { start, end: hashMax },
  ]
}

// Floating point is exact enough to choose, and a ring of 256,000 vnodes is measured in a few milliseconds.
function ownersOf(ring: Ring): Owner[] {
  const owners: Owner[] = ring.shards.map(({ id }) => ({ id, arcs: [], lengths: [], total: 0 }))
  for (let i = 0; i < ring.size; i++) {
    const owner = owners[ring.owner[i]!]!
    const length = vnodeLength(ring, i)
    owner.arcs.push(i)
    owner.lengths.push(length)
    owner.total += length
  }
  return owners.filter((owner) => owner.arcs.length > 0).toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** The owner of the most; the first by its id among equals. */
function heaviest(owners: readonly Owner[]): Owner {
  let best = owners[0]!
  for (const owner of owners) if (owner.total > best.total) best = owner
  return best
}
