// Changes of the ring: exact over the whole hash space, minimal, even, and the same every time.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeHash64 } from '../hash/hash64.ts'
import { murmur3 } from '../hash/murmur3.ts'
import { parseShardId, type ShardId } from '../ids.ts'
import { addShard } from './add-shard.ts'
import { firstShard } from './dealer.ts'
import { handOver, mergeShards, removeShard, splitShard } from './changes.ts'
import { hashMax, rangesByShard, rangesOf, shareOf } from './ranges.ts'
import type { RingChange } from './ring-change.ts'
import { buildRing, lookupRing, type RingShard } from './ring.ts'
import {
  anyHash,
  anyRing,
  applyChange,
  expectExactChange,
  modelOwner,
  variation,
} from './testing/ring-model.ts'
import { unpackTokens } from './tokens.ts'

const id = (name: string): ShardId => parseShardId(name)
const fresh = id('new')
const owning = (shards: readonly RingShard[]): RingShard[] => shards.filter((shard) => shard.vnodes !== '')
const sharesOf = (shards: readonly RingShard[]): number[] =>
  [...rangesByShard(buildRing(shards)).values()].map(shareOf)
const movedShare = (change: RingChange): number => shareOf(change.moves)

/** n shards added one after the other. */
function dealt(count: number, vnodeCount?: number): RingShard[] {
  let shards: RingShard[] = []
  for (let i = 0; i < count; i++) {
    const options = vnodeCount === undefined ? {} : { vnodeCount }
    shards = applyChange(shards, addShard(buildRing(shards), { id: id(`s${String(i)}`), ...options }))
  }
  return shards
}

describe('the first shard', () => {
  it('owns everything in one range, with as many vnodes as asked for', () => {
    for (const vnodeCount of [1, 2, 3, 256, 1000]) {
      const after = applyChange([], firstShard({ id: fresh, vnodeCount }))
      expect(unpackTokens(after[0]!.vnodes)).toHaveLength(vnodeCount)
      expect(rangesOf(buildRing(after), fresh)).toEqual([{ start: '0', end: String(hashMax) }])
    }
    expect(addShard(buildRing([]), { id: fresh })).toEqual(firstShard({ id: fresh }))
    expect(firstShard({ id: fresh }).moves).toEqual([
      { from: null, to: fresh, start: '0', end: String(hashMax) },
    ])
  })

  it('refuses numbers of vnodes that make no sense', () => {
    for (const vnodeCount of [0, -1, 1.5, Number.NaN, 1e6]) {
      expect(() => firstShard({ id: fresh, vnodeCount })).toThrow('is not a number of vnodes')
    }
  })
})

describe('adding a shard', () => {
  it('changes only the new shard, moves only to it, and leaves the rest where it was', () => {
    fc.assert(
      fc.property(anyRing, fc.integer({ min: 1, max: 12 }), (shards, vnodeCount) => {
        fc.pre(sharesOf(shards).some((share) => share > 0.01))
        const change = addShard(buildRing(shards), { id: fresh, vnodeCount })
        expectExactChange(shards, change)
        expect([...change.vnodes.keys()]).toEqual([fresh])
        expect(change.moves.every((move) => move.to === fresh)).toBe(true)
      }),
    )
  })

  it('moves 1/(n+1) of the hash space, taken from those that have the most', () => {
    for (const count of [1, 2, 3, 10, 40]) {
      const shards = dealt(count, 40)
      const change = addShard(buildRing(shards), { id: fresh, vnodeCount: 40 })
      expect(movedShare(change) * (count + 1)).toBeCloseTo(1, 1)
      expect(new Set(change.moves.map((move) => move.from)).size).toBe(count)
      const after = expectExactChange(shards, change)
      expect(variation(sharesOf(after))).toBeLessThan(0.02)
    }
  })

  it('gives it a fair share of a ring that is divided more finely than it asks for', () => {
    const shards = dealt(1, 500)
    const change = addShard(buildRing(shards), { id: fresh, vnodeCount: 4 })
    expect(movedShare(change)).toBeCloseTo(0.5, 1)
    expectExactChange(shards, change)
  })

  it('is fixed by the ring and the id, whatever the order of the shards', () => {
    const shards = dealt(7)
    const change = addShard(buildRing(shards), { id: fresh })
    expect(addShard(buildRing(shards.toReversed()), { id: fresh })).toEqual(change)
    const other = addShard(buildRing(shards), { id: id('other') })
    const tokens = new Set(unpackTokens(change.vnodes.get(fresh)!))
    expect(unpackTokens(other.vnodes.get(id('other'))!).filter((token) => tokens.has(token))).toEqual([])
  })

  it('refuses one that owns something, and takes one that is listed without vnodes', () => {
    const shards = dealt(2)
    expect(() => addShard(buildRing(shards), { id: id('s1') })).toThrow('on the ring already')
    const listed = buildRing([...shards, { id: fresh, vnodes: '' }])
    expect(addShard(listed, { id: fresh })).toEqual(addShard(buildRing(shards), { id: fresh }))
  })
})

