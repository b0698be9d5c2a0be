// Changes among shards that own ranges, as pure functions: from a ring to the new tokens of the shards concerned and
// the exact ranges that change hands. They decide nothing about when: jobs do.
import { FleetError } from '../errors/fleet-error.ts'
import type { ShardId } from '../ids.ts'
import { arcsOf, hashMax, mergeSpans, vnodeLength, type Span } from './ranges.ts'
import { changeOf, indexOf, type ReceivingShard, type RingChange, type SpanMove } from './ring-change.ts'
import { lookupRing, tokenOf, type HashRange, type Ring } from './ring.ts'

/** One shard into several. */
export interface SplitShard {
  readonly source: ShardId
  readonly targets: readonly ReceivingShard[]
  /** True when the source stays and keeps the first part; it is emptied otherwise. */
  readonly keepSource?: boolean
  /** Last hash of the first of two parts, decimal; for a source that owns a single range. Else all parts are equal. */
  readonly splitPoint?: string
}

/** Several shards into one, which may be one of them. */
export interface MergeShards {
  readonly sources: readonly ShardId[]
  readonly target: ReceivingShard
}

/** Ranges given to a shard, whoever owns them. */
export interface HandOver {
  readonly ranges: readonly HashRange[]
  readonly to: ReceivingShard
  /** Refuse when any of it is owned by another shard than this. */
  readonly from?: ShardId
}

/** Most shards that get something when one is removed, so that one commit can hold all their records. */
const receiversMax = 32

/**
 * Takes a shard off the ring. Its ranges go to those that own the least, in such parts that they end up even,
 * and in as few ranges as can be.
 * @throws FleetError `not_found`, `conflict` when nobody else owns anything
 */
export function removeShard(ring: Ring, shard: ShardId): RingChange {
  const removed = requireShard(ring, shard)
  const ranges = mergeSpans(arcsOf(ring, removed))
  const loads = loadsOf(ring)
    .filter((load) => load.owner !== removed)
    .slice(0, receiversMax)
  if (loads.length === 0) {
    throw new FleetError('conflict', `no other shard than ${shard} owns anything`, {
      hint: 'hand its ranges to another shard first',
    })
  }
  const receivers = loads.map((load) => ({ id: ring.shards[load.owner]!.id }))
  const parts = divide(ranges, shortfalls(loads, totalOf(ranges)))
  const moves = parts.flatMap((spans, i) =>
    spans.map((span) => ({ ...span, from: shard, to: receivers[i]!.id })),
  )
  return changeOf(ring, moves, receivers)
}

/** How much of the hash space an owner has. */
interface Load {
  readonly owner: number
  readonly length: number
}

/** All that own something, the least loaded first; by their ids among equals. */
function loadsOf(ring: Ring): Load[] {
  const lengths = new Float64Array(ring.shards.length)
  for (let i = 0; i < ring.size; i++) lengths[ring.owner[i]!]! += vnodeLength(ring, i)
  const idAt = (load: Load): ShardId => ring.shards[load.owner]!.id
  return Array.from(lengths, (length, owner) => ({ owner, length }))
    .filter((load) => load.length > 0)
    .toSorted((a, b) => a.length - b.length || (idAt(a) < idAt(b) ? -1 : 1))
}

/** What each must get of `total` so that the least loaded are filled up to one level. Takes them ascending. */
function shortfalls(loads: readonly Load[], total: bigint): bigint[] {
  let [sum, filled, level] = [Number(total), 0, Infinity]
  for (const { length } of loads) {
    if (length >= level) break
    sum += length
    level = sum / ++filled
  }
  // Floating point misses the total by a little, which the first one, who gets the most, makes up for.
  let left = total
  const parts = loads.map((load, i) => {
    const part = i < filled ? BigInt(Math.floor(level - load.length)) : 0n
    const given = part < left ? part : left
    left -= given
    return given
  })
  return parts.map((part, i) => (i === 0 ? part + left : part))
}

function totalOf(spans: readonly Span[]): bigint {
  return spans.reduce((sum, span) => sum + span.end - span.start + 1n, 0n)
}

/**
 * Divides a shard's ranges among the targets, equally or at a split point, in ascending order: the ranges stay as
 * whole as they can, since each range costs a job a predicate.
 * @throws FleetError `not_found`, `invalid_request`, `conflict` when the source owns too little to be divided
 */
export function splitShard(ring: Ring, split: SplitShard): RingChange {
  const ranges = mergeSpans(arcsOf(ring, requireShard(ring, split.source)))
  const ids = split.targets.map((target) => target.id)
  const receivers = split.keepSource === true ? [split.source, ...ids] : ids
  if (new Set([split.source, ...ids]).size !== ids.length + 1 || receivers.length < 2) {
    throw new FleetError(
      'invalid_request',
      'a split needs targets that differ from each other and the source',
      {
        hint: 'name two targets, or one with keep_source',
      },
    )
  }
  const parts =
    split.splitPoint === undefined
      ? divide(ranges, equally(totalOf(ranges), receivers.length))
      : splitAt(ranges, receivers.length, parseHash(split.splitPoint))
  const moves: SpanMove[] = []
  for (const [i, spans] of parts.entries()) {
    const to = receivers[i]!
    if (to !== split.source) moves.push(...spans.map((span) => ({ ...span, from: split.source, to })))
  }
  return changeOf(ring, moves, split.targets)
}

