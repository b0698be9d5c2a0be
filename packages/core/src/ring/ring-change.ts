// What a change of the ring is, and the two steps that all changes end with: ranges cut from one shard's arcs and
// given to another's, and arcs turned back into packed tokens.
import { FleetError } from '../errors/fleet-error.ts'
import type { ShardId } from '../ids.ts'
import { arcsOf, mergeSpans, toHashRange, type Span } from './ranges.ts'
import type { HashRange, Ring } from './ring.ts'
import { packTokens, tokensPerShardMax, vnodeCountDefault } from './tokens.ts'

/** A range that changes its owner. `from` is null when nobody owned it. */
export interface RangeMove extends HashRange {
  readonly from: ShardId | null
  readonly to: ShardId
}

/** Outcome of a ring change. */
export interface RingChange {
  /** The new packed tokens of every shard whose record changes, and of no other. */
  readonly vnodes: ReadonlyMap<ShardId, string>
  /** What moves, ascending, neighbours of the same two shards merged. */
  readonly moves: readonly RangeMove[]
}

/** A shard that gets ranges. */
export interface ReceivingShard {
  readonly id: ShardId
  /**
   * Vnodes that it shall have, about: 256 for one without, else what it has. It says how finely a shard's part is
   * spread over the ring, not how large it is; where ranges are scattered there are more.
   */
  readonly vnodeCount?: number
}

/** A move before it leaves this folder. */
export interface SpanMove extends Span {
  readonly from: ShardId | null
  readonly to: ShardId
}

/** Index of a shard in the ring, -1 for one that is not in it. */
export function indexOf(ring: Ring, shard: ShardId): number {
  return ring.shards.findIndex((candidate) => candidate.id === shard)
}

/** The vnodes that a shard shall have. @throws FleetError `invalid_request` */
export function vnodeCountOf(shard: ReceivingShard, byDefault: number): number {
  const count = shard.vnodeCount ?? byDefault
  if (Number.isInteger(count) && count > 0 && count <= tokensPerShardMax) return count
  throw new FleetError('invalid_request', `${String(count)} is not a number of vnodes`, {
    hint: `a shard has 1 to ${String(tokensPerShardMax)} vnodes`,
  })
}

/** Moves in the form of a RingChange. */
export function toRangeMoves(moves: readonly SpanMove[]): RangeMove[] {
  const merged: SpanMove[] = []
  for (const move of moves.toSorted((a, b) => (a.start < b.start ? -1 : 1))) {
    const last = merged.at(-1)
    if (
      last !== undefined &&
      last.end + 1n === move.start &&
      last.from === move.from &&
      last.to === move.to
    ) {
      merged[merged.length - 1] = { ...last, end: move.end }
    } else merged.push(move)
  }
  return merged.map(({ from, to, ...span }) => ({ from, to, ...toHashRange(span) }))
}

/**
 * The change that moves those spans, each wholly owned by its `from`; no shard both gives and gets. Shards that lose
 * or get something keep about the number of vnodes that they had, by dividing or joining arcs of theirs.
 */
export function changeOf(
  ring: Ring,
  moves: readonly SpanMove[],
  receivers: readonly ReceivingShard[],
): RingChange {
  const getting = receivers.filter(({ id }) => moves.some((move) => move.to === id))
  const arcs = new Map<ShardId, readonly Span[]>()
  const counts = new Map<ShardId, number>()
  for (const shard of getting) {
    const owned = arcsOf(ring, indexOf(ring, shard.id))
    const wanted = vnodeCountOf(shard, owned.length || vnodeCountDefault)
    counts.set(shard.id, Math.max(owned.length, wanted))
    arcs.set(shard.id, owned)
  }
  const taken: SpanMove[] = []
  for (const [from, own] of bySource(moves)) {
    const owned = arcsOf(ring, indexOf(ring, from))
    counts.set(from, owned.length)
    arcs.set(from, cut(owned, own, taken))
  }
  for (const { id } of getting) arcs.set(id, [...arcs.get(id)!, ...taken.filter((move) => move.to === id)])
  const vnodes = new Map<ShardId, string>()
  for (const [id, owned] of arcs) {
    const packed = packTokens(resize(owned, counts.get(id)!).map((arc) => arc.end))
    if (packed !== (ring.shards[indexOf(ring, id)]?.vnodes ?? '')) vnodes.set(id, packed)
  }
  return { vnodes, moves: toRangeMoves(moves) }
}

/** Moves by who gives, ascending. */
function bySource(moves: readonly SpanMove[]): Map<ShardId, SpanMove[]> {
  const groups = new Map<ShardId, SpanMove[]>()
  for (const move of moves.toSorted((a, b) => (a.start < b.start ? -1 : 1))) {
    if (move.from === null) continue
    const group = groups.get(move.from)
    if (group === undefined) groups.set(move.from, [move])
    else group.push(move)
  }
  return groups
}

/** Takes moves out of the arcs that they lie in; both ascend. Returns what is kept and adds to what is taken. */
function cut(arcs: readonly Span[], moves: readonly SpanMove[], taken: SpanMove[]): Span[] {
  const kept: Span[] = []
  let next = 0
  for (const arc of arcs) {
    let start = arc.start
    for (let move = moves[next]; move !== undefined && move.start <= arc.end; move = moves[++next]) {
      const first = move.start > start ? move.start : start
      const last = move.end < arc.end ? move.end : arc.end
      if (start < first) kept.push({ start, end: first - 1n })
      taken.push({ ...move, start: first, end: last })
      start = last + 1n
      if (move.end > arc.end) break
    }
    if (start <= arc.end) kept.push({ start, end: arc.end })
  }
  return kept
}

/** Rounds of the search for the length of an arc; each halves the error of a 64-bit number. */
const searchRounds = 64

/** The same ownership in about that many arcs; in more only where it is scattered over more ranges. */
function resize(arcs: readonly Span[], count: number): readonly Span[] {
  if (arcs.length <= count) return subdivide(arcs, count)
  return subdivide(mergeSpans(arcs.toSorted((a, b) => (a.start < b.start ? -1 : 1))), count)
}

/** Cuts the longest arcs into equal pieces until there are about, and at most, `count`. Ownership stays. */
function subdivide(arcs: readonly Span[], count: number): readonly Span[] {
  if (arcs.length === 0 || arcs.length >= count) return arcs
  const sizes = arcs.map((arc) => Number(arc.end - arc.start + 1n))
  let [tooShort, longEnough] = [0, Math.max(...sizes)]
  for (let round = 0; round < searchRounds; round++) {
    const length = (tooShort + longEnough) / 2
    const pieces = sizes.reduce((sum, size) => sum + Math.ceil(size / length), 0)
    if (pieces > count) tooShort = length
    else longEnough = length
  }
  return arcs.flatMap((arc, i) => equalParts(arc, Math.ceil(sizes[i]! / longEnough)))
}

/** A span as that many spans of the same length, or as many as it has hashes. */
export function equalParts(span: Span, count: number): Span[] {
  const size = span.end - span.start + 1n
  const parts = BigInt(count) < size ? BigInt(count) : size
  const spans: Span[] = []
  for (let i = 0n; i < parts; i++) {
    spans.push({ start: span.start + (size * i) / parts, end: span.start + (size * (i + 1n)) / parts - 1n })
  }
  return spans
}