describe('balance over 100 shards of 256 vnodes', () => {
  const shards = dealt(100)
  const ring = buildRing(shards)

  it('holds for the hash space', () => {
    expect(variation(sharesOf(shards))).toBeLessThan(0.01)
  })

  it.each([
    ['counting ids', (i: number) => `user-${String(i)}`],
    ['plain integers', (i: number) => String(i)],
    ['mail addresses', (i: number) => `customer.${(i * 7919).toString(36)}@example.com`],
  ])('holds for keys: %s', (_, keyOf) => {
    const counts = Array.from({ length: 100 }, () => 0)
    const cell = makeHash64()
    for (let i = 0; i < 200_000; i++) {
      murmur3.ofKey(keyOf(i), 'text', cell)
      counts[ring.owner[lookupRing(ring, cell.hi, cell.lo)]!]!++
    }
    expect(variation(counts)).toBeLessThanOrEqual(0.08)
  })

  it('holds after shards left and others came', () => {
    let changed: RingShard[] = shards
    for (const gone of ['s3', 's50', 's99', 's0']) {
      changed = owning(applyChange(changed, removeShard(buildRing(changed), id(gone))))
    }
    expect(variation(sharesOf(changed))).toBeLessThanOrEqual(0.08)
    for (const come of ['t1', 't2'])
      changed = applyChange(changed, addShard(buildRing(changed), { id: id(come) }))
    expect(variation(sharesOf(changed))).toBeLessThanOrEqual(0.08)
  })
})

describe('removing a shard', () => {
  it('moves what it had and nothing else', () => {
    fc.assert(
      fc.property(anyRing, fc.nat({ max: 5 }), (shards, index) => {
        const gone = shards[index]!
        fc.pre(owning(shards).some((shard) => shard !== gone))
        const change = removeShard(buildRing(shards), gone.id)
        if (gone.vnodes !== '') expect(change.vnodes.get(gone.id)).toBe('')
        expect(change.moves.every((move) => move.from === gone.id)).toBe(true)
        expectExactChange(shards, change)
      }),
    )
  })

  it('leaves the others even', () => {
    for (const count of [3, 5, 12, 33]) {
      for (const gone of ['s0', 's1', `s${String(count - 1)}`]) {
        const shards = dealt(count, 16)
        const after = expectExactChange(shards, removeShard(buildRing(shards), id(gone)))
        expect(variation(sharesOf(owning(after)))).toBeLessThan(0.01)
      }
    }
  })

  it('undoes nothing less than an addition did', () => {
    const shards = dealt(4)
    const added = applyChange(shards, addShard(buildRing(shards), { id: fresh }))
    const change = removeShard(buildRing(added), fresh)
    expect(movedShare(change) * 5).toBeCloseTo(1, 1)
  })

  it('refuses the last owner and a stranger', () => {
    const shards = dealt(1)
    expect(() => removeShard(buildRing(shards), id('s0'))).toThrow('no other shard than s0 owns anything')
    expect(() => removeShard(buildRing(shards), id('nobody'))).toThrow('there is no shard nobody')
  })
})