/** Cuts ascending spans into consecutive parts of the given lengths, which add up to theirs. */
function divide(spans: readonly Span[], lengths: readonly bigint[]): Span[][] {
  const left = [...spans]
  return lengths.map((length) => {
    const part: Span[] = []
    for (let missing = length; missing > 0n;) {
      const { start, end } = left.shift()!
      const size = end - start + 1n
      const taken = size < missing ? size : missing
      part.push({ start, end: start + taken - 1n })
      if (taken < size) left.unshift({ start: start + taken, end })
      missing -= taken
    }
    return part
  })
}

/** A total in equal parts. @throws FleetError `conflict` when one would be empty */
function equally(total: bigint, count: number): bigint[] {
  if (total < BigInt(count)) throw new FleetError('conflict', 'the source owns too little to be divided')
  return Array.from(
    { length: count },
    (_, i) => (total * BigInt(i + 1)) / BigInt(count) - (total * BigInt(i)) / BigInt(count),
  )
}

function splitAt(ranges: readonly Span[], count: number, point: bigint): Span[][] {
  const [range] = ranges
  if (range === undefined || ranges.length > 1 || count !== 2) {
    throw new FleetError('conflict', 'a split point needs a source with a single range, and two parts', {
      hint: 'leave the split point out',
    })
  }
  if (point < range.start || point >= range.end) {
    throw new FleetError('invalid_request', `the split point lies outside of the source`, {
      hint: `choose one from ${String(range.start)} to ${String(range.end - 1n)}`,
    })
  }
  return [[{ start: range.start, end: point }], [{ start: point + 1n, end: range.end }]]
}

/**
 * Gives all ranges of the sources to the target.
 * @throws FleetError `not_found`, `invalid_request`, `conflict` when there is nothing to move
 */
export function mergeShards(ring: Ring, merge: MergeShards): RingChange {
  if (new Set(merge.sources).size !== merge.sources.length) {
    throw new FleetError('invalid_request', 'a merge names a source twice')
  }
  const moves = merge.sources
    .filter((source) => source !== merge.target.id)
    .flatMap((from) =>
      arcsOf(ring, requireShard(ring, from)).map((arc) => ({ ...arc, from, to: merge.target.id })),
    )
  if (moves.length === 0) throw new FleetError('conflict', 'the sources own nothing that could be merged')
  return changeOf(ring, moves, [merge.target])
}

/**
 * Gives ranges to a shard, from whichever shards own them; what it owns already stays.
 * @throws FleetError `not_found`, `invalid_request` for bad bounds or overlaps, `conflict` for another owner
 */
export function handOver(ring: Ring, order: HandOver): RingChange {
  const spans = order.ranges.map(parseRange).toSorted((a, b) => (a.start < b.start ? -1 : 1))
  for (const [i, span] of spans.entries()) {
    if (i > 0 && span.start <= spans[i - 1]!.end)
      throw new FleetError('invalid_request', 'the ranges overlap')
  }
  if (ring.size === 0) throw new FleetError('conflict', 'no shard owns anything yet')
  if (order.from !== undefined) requireShard(ring, order.from)
  const moves = spans.flatMap((span) =>
    ownersWithin(ring, span).map((part) => ({ ...part, to: order.to.id })),
  )
  const stranger = moves.find((move) => order.from !== undefined && move.from !== order.from)
  if (stranger !== undefined) {
    throw new FleetError(
      'conflict',
      `${String(stranger.start)}..${String(stranger.end)} is owned by ${stranger.from}`,
      {
        hint: 'read the ranges of the shard again',
      },
    )
  }
  return changeOf(
    ring,
    moves.filter((move) => move.from !== order.to.id),
    [order.to],
  )
}

interface OwnedSpan extends Span {
  readonly from: ShardId
}

/** The parts of a span with their owners. */
function ownersWithin(ring: Ring, span: Span): OwnedSpan[] {
  const parts: OwnedSpan[] = []
  for (let start = span.start; start <= span.end;) {
    const vnode = lookupRing(ring, Number(start >> 32n), Number(start & 0xffff_ffffn))
    const token = tokenOf(ring, vnode)
    const owned = token < start ? hashMax : token
    const end = owned < span.end ? owned : span.end
    parts.push({ start, end, from: ring.shards[ring.owner[vnode]!]!.id })
    start = end + 1n
  }
  return parts
}

function parseRange(range: HashRange): Span {
  const [start, end] = [parseHash(range.start), parseHash(range.end)]
  if (start <= end) return { start, end }
  throw new FleetError('invalid_request', `${range.start}..${range.end} is not a range`, {
    hint: 'start is at most end',
  })
}

const DECIMAL = /^(?:0|[1-9][0-9]{0,19})$/

function parseHash(text: string): bigint {
  const hash = DECIMAL.test(text) ? BigInt(text) : -1n
  if (hash >= 0n && hash <= hashMax) return hash
  throw new FleetError('invalid_request', `${JSON.stringify(text.slice(0, 40))} is not a hash`, {
    hint: `a hash is a decimal number from 0 to ${String(hashMax)}`,
  })
}

function requireShard(ring: Ring, shard: ShardId): number {
  const index = indexOf(ring, shard)
  if (index >= 0) return index
  throw new FleetError('not_found', `there is no shard ${shard} on the ring`)
}
