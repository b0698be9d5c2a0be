// Conformance: watches.
import { expect } from 'vitest'
import type { WatchEvent } from '../store.ts'
import {
  commit,
  del,
  patience,
  put,
  readMap,
  record,
  replay,
  take,
  told,
  until,
  type Cases,
} from './harness.ts'

/** Bytes of a value, so that a few commits are more than one message of any store. */
const bulkyBytes = 16 * 1024
const bulkyKeys = 60

export const watchCases: Cases = {
  'tells one commit as one batch': async ({ store, prefix }) => {
    await commit(store, [put(`${prefix}c`, '0')])
    const { revision } = await store.read(prefix)
    const first = await commit(store, [put(`${prefix}a`, '1'), put(`${prefix}b`, '1'), del(`${prefix}c`)])
    await commit(store, [put(`${prefix}a`, '2')])
    const events = await take(store, prefix, revision, 2)
    expect(told(events).map((changes) => changes.toSorted())).toEqual([
      [`-${prefix}c`, `${prefix}a=1`, `${prefix}b=1`],
      [`${prefix}a=2`],
    ])
    expect(events[0]).toMatchObject({ revision: first.revision })
    const changes = events[0]?.kind === 'batch' ? events[0].changes : []
    for (const change of changes) {
      if (change.kind === 'put') expect(change.revision).toBe(first.revisions.get(change.key))
    }
  },

  'goes on from any revision, without a gap and without a repetition': async ({ store, prefix }) => {
    const revisions = [(await store.read(prefix)).revision]
    const expected: string[][] = []
    for (let n = 0; n < 20; n++) {
      revisions.push((await commit(store, [put(`${prefix}${n % 3}`, String(n))])).revision)
      expected.push([`${prefix}${n % 3}=${n}`])
    }
    for (const [index, revision] of revisions.slice(0, -1).entries()) {
      expect(told(await take(store, prefix, revision, 20 - index))).toEqual(expected.slice(index))
    }
  },

  'goes on from the revision of a batch': async ({ store, prefix }) => {
    const { revision } = await store.read(prefix)
    await commit(store, [put(`${prefix}a`, '1')])
    await commit(store, [put(`${prefix}a`, '2')])
    const [first] = await take(store, prefix, revision, 1)
    if (first?.kind !== 'batch') throw new Error('no batch')
    expect(told(await take(store, prefix, first.revision, 1))).toEqual([[`${prefix}a=2`]])
  },

  'tells only keys under its prefix': async ({ store, prefix }) => {
    const { revision } = await store.read(prefix)
    await commit(store, [put(`${prefix}ab`, '1')])
    await commit(store, [put(`${prefix}a`, '1'), put(`${prefix}a/b`, '1'), put(`${prefix}b/a/`, '1')])
    await commit(store, [put(`${prefix}a/c`, '2')])
    expect(told(await take(store, `${prefix}a/`, revision, 2))).toEqual([
      [`${prefix}a/b=1`],
      [`${prefix}a/c=2`],
    ])
  },

  'tells large commits whole, however far behind it is': async ({ store, prefix }) => {
    const { revision } = await store.read(prefix)
    const commits = 6
    for (let n = 0; n < commits; n++) {
      const value = String(n).padEnd(bulkyBytes, '.')
      await commit(
        store,
        Array.from({ length: bulkyKeys }, (_, key) => put(`${prefix}${key}`, value)),
      )
    }
    const events = await take(store, prefix, revision, commits)
    for (const event of events) expect(event.kind === 'batch' && event.changes.length).toBe(bulkyKeys)
    expect(replay([], events)).toEqual((await store.read(prefix)).entries)
  },

  'waits for a slow reader': async ({ store, prefix }) => {
    const { revision } = await store.read(prefix)
    await commit(store, [put(`${prefix}a`, '0')])
    const seen: string[][] = []
    for await (const event of store.watch(prefix, revision, patience())) {
      seen.push(...told([event]))
      if (seen.length === 7) break
      // Committed while nobody reads the watch.
      if (seen.length <= 3) {
        await commit(store, [put(`${prefix}a`, `${seen.length}, first`)])
        await commit(store, [put(`${prefix}a`, `${seen.length}, second`)])
      }
    }
    const later = ['1, first', '1, second', '2, first', '2, second', '3, first', '3, second']
    expect(seen).toEqual(['0', ...later].map((value) => [`${prefix}a=${value}`]))
  },

  'ends without an error when its signal aborts': async ({ store, prefix }) => {
    const { revision } = await store.read(prefix)
    const stop = new AbortController()
    const events: WatchEvent[] = []
    const ended = (async () => {
      for await (const event of store.watch(prefix, revision, stop.signal)) events.push(event)
    })()
    await commit(store, [put(`${prefix}a`, '1')])
    await until('the watch runs', () => events.length === 1)
    stop.abort()
    await ended
    for await (const event of store.watch(prefix, revision, AbortSignal.abort())) events.push(event)
    expect(events).toHaveLength(1)
  },

  'ends without an error when the store is closed': async ({ harness, store, prefix }) => {
    const { revision } = await store.read(prefix)
    const other = harness.open()
    const watched = record(other, prefix, revision)
    await commit(store, [put(`${prefix}a`, '1')])
    await until('the watch runs', () => watched.events.length === 1)
    await other[Symbol.asyncDispose]()
    await watched.ended
    expect(watched.events).toHaveLength(1)
  },

  'says that the history is gone, and goes on from a new read': async ({ harness, store, prefix }) => {
    const { revision } = await store.read(prefix)
    await commit(store, [put(`${prefix}a`, '1')])
    await commit(store, [put(`${prefix}a`, '2')])
    await harness.compact()
    const events: WatchEvent[] = []
    for await (const event of store.watch(prefix, revision, patience())) events.push(event)
    expect(told(events)).toEqual([['compacted']])
    const again = await store.read(prefix)
    expect(again.entries.map(({ value }) => value)).toEqual(['2'])
    await commit(store, [put(`${prefix}a`, '3')])
    expect(told(await take(store, prefix, again.revision, 1))).toEqual([[`${prefix}a=3`]])
  },

  'loses nothing of a compaction under it': async ({ harness, store, prefix }) => {
    const { entries, revision } = await store.read(prefix)
    await using watched = record(store, prefix, revision)
    const lastOf = (): string => watched.events.map((event) => told([event]).join()).at(-1) ?? ''
    for (let n = 1; n <= 10; n++) {
      const key = `${prefix}${n % 3}`
      await commit(store, [put(key, String(n))])
      await until('the change was seen', () => lastOf() === `${key}=${n}`)
      await harness.compact()
    }
    expect(watched.events).toHaveLength(10)
    expect(replay(entries, watched.events)).toEqual((await store.read(prefix)).entries)
  },

  'is soon told of what others commit': async ({ harness, store, prefix }) => {
    await using other = harness.open()
    const { revision } = await store.read(prefix)
    await using watched = record(store, prefix, revision)
    for (let n = 0; n < 20; n++) {
      await commit(other, [put(`${prefix}a`, String(n))])
      await until('the change was seen', () => watched.events.length === n + 1)
    }
    expect(await readMap(store, prefix)).toEqual(new Map([[`${prefix}a`, '19']]))
    await commit(other, [del(`${prefix}a`)])
    await until('the delete was seen', () => watched.events.length === 21)
    expect(told(watched.events).at(-1)).toEqual([`-${prefix}a`])
  },
}