describe('splitting a shard', () => {
  const anySplit = fc.record({
    source: fc.nat({ max: 5 }),
    targets: fc.integer({ min: 1, max: 4 }),
    keepSource: fc.boolean(),
  })

  it('divides what it had among the targets and touches nobody else', () => {
    fc.assert(
      fc.property(anyRing, anySplit, (shards, { source, targets, keepSource }) => {
        const [split, ring] = [shards[source]!, buildRing(shards)]
        const parts = targets + (keepSource ? 1 : 0)
        fc.pre(parts > 1 && shareOf(rangesOf(ring, split.id)) > 0.001)
        const names = Array.from({ length: targets }, (_, i) => id(`t${String(i)}`))
        const change = splitShard(ring, {
          source: split.id,
          targets: names.map((name) => ({ id: name, vnodeCount: 4 })),
          keepSource,
        })
        const after = expectExactChange(shards, change)
        const shares = [...names, ...(keepSource ? [split.id] : [])].map((name) =>
          shareOf(rangesOf(buildRing(after), name)),
        )
        for (const share of shares) expect(share * parts).toBeCloseTo(shareOf(rangesOf(ring, split.id)), 5)
        if (!keepSource) expect(change.vnodes.get(split.id)).toBe('')
      }),
    )
  })

  it('and merging the parts again gives back the ownership', () => {
    fc.assert(
      fc.property(anyRing, anySplit, (shards, { source, targets, keepSource }) => {
        const [split, ring] = [shards[source]!, buildRing(shards)]
        fc.pre(targets + (keepSource ? 1 : 0) > 1 && shareOf(rangesOf(ring, split.id)) > 0.001)
        const names = Array.from({ length: targets }, (_, i) => id(`t${String(i)}`))
        const apart = applyChange(
          shards,
          splitShard(ring, {
            source: split.id,
            targets: names.map((name) => ({ id: name, vnodeCount: 4 })),
            keepSource,
          }),
        )
        const change = mergeShards(buildRing(apart), { sources: names, target: { id: split.id } })
        const whole = expectExactChange(apart, change)
        expect(rangesByShard(buildRing(owning(whole)))).toEqual(rangesByShard(buildRing(owning(shards))))
      }),
    )
  })

  it('keeps a single range whole: halves of a first shard are contiguous', () => {
    const shards = dealt(1)
    const change = splitShard(buildRing(shards), {
      source: id('s0'),
      targets: [{ id: id('x') }, { id: id('y') }],
    })
    expect(change.moves).toEqual([
      { from: 's0', to: 'x', start: '0', end: '9223372036854775807' },
      { from: 's0', to: 'y', start: '9223372036854775808', end: '18446744073709551615' },
    ])
    for (const vnodes of [change.vnodes.get(id('x'))!, change.vnodes.get(id('y'))!])
      expect(unpackTokens(vnodes)).toHaveLength(256)
  })

  it('cuts at a split point where the source is one range', () => {
    fc.assert(
      fc.property(anyHash, fc.boolean(), (point, keepSource) => {
        fc.pre(point < hashMax)
        const shards = dealt(1, 5)
        const targets = (keepSource ? ['y'] : ['x', 'y']).map((name) => ({ id: id(name), vnodeCount: 3 }))
        const change = splitShard(buildRing(shards), {
          source: id('s0'),
          targets,
          keepSource,
          splitPoint: String(point),
        })
        const after = expectExactChange(shards, change)
        const ring = buildRing(after)
        expect(rangesOf(ring, id(keepSource ? 's0' : 'x'))).toEqual([{ start: '0', end: String(point) }])
        expect(rangesOf(ring, id('y'))).toEqual([{ start: String(point + 1n), end: String(hashMax) }])
      }),
    )
  })

  it('refuses what makes no sense', () => {
    const ring = buildRing(dealt(2))
    const [source, x, y] = [id('s0'), { id: id('x') }, { id: id('y') }]
    expect(() => splitShard(ring, { source, targets: [x] })).toThrow('needs targets')
    expect(() => splitShard(ring, { source, targets: [x, x] })).toThrow('needs targets')
    expect(() => splitShard(ring, { source, targets: [x, { id: source }] })).toThrow('needs targets')
    expect(() => splitShard(ring, { source: fresh, targets: [x, y] })).toThrow('there is no shard new')
    expect(() => splitShard(ring, { source, targets: [x, y], splitPoint: '5' })).toThrow('single range')
    const one = buildRing(dealt(1))
    for (const vnodeCount of [0, -1, 1.5, Number.NaN, 1e9]) {
      expect(() => splitShard(one, { source, targets: [x, { ...y, vnodeCount }] })).toThrow(
        'number of vnodes',
      )
    }
    for (const splitPoint of ['-1', '', '1.5', '0x10', '007', '18446744073709551616']) {
      expect(() => splitShard(one, { source, targets: [x, y], splitPoint })).toThrow('is not a hash')
    }
    expect(() => splitShard(one, { source, targets: [x, y], splitPoint: String(hashMax) })).toThrow('outside')
    const withIdle = buildRing([...dealt(1), { id: fresh, vnodes: '' }])
    expect(() => splitShard(withIdle, { source: fresh, targets: [x, y] })).toThrow('owns too little')
  })
})

