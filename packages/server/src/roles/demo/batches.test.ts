import { describe, expect, test } from 'vitest'
import {
  buildShardMap,
  packTokens,
  parseEpoch,
  parseKeyspaceName,
  parseShardId,
  parseTerm,
  type ShardMap,
} from '@fleetshard/core'
import { batchesOf, inLanes, ownerOf } from './batches.ts'
import { makeUsers } from './users.ts'

const createdAt = '2026-01-01T00:00:00.000Z'

/** A ring of two shards, a half each. */
function twoShards(): ShardMap {
  const keyspace = parseKeyspaceName('default')
  const shards = [2n ** 63n, 2n ** 64n - 1n].map((token, index) => ({
    id: parseShardId(`shard-${String(index)}`),
    name: `shard-${String(index)}`,
    keyspace,
    status: 'active' as const,
    statusReason: null,
    version: 1,
    term: parseTerm(1),
    vnodes: packTokens([token]),
    nodes: [],
    sequenceBlock: index,
    createdAt,
  }))
  return buildShardMap({
    keyspace: {
      name: keyspace,
      engine: 'postgres',
      hash: 'murmur3',
      strategy: 'ring',
      defaultConsistency: 'strong',
      nextSequenceBlock: 2,
      version: 1,
      createdAt,
    },
    epoch: parseEpoch(1),
    tables: [],
    shards,
  })
}

describe('batches', () => {
  test('hold every row once, with its owner, and no more than asked', () => {
    const map = twoShards()
    const users = makeUsers(1_000)
    const batches = batchesOf([users], map, 64)
    expect(batches.every(({ rows }) => rows.length <= 64)).toBe(true)
    expect(batches.flatMap(({ rows }) => rows.map(([key]) => key)).sort()).toEqual(
      users.rows.map(([key]) => key).sort(),
    )
    for (const { shard, rows } of batches)
      expect(new Set(rows.map(([key]) => ownerOf(map, key, 'text')))).toEqual(new Set([shard]))
  })

  test('of different shards take turns', () => {
    const batches = batchesOf([makeUsers(1_000)], twoShards(), 64)
    expect(new Set(batches.slice(0, 2).map(({ shard }) => shard)).size).toBe(2)
  })
})

describe('lanes', () => {
  const never = new AbortController().signal

  test('work through every item, no more at once than there are lanes', async () => {
    let [underWay, most] = [0, 0]
    const done: number[] = []
    const items = Array.from({ length: 20 }, (_, item) => item)
    const failures = await inLanes(items, 3, never, async (item) => {
      underWay += 1
      most = Math.max(most, underWay)
      await Promise.resolve()
      underWay -= 1
      done.push(item)
    })
    expect(failures).toEqual([])
    expect(done.sort((a, b) => a - b)).toEqual(items)
    expect(most).toBe(3)
  })

  test('tell every failure and go on with the rest', async () => {
    const done: number[] = []
    const failures = await inLanes([1, 2, 3, 4], 2, never, async (item) => {
      if (item % 2 === 0) throw new Error(`no ${String(item)}`)
      done.push(await Promise.resolve(item))
    })
    expect(failures).toHaveLength(2)
    expect(done).toEqual([1, 3])
  })

  test('give up when everything fails', async () => {
    let tried = 0
    const items = Array.from({ length: 1_000 }, (_, item) => item)
    const failures = await inLanes(items, 4, never, () => {
      tried += 1
      return Promise.reject(new Error('no'))
    })
    expect(failures.length).toBeGreaterThanOrEqual(10)
    expect(tried).toBeLessThan(20)
  })

  test('end with the reason of the signal', async () => {
    const stop = new AbortController()
    const working = inLanes([1, 2, 3], 1, stop.signal, (item) => {
      if (item === 2) stop.abort(new Error('stopped'))
      return Promise.resolve()
    })
    await expect(working).rejects.toThrow('stopped')
  })
})
