import { describe, expect, it } from 'vitest'
import { parseShardId } from '../ids.ts'
import { addShard } from './add-shard.ts'
import { createRingDealer } from './dealer.ts'
import { rangesByShard, shareOf } from './ranges.ts'
import { buildRing, lookupRing, type RingShard } from './ring.ts'

const id = (number: number) => parseShardId(`s${String(number)}`)

describe('createRingDealer', () => {
  it('gives the first shard added what addShard gives', () => {
    const shards: RingShard[] = []
    for (let number = 0; number < 5; number++) {
      const ring = buildRing(shards)
      const change = addShard(ring, { id: id(number), vnodeCount: 32 })
      expect(createRingDealer(ring).add({ id: id(number), vnodeCount: 32 })).toEqual(change)
      shards.push({ id: id(number), vnodes: change.vnodes.get(id(number)) ?? '' })
    }
  })

  it('goes on from its own additions as from a ring that was built with them', () => {
    const dealer = createRingDealer(buildRing([]))
    const shards: RingShard[] = []
    for (let number = 0; number < 60; number++) {
      const before = buildRing(shards)
      const change = dealer.add({ id: id(number), vnodeCount: 64 })
      expect([...change.vnodes.keys()]).toEqual([id(number)])
      for (const { start, end, from } of change.moves) {
        for (const hash of [BigInt(start), BigInt(end)]) {
          const vnode = lookupRing(before, Number(hash >> 32n), Number(hash & 0xffff_ffffn))
          const owner = vnode < 0 ? null : before.shards[before.owner[vnode] ?? -1]?.id
          expect(owner ?? null).toBe(from)
        }
      }
      shards.push({ id: id(number), vnodes: change.vnodes.get(id(number)) ?? '' })
      const gained = rangesByShard(buildRing(shards)).get(id(number)) ?? []
      expect(shareOf(change.moves)).toBeCloseTo(shareOf(gained), 12)
    }
    const shares = [...rangesByShard(buildRing(shards)).values()].map(shareOf)
    for (const share of shares) expect(Math.abs(share * 60 - 1)).toBeLessThan(0.05)
  })

  it('refuses a shard that has its place already', () => {
    const dealer = createRingDealer(buildRing([]))
    dealer.add({ id: id(1) })
    expect(() => dealer.add({ id: id(1) })).toThrow('on the ring already')
  })
})
