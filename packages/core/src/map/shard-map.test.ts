// The shard map: placement of keys against its definition, and what a map says about itself.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatHash, makeHash64 } from '../hash/hash64.ts'
import { HASHES } from '../hash/hashes.ts'
import { parseKey } from '../key/parse-key.ts'
import type { HashName } from '../model.ts'
import { addShard } from '../ring/add-shard.ts'
import { buildRing } from '../ring/ring.ts'
import { anyHash, anyRing, modelOwner } from '../ring/testing/ring-model.ts'
import { packTokens, unpackTokens } from '../ring/tokens.ts'
import { buildShardMap, type ShardMap } from './shard-map.ts'
import { ownerOfUntyped } from './untyped-key.ts'
import { testShard, testSnapshot, testTable } from '../testing.ts'

const text = (key: string): ReturnType<typeof parseKey> => parseKey(key, 'text')

function hashOf(name: HashName, key: string): bigint {
  const cell = makeHash64()
  HASHES[name].ofKey(key, 'text', cell)
  return (BigInt(cell.hi) << 32n) | BigInt(cell.lo)
}

/** n shards of 16 vnodes. */
function mapOf(count: number, hash: HashName = 'murmur3'): ShardMap {
  let shards: ReturnType<typeof testShard>[] = []
  for (let i = 0; i < count; i++) {
    const shard = testShard(`s${String(i)}`)
    const vnodes = addShard(buildRing(shards), { id: shard.id, vnodeCount: 16 }).vnodes.get(shard.id)!
    shards = [...shards, { ...shard, vnodes }]
  }
  return buildShardMap(testSnapshot({ keyspace: { hash }, shards, epoch: 7 }))
}

