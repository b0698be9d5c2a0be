// Conformance: reads and commits.
import { expect } from 'vitest'
import {
  commitBytesMax,
  commitOperationsMax,
  keyBytesMax,
  valueBytesMax,
  type CatalogStore,
  type StoreCondition,
} from '../store.ts'
import { absent, commit, del, failure, put, readMap, record, told, until, type Cases } from './harness.ts'

/** Adds one to a counter under a key, until the compare-and-set is won. */
async function increment(store: CatalogStore, key: string): Promise<void> {
  for (;;) {
    const { entries } = await store.read(key)
    const [entry] = entries
    if (entry === undefined) throw new Error('the counter is gone')
    const condition: StoreCondition = { kind: 'revision', key, revision: entry.revision }
    const result = await store.commit([condition], [put(key, String(Number(entry.value) + 1))])
    if (result.kind === 'committed') return
  }
}

export const commitCases: Cases = {
  'reads what was committed, and nothing outside the prefix': async ({ store, prefix }) => {
    const writes = ['a/b', 'a/c', 'ab', 'a', 'b/a'].map((key) => put(prefix + key, `of ${key}`))
    await commit(store, writes)
    expect([...(await readMap(store, `${prefix}a/`)).keys()]).toEqual([`${prefix}a/b`, `${prefix}a/c`])
    expect([...(await readMap(store, `${prefix}a`)).keys()]).toEqual(
      ['a', 'a/b', 'a/c', 'ab'].map((key) => prefix + key),
    )
    expect(await readMap(store, `${prefix}nothing`)).toEqual(new Map())
    const all = await readMap(store, '')
    for (const write of writes) expect(all.has(write.key)).toBe(true)
  },

  'orders keys by their bytes and takes a prefix as plain text': async ({ store, prefix }) => {
    const names = ['%', 'A', 'B', '_', 'a', 'ä', '\uffee', '\u{1f600}', '\u{10ffff}x']
    await commit(
      store,
      names.toReversed().map((name) => put(prefix + name, name)),
    )
    expect([...(await readMap(store, prefix)).values()]).toEqual(names)
    for (const name of names) {
      expect([...(await readMap(store, prefix + name)).values()], name).toEqual([name])
    }
  },

  'keeps any text exactly': async ({ store, prefix }) => {
    const values = [
      '',
      ' ',
      '"\'\\',
      '{"a":"\\u0000"}',
      'line\r\nline\t',
      'ü 漢 \u{1f600}\u{10ffff}',
      '\\x41',
      'NULL',
    ]
    await commit(
      store,
      values.map((value, index) => put(`${prefix}${index}`, value)),
    )
    expect([...(await readMap(store, prefix)).values()]).toEqual(values)
  },

  'writes all or nothing': async ({ store, prefix }) => {
    await commit(store, [put(`${prefix}a`, '1'), put(`${prefix}b`, '1')])
    const result = await store.commit(
      [absent(`${prefix}new`), absent(`${prefix}a`)],
      [put(`${prefix}new`, '2'), put(`${prefix}b`, '2'), del(`${prefix}a`)],
    )
    expect(result).toEqual({ kind: 'conflict' })
    expect(await readMap(store, prefix)).toEqual(
      new Map([`${prefix}a`, `${prefix}b`].map((key) => [key, '1'])),
    )
  },

  'judges each kind of condition': async ({ store, prefix }) => {
    const key = `${prefix}a`
    const exists: StoreCondition = { kind: 'exists', key }
    const judge = async (condition: StoreCondition) => (await store.commit([condition], [])).kind
    expect(await judge(absent(key))).toBe('committed')
    expect(await judge(exists)).toBe('conflict')
    const { entries } = (await commit(store, [put(key, '1')]), await store.read(key))
    const revision = entries[0]?.revision ?? expect.fail('no entry')
    expect(await judge(absent(key))).toBe('conflict')
    expect(await judge(exists)).toBe('committed')
    expect(await judge({ kind: 'revision', key, revision })).toBe('committed')
    await commit(store, [put(key, '1')])
    expect(await judge({ kind: 'revision', key, revision })).toBe('conflict')
    await commit(store, [del(key)])
    expect(await judge({ kind: 'revision', key, revision })).toBe('conflict')
    expect(await judge(absent(key))).toBe('committed')
  },

  'tells the new revision of every key that was put': async ({ store, prefix }) => {
    await commit(store, [put(`${prefix}gone`, '1')])
    const done = await commit(store, [put(`${prefix}a`, '1'), del(`${prefix}gone`), put(`${prefix}b`, '1')])
    const { entries } = await store.read(prefix)
    expect(entries.map(({ key }) => key)).toEqual([`${prefix}a`, `${prefix}b`])
    expect(done.revisions).toEqual(new Map(entries.map(({ key, revision }) => [key, revision])))
    const again = await commit(store, [put(`${prefix}a`, '1')])
    expect(again.revisions.get(`${prefix}a`)).not.toBe(done.revisions.get(`${prefix}a`))
  },

  'makes no batch of a commit that changes nothing': async ({ store, prefix }) => {
    const { revision } = await store.read(prefix)
    await using watched = record(store, prefix, revision)
    await commit(store, [del(`${prefix}absent`)])
    await commit(store, [], [absent(`${prefix}absent`)])
    await commit(store, [put(`${prefix}a`, '1')])
    await until('the put was seen', () => watched.events.length > 0)
    expect(told(watched.events)).toEqual([[`${prefix}a=1`]])
  },

  'lets exactly one of many compare-and-sets win': async ({ harness, store, prefix }) => {
    const handles = Array.from({ length: 4 }, () => harness.open())
    try {
      for (let round = 0; round < 5; round++) {
        const key = `${prefix}${round}`
        const results = await Promise.all(
          Array.from({ length: 16 }, (_, n) =>
            (handles[n % 4] ?? store).commit([absent(key)], [put(key, String(n))]),
          ),
        )
        expect(results.filter(({ kind }) => kind === 'committed')).toHaveLength(1)
        const winner = results.findIndex(({ kind }) => kind === 'committed')
        expect((await readMap(store, key)).get(key)).toBe(String(winner))
      }
    } finally {
      for (const handle of handles) await handle[Symbol.asyncDispose]()
    }
  },

  'loses no increment of a counter': async ({ harness, store, prefix }) => {
    const key = `${prefix}counter`
    await commit(store, [put(key, '0')])
    await using other = harness.open()
    const count = async (handle: CatalogStore): Promise<void> => {
      for (let times = 0; times < 20; times++) await increment(handle, key)
    }
    await Promise.all([count(store), count(store), count(other), count(other)])
    expect(await readMap(store, key)).toEqual(new Map([[key, '80']]))
  },

  'takes what is within the limits, and refuses what is above': async ({ store, prefix }) => {
    const many = (count: number) => Array.from({ length: count }, (_, n) => put(`${prefix}many/${n}`, 'x'))
    await commit(store, many(commitOperationsMax))
    await commit(store, many(commitOperationsMax - 1), [absent(`${prefix}other`)])
    await failure(store.commit([absent(`${prefix}other`)], many(commitOperationsMax)), 'catalog_limit')
    const large = 'é'.repeat(valueBytesMax / 2)
    await commit(store, [put(`${prefix}large`, large)])
    expect((await readMap(store, `${prefix}large`)).get(`${prefix}large`)).toBe(large)
    await failure(store.commit([], [put(`${prefix}large`, `${large}x`)]), 'catalog_limit')
    const whole = ['1', '2', '3', '4'].map((name) =>
      put(prefix + name, 'x'.repeat(valueBytesMax - prefix.length - 1)),
    )
    expect(whole.reduce((sum, write) => sum + write.key.length + valueBytesMax - prefix.length - 1, 0)).toBe(
      commitBytesMax,
    )
    await commit(store, whole)
    await failure(store.commit([], [...whole, put(`${prefix}5`, '')]), 'catalog_limit')
  },

  'refuses keys and values that a store cannot keep': async ({ store, prefix }) => {
    const longest = prefix.padEnd(keyBytesMax, 'k')
    await commit(store, [put(longest, '1')])
    expect([...(await readMap(store, longest)).keys()]).toEqual([longest])
    await failure(store.commit([], [put(`${longest}k`, '1')]), 'catalog_limit')
    await failure(store.commit([], [put('', '1')]), 'catalog_limit')
    await failure(store.commit([], [put(`${prefix}a`, 'a\0b')]), 'catalog_limit')
    await failure(store.commit([], [put(`${prefix}a`, '\ud800')]), 'catalog_limit')
    await failure(store.commit([], [put(`${prefix}a`, '1'), del(`${prefix}a`)]), 'catalog_limit')
  },

  'ends with the reason of its signal': async ({ store, prefix }) => {
    const reason = new Error('enough')
    const aborted = AbortSignal.abort(reason)
    await expect(store.read(prefix, aborted)).rejects.toBe(reason)
    await expect(store.commit([], [put(`${prefix}a`, '1')], aborted)).rejects.toBe(reason)
    await expect(store.lease(10_000, aborted)).rejects.toBe(reason)
    const stop = new AbortController()
    const inFlight = [store.read(prefix, stop.signal), store.lease(10_000, stop.signal)]
    stop.abort(reason)
    for (const operation of inFlight) await expect(operation).rejects.toBe(reason)
    expect(await readMap(store, prefix)).toEqual(new Map())
  },

  'refuses work once it is closed': async ({ harness, prefix }) => {
    const store = harness.open()
    await store.read(prefix)
    await store[Symbol.asyncDispose]()
    await failure(store.read(prefix), 'catalog_unavailable')
    await failure(store.commit([], [put(`${prefix}a`, '1')]), 'catalog_unavailable')
    await failure(store.lease(10_000), 'catalog_unavailable')
    await store[Symbol.asyncDispose]()
  },
}
