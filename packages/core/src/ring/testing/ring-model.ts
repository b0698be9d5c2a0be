// For tests: the ring as its definition says it, slow and obvious, and the checks that every change of it must pass.
import fc from 'fast-check'
import { expect } from 'vitest'
import { parseShardId, type ShardId } from '../../ids.ts'
import { hashMax, rangesByShard } from '../ranges.ts'
import type { RingChange } from '../ring-change.ts'
import { buildRing, type RingShard } from '../ring.ts'
import { packTokens, unpackTokens } from '../tokens.ts'

/** Any hash, with the edges more often than chance has them. */
export const anyHash = fc.oneof(
  { weight: 8, arbitrary: fc.bigInt({ min: 0n, max: hashMax }) },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 40n }) },
  { weight: 1, arbitrary: fc.bigInt({ min: hashMax - 40n, max: hashMax }) },
)

/** Rings of 1 to 6 shards whose tokens lie anywhere, close together too; some shards may own nothing. */
export const anyRing = fc
  .tuple(fc.uniqueArray(anyHash, { minLength: 1, maxLength: 60 }), fc.infiniteStream(fc.nat({ max: 5 })))
  .map(([tokens, owners]): RingShard[] => {
    const dealt = new Map<number, bigint[]>()
    for (const token of tokens) {
      const owner = owners.next().value as number
      dealt.set(owner, [...(dealt.get(owner) ?? []), token])
    }
    return [0, 1, 2, 3, 4, 5].map((i) => ({
      id: parseShardId(`s${String(i)}`),
      vnodes: packTokens(dealt.get(i) ?? []),
    }))
  })

/** Who owns a hash: the owner of the first token that is not below it, or else of the lowest. */
export function modelOwner(shards: readonly RingShard[]): (hash: bigint) => ShardId | null {
  const tokens = shards
    .flatMap(({ id, vnodes }) => unpackTokens(vnodes).map((token) => ({ id, token })))
    .toSorted((a, b) => (a.token < b.token ? -1 : 1))
  return (hash) => (tokens.find(({ token }) => token >= hash) ?? tokens[0])?.id ?? null
}

/** The shards after a change. */
export function applyChange(shards: readonly RingShard[], change: RingChange): RingShard[] {
  const after = new Map(shards.map((shard) => [shard.id, shard]))
  for (const [id, vnodes] of change.vnodes) after.set(id, { id, vnodes })
  return [...after.values()]
}

/** Every hash where the owner can change, and the one behind it. */
function edges(shards: readonly RingShard[], change: RingChange): Set<bigint> {
  const ends = [0n, hashMax]
  for (const { vnodes } of [...shards, ...applyChange(shards, change)]) ends.push(...unpackTokens(vnodes))
  for (const move of change.moves) ends.push(BigInt(move.start), BigInt(move.end))
  return new Set(ends.flatMap((end) => [end, BigInt.asUintN(64, end + 1n), BigInt.asUintN(64, end - 1n)]))
}

/**
 * Checks a change against the model over the whole hash space: what is in a move goes from its `from` to its `to`,
 * everything else stays, the moves are disjoint, and no record changes but those of the shards that they name. Returns the shards after it.
 */
export function expectExactChange(shards: readonly RingShard[], change: RingChange): RingShard[] {
  const after = applyChange(shards, change)
  const [ownerBefore, ownerAfter] = [modelOwner(shards), modelOwner(after)]
  for (const hash of edges(shards, change)) {
    const moves = change.moves.filter((move) => BigInt(move.start) <= hash && hash <= BigInt(move.end))
    expect(moves.length).toBeLessThanOrEqual(1)
    const move = moves[0]
    if (move === undefined) expect([hash, ownerAfter(hash)]).toEqual([hash, ownerBefore(hash)])
    else {
      expect([hash, ownerBefore(hash), ownerAfter(hash)]).toEqual([hash, move.from, move.to])
      expect(move.from).not.toBe(move.to)
    }
  }
  const concerned = new Set(change.moves.flatMap((move) => [move.from, move.to]))
  for (const id of change.vnodes.keys()) expect(concerned).toContain(id)
  expectCover(after)
  return after
}

/** Checks that the ranges of all shards cover the hash space once, and that no range could be joined to another. */
export function expectCover(shards: readonly RingShard[]): void {
  const ranges = [...rangesByShard(buildRing(shards))]
    .flatMap(([id, owned]) => owned.map(({ start, end }) => ({ id, start: BigInt(start), end: BigInt(end) })))
    .toSorted((a, b) => (a.start < b.start ? -1 : 1))
  let next = 0n
  for (const [i, range] of ranges.entries()) {
    expect(range.start).toBe(next)
    expect(range.end).toBeGreaterThanOrEqual(range.start)
    if (i > 0) expect(range.id).not.toBe(ranges[i - 1]!.id)
    next = range.end + 1n
  }
  expect(next).toBe(hashMax + 1n)
}

/** Standard deviation over mean. */
export function variation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  return Math.sqrt(variance) / mean
}