describe('a map on a ring', () => {
  it('finds the owner that the definition gives, for hashes and for keys', () => {
    const keys = fc.array(fc.string({ unit: 'binary', minLength: 1 }), { maxLength: 10 })
    fc.assert(
      fc.property(anyRing, fc.array(anyHash, { maxLength: 20 }), keys, (ring, hashes, texts) => {
        const shards = ring.map(({ id, vnodes }) => testShard(id, { vnodes }))
        const map = buildShardMap(testSnapshot({ shards }))
        const model = modelOwner(shards)
        for (const hash of hashes) {
          const vnode = map.lookup(Number(hash >> 32n), Number(hash & 0xffff_ffffn))
          expect([hash, map.ownerOf(vnode).id]).toEqual([hash, model(hash)])
        }
        for (const key of texts.filter((candidate) => !candidate.includes('\0'))) {
          expect([key, map.shardFor(text(key), 'text').id]).toEqual([key, model(hashOf('murmur3', key))])
        }
      }),
    )
  })

  it.each(['murmur3', 'xxhash', 'postgres'] as const)(
    'tells all about the place of a key under %s',
    (hash) => {
      const map = mapOf(5, hash)
      const key = text('user-123')
      const at = map.locate(key, 'text')
      expect(at.hash).toBe(String(hashOf(hash, 'user-123')))
      expect(at.shard).toBe(map.shardFor(key, 'text'))
      expect(at.vnode).toBe(map.vnodeOf(key, 'text'))
      expect(map.ownerOf(at.vnode)).toBe(at.shard)
      expect(at.epoch).toBe(7)
      expect(unpackTokens(at.shard.vnodes)).toContain(BigInt(at.token!))
    },
  )

  it('places the same key alike however its value came, and by its type under postgres', () => {
    for (const hash of ['murmur3', 'xxhash', 'postgres'] as const) {
      const map = mapOf(8, hash)
      const places = [42, 42n, '42', '+042'].map((value) => map.locate(parseKey(value, 'int8'), 'int8').hash)
      expect(new Set(places).size).toBe(1)
      const asText = map.locate(text('42'), 'text').hash
      if (hash === 'postgres') expect(places).not.toContain(asText)
      else expect(places).toContain(asText)
    }
  })

  it('answers a placement with ranges: one point for a key of one column', () => {
    const map = mapOf(3)
    const key = { text: text('user-123'), type: 'text' } as const
    const { hash, shard } = map.locate(key.text, 'text')
    expect(map.place([key])).toEqual([{ start: hash, end: hash, shard }])
    expect(() => map.place([])).toThrow('one column')
    expect(() => map.place([key, key])).toThrow('2 were given')
  })

  it('leaves out shards without vnodes, but knows them', () => {
    const shards = [testShard('idle'), testShard('a', { vnodes: packTokens([5n]) })]
    const map = buildShardMap(testSnapshot({ shards }))
    expect(map.owners.map((shard) => shard.id)).toEqual(['a'])
    expect([...map.shards.keys()]).toEqual(['idle', 'a'])
    expect(map.shardFor(text('x'), 'text').id).toBe('a')
    expect(map.vnodeCount).toBe(1)
  })

  it('finds no shard when none owns anything', () => {
    for (const map of [
      buildShardMap(testSnapshot()),
      buildShardMap(testSnapshot({ shards: [testShard('idle')] })),
      buildShardMap(testSnapshot({ keyspace: { strategy: 'modulo', hash: 'fnv1a' } })),
    ]) {
      expect(map.vnodeOf(text('x'), 'text')).toBe(-1)
      expect(map.lookup(0, 0)).toBe(-1)
      expect(() => map.shardFor(text('x'), 'text')).toThrow('no shard that owns keys')
      expect(() => map.locate(text('x'), 'text')).toThrow('no shard that owns keys')
    }
  })

  it('refuses broken records', () => {
    const twice = [testShard('a', { vnodes: packTokens([5n]) }), testShard('b', { vnodes: packTokens([5n]) })]
    expect(() => buildShardMap(testSnapshot({ shards: twice }))).toThrow('share token 5')
    expect(() => buildShardMap(testSnapshot({ shards: [testShard('a', { vnodes: 'AAAA' })] }))).toThrow(
      'base64',
    )
    expect(() => buildShardMap(testSnapshot({ keyspace: { hash: 'fnv1a' } }))).toThrow('hash fnv1a on a ring')
  })

  it('is built from the same snapshot always the same', () => {
    const { snapshot } = mapOf(20)
    const [first, second] = [buildShardMap(snapshot), buildShardMap(snapshot)]
    for (let i = 0; i < 500; i++) {
      const key = text(`user-${String(i)}`)
      expect(first.locate(key, 'text')).toEqual(second.locate(key, 'text'))
    }
  })

  it('of 1,000 shards with 256 vnodes each takes less than 10 MB', () => {
    const cell = makeHash64()
    const shards = Array.from({ length: 1000 }, (_, i) => {
      const tokens = Array.from({ length: 256 }, (_token, j) =>
        hashOf('murmur3', `${String(i)} ${String(j)}`),
      )
      return testShard(`s${String(i)}`, { vnodes: packTokens(tokens) })
    })
    const map = buildShardMap(testSnapshot({ shards }))
    const ring = map.ring!
    const bytes = [ring.hi, ring.lo, ring.owner, ring.firstAt].reduce(
      (sum, column) => sum + column.byteLength,
      0,
    )
    expect(bytes).toBeLessThan(10e6)
    for (let i = 0; i < 50; i++) {
      HASHES.murmur3.ofKey(String(i), 'text', cell)
      expect(ring.owner[map.lookup(cell.hi, cell.lo)]).toBeLessThan(1000)
    }
  })
})

describe('a map by modulo', () => {
  it('takes the hash modulo the number of shards, in whatever order they are listed', () => {
    const hashes = fc.constantFrom<HashName>('fnv1a', 'murmur3', 'xxhash', 'postgres')
    fc.assert(
      fc.property(
        hashes,
        fc.integer({ min: 1, max: 1500 }),
        fc.string({ minLength: 1 }),
        (hash, count, key) => {
          fc.pre(!key.includes('\0'))
          // As a catalog lists them, by their ids as texts: 0, 1, 10, 11, 2 …
          const shards = Array.from({ length: count }, (_, i) => testShard(String(i))).toSorted((a, b) =>
            a.id < b.id ? -1 : 1,
          )
          const map = buildShardMap(testSnapshot({ keyspace: { strategy: 'modulo', hash }, shards }))
          const at = map.locate(text(key), 'text')
          expect(at.shard.id).toBe(String(hashOf(hash, key) % BigInt(count)))
          expect(map.ownerOf(at.vnode)).toBe(at.shard)
          expect(at.hash).toBe(String(hashOf(hash, key)))
          expect(at.token).toBeNull()
          expect(map.owners).toHaveLength(count)
        },
      ),
    )
  })

  it('refuses a list that lacks a number', () => {
    const shards = ['0', '1', '3'].map((id) => testShard(id))
    const parts = { keyspace: { strategy: 'modulo', hash: 'fnv1a' }, shards } as const
    expect(() => buildShardMap(testSnapshot(parts))).toThrow('there is no shard 2 among 3')
  })
})

