// A map never goes back in time.
import { describe, expect, it } from 'vitest'
import { parseTerm } from '../ids.ts'
import { mayReplace } from './guard.ts'
import { testShard, testSnapshot } from '../testing.ts'

const later = '2025-01-01T00:00:00.000Z'

describe('a held map', () => {
  it('gives way to the first one, and to one of the same or a higher epoch', () => {
    expect(mayReplace(null, testSnapshot())).toBe(true)
    expect(mayReplace(testSnapshot({ epoch: 4 }), testSnapshot({ epoch: 4 }))).toBe(true)
    expect(mayReplace(testSnapshot({ epoch: 4 }), testSnapshot({ epoch: 5 }))).toBe(true)
  })

  it('stays before one of a lower epoch', () => {
    expect(mayReplace(testSnapshot({ epoch: 4 }), testSnapshot({ epoch: 3 }))).toBe(false)
  })

  it('stays before one with a lower term or version of a shard, whatever its epoch', () => {
    const held = testSnapshot({
      shards: [testShard('a', { term: parseTerm(3), version: 9 }), testShard('b')],
    })
    const offer = (term: number, version: number): boolean =>
      mayReplace(
        held,
        testSnapshot({ epoch: 8, shards: [testShard('a', { term: parseTerm(term), version })] }),
      )
    expect(offer(3, 9)).toBe(true)
    expect(offer(4, 10)).toBe(true)
    expect(offer(2, 10)).toBe(false)
    expect(offer(3, 8)).toBe(false)
  })

  it('takes shards and keyspaces that were made anew for others', () => {
    const held = testSnapshot({ epoch: 9, shards: [testShard('a', { version: 9 })] })
    const anew = testSnapshot({ epoch: 9, shards: [testShard('a', { version: 1, createdAt: later })] })
    expect(mayReplace(held, anew)).toBe(true)
    const newKeyspace = testSnapshot({ epoch: 1, keyspace: { createdAt: later } })
    expect(mayReplace(held, newKeyspace)).toBe(true)
    expect(mayReplace(newKeyspace, held)).toBe(false)
  })
})
