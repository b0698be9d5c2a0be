// Conformance: kill -9 of the store's server, and its return.
import { isFleetError } from '@fleetshard/core'
import { expect } from 'vitest'
import { systemClock } from '../../runtime/mod.ts'
import type { CatalogStore, StoreChange, StoreWrite } from '../store.ts'
import type { StoreHarness } from './harness.ts'
import { commit, del, failure, put, readMap, record, replay, told, until, type Cases } from './harness.ts'

interface Attempt {
  readonly key: string
  readonly value: string
  /** Null while the outcome is unknown. */
  revision: string | null
}

/** Writes under a few keys until the signal aborts, and notes what it tried and what was acknowledged. */
async function writeOn(
  store: CatalogStore,
  prefix: string,
  name: string,
  signal: AbortSignal,
): Promise<Attempt[]> {
  const attempts: Attempt[] = []
  for (let n = 0; !signal.aborted; n++) {
    const attempt: Attempt = { key: `${prefix}${n % 4}`, value: `${name}-${n}`, revision: null }
    attempts.push(attempt)
    const other: StoreWrite = n % 3 === 0 ? del(`${prefix}x`) : put(`${prefix}x`, attempt.value)
    try {
      const result = await store.commit([], [put(attempt.key, attempt.value), other])
      if (result.kind === 'committed') attempt.revision = result.revisions.get(attempt.key) ?? null
    } catch (error) {
      if (!isFleetError(error, 'catalog_unavailable')) throw error
      await systemClock.sleep(5)
    }
  }
  return attempts
}

async function restart(harness: StoreHarness): Promise<void> {
  await harness.server?.kill()
  await harness.server?.start()
}

const isPut = (change: StoreChange) => change.kind === 'put'

export const restartCases: Cases = {
  'neither loses nor invents a change over kill -9 under load': async ({ harness, store, prefix }) => {
    const start = await store.read(prefix)
    await using watched = record(store, prefix, start.revision)
    const handles = Array.from({ length: 3 }, () => harness.open())
    const stop = new AbortController()
    const writers = handles.map((handle, index) => writeOn(handle, prefix, `w${index}`, stop.signal))
    for (let times = 0; times < 3; times++) {
      const before = watched.events.length
      await until('writes go on', () => watched.events.length > before + 20)
      await restart(harness)
    }
    const before = watched.events.length
    await until('writes go on after the last restart', () => watched.events.length > before + 20)
    stop.abort()
    const attempts = (await Promise.all(writers)).flat()
    for (const handle of handles) await handle[Symbol.asyncDispose]()

    await commit(store, [put(`${prefix}end`, 'end')])
    await until('the end was seen', () => told(watched.events).at(-1)?.[0] === `${prefix}end=end`)
    const end = await store.read(prefix)
    expect(replay(start.entries, watched.events)).toEqual(end.entries)

    const puts = watched.events.flatMap((event) =>
      event.kind === 'batch' ? event.changes.filter(isPut) : [],
    )
    const seen = new Map(puts.map((change) => [`${change.key} ${change.value}`, change.revision]))
    for (const { key, value, revision } of attempts) {
      if (revision !== null) expect(seen.get(`${key} ${value}`), `the acknowledged ${value}`).toBe(revision)
    }
    const tried = new Set(attempts.map(({ value }) => value))
    for (const { value } of puts) expect(value === 'end' || tried.has(value), `invented ${value}`).toBe(true)
    const batches = watched.events.map((event) => (event.kind === 'batch' ? event.revision : null))
    expect(new Set(batches).size).toBe(batches.length)
  },

  'says that it cannot be reached, and works again with the same handle': async ({
    harness,
    store,
    prefix,
  }) => {
    await commit(store, [put(`${prefix}a`, '1')])
    await harness.server?.kill()
    await failure(store.read(prefix), 'catalog_unavailable')
    await failure(store.commit([], [put(`${prefix}a`, '2')]), 'catalog_unavailable')
    await failure(store.lease(10_000), 'catalog_unavailable')
    await harness.server?.start()
    await until('it answers', () =>
      store.read(prefix).then(
        () => true,
        () => false,
      ),
    )
    expect(await readMap(store, prefix)).toEqual(new Map([[`${prefix}a`, '1']]))
    await until('it commits', () =>
      store.commit([], [put(`${prefix}a`, '3')]).then(
        () => true,
        () => false,
      ),
    )
    expect(await readMap(store, prefix)).toEqual(new Map([[`${prefix}a`, '3']]))
  },

  'gives up at the deadline when the server is frozen': async ({ harness, store, prefix }) => {
    await commit(store, [put(`${prefix}a`, '1')])
    await harness.server?.freeze()
    try {
      await Promise.all([
        failure(store.read(prefix), 'catalog_unavailable'),
        failure(store.commit([], [put(`${prefix}b`, '1')]), 'catalog_unavailable'),
        failure(store.lease(10_000), 'catalog_unavailable'),
      ])
    } finally {
      await harness.server?.thaw()
    }
    await until('it answers', () =>
      store.read(prefix).then(
        () => true,
        () => false,
      ),
    )
    expect((await readMap(store, prefix)).get(`${prefix}a`)).toBe('1')
  },

  'keeps leases over a restart that is shorter than they are': async ({ harness, store, prefix }) => {
    const lease = await store.lease(60_000)
    await commit(store, [{ kind: 'put', key: `${prefix}a`, value: '1', lease }])
    await restart(harness)
    await until('it answers', () =>
      lease.keepAlive().then(
        () => true,
        () => false,
      ),
    )
    expect(await readMap(store, prefix)).toEqual(new Map([[`${prefix}a`, '1']]))
    await lease.revoke()
    expect(await readMap(store, prefix)).toEqual(new Map())
  },
}