describe('what a map knows of tables', () => {
  const keyTypeOf = (...tables: readonly ReturnType<typeof testTable>[]): string | null =>
    buildShardMap(testSnapshot({ tables })).keyType

  it('finds them by their name', () => {
    const users = testTable('public.users')
    const map = buildShardMap(testSnapshot({ tables: [users] }))
    expect(map.tables.get('public.users')).toBe(users)
    expect(map.tables.get('public.orders')).toBeUndefined()
  })

  it('has a key type for keys without a table: the common one, text for none, null when they differ', () => {
    const reference = testTable('public.countries', { kind: 'reference', keyColumn: null, keyType: null })
    const table = (
      name: string,
      keyType: 'text' | 'int2' | 'int4' | 'int8' | 'uuid',
    ): ReturnType<typeof testTable> => testTable(name, { keyType })
    expect(keyTypeOf()).toBe('text')
    expect(keyTypeOf(reference)).toBe('text')
    expect(keyTypeOf(reference, table('a', 'uuid'), table('b', 'uuid'))).toBe('uuid')
    expect(keyTypeOf(table('a', 'int4'), table('b', 'int8'), table('c', 'int2'))).toBe('int8')
    expect(keyTypeOf(table('a', 'int8'), table('b', 'text'))).toBeNull()
    expect(keyTypeOf(table('a', 'text'), table('b', 'int8'))).toBeNull()
  })
})

describe('a key without its table', () => {
  const typed = (hash: HashName, ...types: readonly ('text' | 'int8' | 'uuid')[]): ShardMap => {
    const { snapshot } = mapOf(4, hash)
    const tables = types.map((keyType) => testTable(`public.${keyType}_keyed`, { keyType }))
    return buildShardMap({ ...snapshot, tables })
  }
  const owner = (map: ShardMap, key: string | number): string =>
    ownerOfUntyped(map, (type) => parseKey(key, type)).id

  it('lies where the common type puts it', () => {
    const map = typed('murmur3', 'text')
    expect(owner(map, 'a')).toBe(map.shardFor(parseKey('a', 'text'), 'text').id)
  })

  it('lies where all types put it that can read it', () => {
    const map = typed('murmur3', 'text', 'int8', 'uuid')
    expect(owner(map, 42)).toBe(map.shardFor(parseKey(42, 'int8'), 'int8').id)
    expect(owner(map, 'ada')).toBe(map.shardFor(parseKey('ada', 'text'), 'text').id)
    const numbers = typed('postgres', 'uuid', 'int8')
    expect(owner(numbers, 42)).toBe(numbers.shardFor(parseKey(42, 'int8'), 'int8').id)
  })

  it('is refused where two types put it on different shards, naming both, and where none can read it', () => {
    const map = typed('postgres', 'text', 'int8')
    const apart = Array.from({ length: 100 }, (_, n) => n).find(
      (n) => map.shardFor(parseKey(n, 'text'), 'text') !== map.shardFor(parseKey(n, 'int8'), 'int8'),
    )
    expect(() => owner(map, apart!)).toThrow(
      /text of public\.text_keyed and on .* int8 of public\.int8_keyed/,
    )
    expect(() => owner(typed('murmur3', 'uuid', 'int8'), 'ada')).toThrow(
      expect.objectContaining({ code: 'invalid_shard_key' }),
    )
  })
})

describe('hashes in decimal', () => {
  it('are unsigned', () => {
    expect(formatHash(0, 0)).toBe('0')
    expect(formatHash(0, 0xffffffff)).toBe('4294967295')
    expect(formatHash(0xffffffff, 0xffffffff)).toBe('18446744073709551615')
    expect(formatHash(1, 0)).toBe('4294967296')
  })
})
