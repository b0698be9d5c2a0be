// Ownership: the ring's fast lookup against its definition.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseShardId, type ShardId } from '../ids.ts'
import { contiguousRange, hashMax, rangesByShard, rangesOf, shareOf, vnodeRanges } from './ranges.ts'
import { buildRing, lookupRing, tokenOf, type Ring, type RingShard } from './ring.ts'
import { anyHash, anyRing, expectCover, modelOwner } from './testing/ring-model.ts'
import { packTokens, unpackTokens } from './tokens.ts'

const [a, b] = [parseShardId('a'), parseShardId('b')]
const shard = (id: ShardId, ...tokens: readonly bigint[]): RingShard => ({ id, vnodes: packTokens(tokens) })

function ownerOf(ring: Ring, hash: bigint): ShardId | null {
  const index = lookupRing(ring, Number(hash >> 32n), Number(hash & 0xffff_ffffn))
  return index < 0 ? null : ring.shards[ring.owner[index]!]!.id
}

describe('ring', () => {
  it('owns (previous token, token], and above the highest by the lowest', () => {
    const ring = buildRing([shard(a, 100n), shard(b, 200n)])
    const owners = [0n, 99n, 100n, 101n, 200n, 201n, hashMax].map((hash) => ownerOf(ring, hash))
    expect(owners).toEqual([a, a, a, b, b, a, a])
    expect(rangesOf(ring, a)).toEqual([
      { start: '0', end: '100' },
      { start: '201', end: '18446744073709551615' },
    ])
    expect(rangesOf(ring, b)).toEqual([{ start: '101', end: '200' }])
    expect(vnodeRanges(ring, 0)).toEqual(rangesOf(ring, a))
    expect(vnodeRanges(ring, 1)).toEqual(rangesOf(ring, b))
  })

  it('without tokens owns nothing', () => {
    for (const shards of [[], [shard(a)]]) {
      const ring = buildRing(shards)
      expect(ownerOf(ring, 5n)).toBeNull()
      expect(rangesOf(ring, a)).toEqual([])
      expect([...rangesByShard(ring).values()].flat()).toEqual([])
    }
  })

  it('of one shard is one range, wherever its tokens lie', () => {
    const whole = { start: '0', end: '18446744073709551615' }
    for (const tokens of [[0n], [7n], [hashMax], [0n, 5n, hashMax], [1n << 63n]]) {
      const ring = buildRing([shard(a, ...tokens), shard(b)])
      expect(contiguousRange(rangesByShard(ring).get(a)!)).toEqual(whole)
      expect(rangesOf(ring, a)).toEqual([whole])
      expect(shareOf(rangesOf(ring, a))).toBe(1)
      expect(contiguousRange(rangesOf(ring, b))).toBeNull()
    }
  })

  it('refuses a token that two shards have', () => {
    expect(() => buildRing([shard(a, 1n, 5n), shard(b, 5n)])).toThrow('shards a and b share token 5')
  })

  it('finds the owner that the definition gives', () => {
    fc.assert(
      fc.property(anyRing, fc.array(anyHash, { maxLength: 30 }), (shards, hashes) => {
        const ring = buildRing(shards)
        const model = modelOwner(shards)
        const tokens = shards.flatMap(({ vnodes }) => unpackTokens(vnodes))
        const probes = tokens.flatMap((token) =>
          [token, token + 1n, token - 1n].map((hash) => BigInt.asUintN(64, hash)),
        )
        for (const hash of [...hashes, ...probes])
          expect([hash, ownerOf(ring, hash)]).toEqual([hash, model(hash)])
      }),
    )
  })

  it('finds it among tokens crowded into one bucket too', () => {
    const crowd = Array.from({ length: 3000 }, (_, i) => (0xabcdef01n << 32n) + BigInt(i * 7))
    const far = Array.from({ length: 500 }, (_, i) => BigInt(i + 1) << 54n)
    const shards = [
      shard(a, ...crowd.filter((_, i) => i % 2 === 0), ...far),
      shard(b, ...crowd.filter((_, i) => i % 2 === 1)),
    ]
    const ring = buildRing(shards)
    const model = modelOwner(shards)
    for (let i = 0; i < 21_000; i += 37) {
      const hash = (0xabcdef01n << 32n) + BigInt(i)
      expect([hash, ownerOf(ring, hash)]).toEqual([hash, model(hash)])
    }
  })

  it('covers every hash once, in the same ranges seen from the ring, a shard and a vnode', () => {
    fc.assert(
      fc.property(anyRing, (shards) => {
        expectCover(shards)
        const ring = buildRing(shards)
        const byShard = rangesByShard(ring)
        for (const { id } of shards) expect(rangesOf(ring, id)).toEqual(byShard.get(id))
        let share = 0
        for (let i = 0; i < ring.size; i++) share += shareOf(vnodeRanges(ring, i))
        expect(share).toBeCloseTo(1, 10)
      }),
    )
  })

  it('is the same in whatever order its shards are listed', () => {
    fc.assert(
      fc.property(anyRing, (shards) => {
        const [ring, reversed] = [buildRing(shards), buildRing(shards.toReversed())]
        expect(reversed.size).toBe(ring.size)
        for (let i = 0; i < ring.size; i++) {
          expect(tokenOf(reversed, i)).toBe(tokenOf(ring, i))
          expect(reversed.shards[reversed.owner[i]!]!.id).toBe(ring.shards[ring.owner[i]!]!.id)
        }
      }),
    )
  })
})