describe('merging shards', () => {
  it('gives everything of the sources to the target, new or standing', () => {
    fc.assert(
      fc.property(
        anyRing,
        fc.subarray([0, 1, 2, 3, 4, 5], { minLength: 1 }),
        fc.constantFrom('s0', 's3', 'new'),
        (shards, chosen, name) => {
          const sources = chosen.map((i) => shards[i]!.id)
          const target = id(name)
          fc.pre(
            shards.some((shard) => shard.vnodes !== '' && shard.id !== target && sources.includes(shard.id)),
          )
          const change = mergeShards(buildRing(shards), { sources, target: { id: target, vnodeCount: 4 } })
          const after = expectExactChange(shards, change)
          for (const source of sources)
            if (source !== target) expect(change.vnodes.get(source) ?? '').toBe('')
          expect(after.find((shard) => shard.id === target)?.vnodes).not.toBe('')
        },
      ),
    )
  })

  it('does not pile up vnodes', () => {
    const shards = dealt(2)
    const merged = applyChange(
      shards,
      mergeShards(buildRing(shards), { sources: [id('s0'), id('s1')], target: { id: id('s0') } }),
    )
    expect(unpackTokens(merged.find((shard) => shard.id === id('s0'))!.vnodes)).toHaveLength(256)
  })

  it('refuses what makes no sense', () => {
    const ring = buildRing(dealt(2))
    const [s0, s1] = [id('s0'), id('s1')]
    expect(() => mergeShards(ring, { sources: [s0, s0], target: { id: s1 } })).toThrow('twice')
    expect(() => mergeShards(ring, { sources: [s0], target: { id: s0 } })).toThrow(
      'nothing that could be merged',
    )
    expect(() => mergeShards(ring, { sources: [fresh], target: { id: s0 } })).toThrow('there is no shard new')
  })
})

describe('handing ranges over', () => {
  const anyRanges = fc.uniqueArray(anyHash, { minLength: 2, maxLength: 8 }).map((bounds) => {
    const ascending = bounds.toSorted((a, b) => (a < b ? -1 : 1))
    return ascending.flatMap((start, i) =>
      i % 2 === 0 && ascending[i + 1] !== undefined
        ? [{ start: String(start), end: String(ascending[i + 1]!) }]
        : [],
    )
  })

  it('moves exactly those ranges, whoever owns them', () => {
    fc.assert(
      fc.property(anyRing, anyRanges, fc.constantFrom('s0', 's4', 'new'), (shards, ranges, name) => {
        const target = id(name)
        const change = handOver(buildRing(shards), { ranges, to: { id: target, vnodeCount: 3 } })
        const after = modelOwner(expectExactChange(shards, change))
        for (const { start, end } of ranges)
          expect([after(BigInt(start)), after(BigInt(end))]).toEqual([target, target])
      }),
    )
  })

  it('there and back gives back the ownership', () => {
    fc.assert(
      fc.property(anyRing, anyRanges, (shards, ranges) => {
        const away = handOver(buildRing(shards), { ranges, to: { id: fresh } })
        let back: RingShard[] = applyChange(shards, away)
        for (const move of away.moves)
          back = applyChange(
            back,
            handOver(buildRing(back), { ranges: [move], to: { id: move.from! }, from: fresh }),
          )
        expect(rangesByShard(buildRing(owning(back)))).toEqual(rangesByShard(buildRing(owning(shards))))
      }),
    )
  })

  it('refuses another owner, overlaps and bad bounds', () => {
    const shards = dealt(1)
    const ring = buildRing(
      applyChange(
        shards,
        splitShard(buildRing(shards), { source: id('s0'), targets: [{ id: fresh }], keepSource: true }),
      ),
    )
    const to = { id: id('t') }
    const all = { start: '0', end: String(hashMax) }
    expect(() => handOver(ring, { ranges: [all], to, from: fresh })).toThrow('is owned by s0')
    expect(() => handOver(ring, { ranges: [all], to, from: id('nobody') })).toThrow(
      'there is no shard nobody',
    )
    expect(() =>
      handOver(ring, {
        ranges: [
          { start: '0', end: '5' },
          { start: '5', end: '6' },
        ],
        to,
      }),
    ).toThrow('overlap')
    expect(() => handOver(ring, { ranges: [{ start: '6', end: '5' }], to })).toThrow('is not a range')
    expect(() => handOver(ring, { ranges: [{ start: 'x', end: '5' }], to })).toThrow('is not a hash')
    expect(() => handOver(buildRing([]), { ranges: [all], to })).toThrow('no shard owns anything')
  })
})

describe('a life of changes', () => {
  it('stays exact', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('add', 'remove', 'split', 'merge'), fc.nat(), fc.nat()), {
          maxLength: 12,
        }),
        (steps) => {
          let shards = dealt(3, 4)
          for (const [i, [kind, first, second]] of steps.entries()) {
            const ring = buildRing(shards)
            const pick = (n: number): ShardId => shards[n % shards.length]!.id
            const born = { id: id(`n${String(i)}`), vnodeCount: 4 }
            if (shards.length < 2 && kind !== 'add') continue
            const change =
              kind === 'add'
                ? addShard(ring, born)
                : kind === 'remove'
                  ? removeShard(ring, pick(first))
                  : kind === 'split'
                    ? splitShard(ring, { source: pick(first), targets: [born], keepSource: true })
                    : mergeShards(ring, {
                        sources: [pick(first)],
                        target: { id: pick(first) === pick(second) ? born.id : pick(second) },
                      })
            shards = owning(expectExactChange(shards, change))
          }
        },
      ),
      { numRuns: 40 },
    )
  })
})
