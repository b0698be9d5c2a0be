// Ownership as ranges: what the ring's tokens mean, in the inclusive bounds that people and jobs work with.
import type { ShardId } from '../ids.ts'
import { tokenOf, type HashRange, type Ring } from './ring.ts'

/** The highest hash. */
export const hashMax = 0xffff_ffff_ffff_ffffn

/** A range as numbers, both bounds inclusive, start ≤ end. */
export interface Span {
  readonly start: bigint
  readonly end: bigint
}

/** Decimal strings, as they leave the process. */
export function toHashRange(span: Span): HashRange {
  return { start: span.start.toString(), end: span.end.toString() }
}

/**
 * The spans of the vnode at an index: one, or two for the lowest token, which also owns what lies above the
 * highest. Ascending.
 */
export function vnodeSpans(ring: Ring, index: number): Span[] {
  const end = tokenOf(ring, index)
  if (index > 0) return [{ start: tokenOf(ring, index - 1) + 1n, end }]
  const highest = tokenOf(ring, ring.size - 1)
  const lowest = { start: 0n, end }
  return highest === hashMax ? [lowest] : [lowest, { start: highest + 1n, end: hashMax }]
}

/** How many hashes the vnode at an index owns, in floating point: for comparing, not for bounds. */
export function vnodeLength(ring: Ring, index: number): number {
  const before = index === 0 ? ring.size - 1 : index - 1
  // The lowest goes around the end; added to the upper half, where nothing is rounded away.
  const upper = ring.hi[index]! - ring.hi[before]! + (index === 0 ? 2 ** 32 : 0)
  return upper * 2 ** 32 + (ring.lo[index]! - ring.lo[before]!)
}

/** The ranges of the vnode at an index, see vnodeSpans. */
export function vnodeRanges(ring: Ring, index: number): readonly HashRange[] {
  return vnodeSpans(ring, index).map(toHashRange)
}

/** One span for each vnode of a shard, ascending; the one above the highest token comes last, by itself. */
export function arcsOf(ring: Ring, owner: number): Span[] {
  const arcs: Span[] = []
  let above: Span | undefined
  for (let i = 0; i < ring.size; i++) {
    if (ring.owner[i] !== owner) continue
    const [arc, wrapped] = vnodeSpans(ring, i)
    arcs.push(arc!)
    above ??= wrapped
  }
  if (above !== undefined) arcs.push(above)
  return arcs
}

/** Neighbouring spans made one. Takes and gives them ascending. */
export function mergeSpans(spans: readonly Span[]): Span[] {
  const merged: Span[] = []
  for (const span of spans) {
    const last = merged.at(-1)
    if (last !== undefined && last.end + 1n === span.start)
      merged[merged.length - 1] = { ...last, end: span.end }
    else merged.push(span)
  }
  return merged
}

/** A shard's part of the hash space: ascending, disjoint, as few ranges as can be. Empty for an unknown shard. */
export function rangesOf(ring: Ring, shard: ShardId): readonly HashRange[] {
  const owner = ring.shards.findIndex((candidate) => candidate.id === shard)
  return mergeSpans(arcsOf(ring, owner)).map(toHashRange)
}

/** rangesOf for all shards of the ring in one pass. */
export function rangesByShard(ring: Ring): ReadonlyMap<ShardId, readonly HashRange[]> {
  const spans: Span[][] = ring.shards.map(() => [])
  let start = 0n
  for (let i = 0; i < ring.size; i++) {
    const owner = ring.owner[i]!
    if (i + 1 < ring.size && ring.owner[i + 1] === owner) continue
    const end = tokenOf(ring, i)
    spans[owner]!.push({ start, end })
    start = end + 1n
  }
  if (ring.size > 0 && start <= hashMax) spans[ring.owner[0]!]!.push({ start, end: hashMax })
  return new Map(ring.shards.map((shard, i) => [shard.id, mergeSpans(spans[i]!).map(toHashRange)]))
}

/** The range of a shard that owns exactly one, null for any other number of them. */
export function contiguousRange(ranges: readonly HashRange[]): HashRange | null {
  return ranges.length === 1 ? ranges[0]! : null
}

/** How much of the hash space spans cover, 0 to 1. */
export function shareOf(ranges: readonly HashRange[]): number {
  let covered = 0n
  for (const range of ranges) covered += BigInt(range.end) - BigInt(range.start) + 1n
  return Number(covered) / 2 ** 64
}
