// Conformance: leases.
import { expect } from 'vitest'
import { systemClock } from '../../runtime/mod.ts'
import type { StoreLease, StoreWrite } from '../store.ts'
import { absent, commit, failure, put, readMap, record, told, until, type Cases } from './harness.ts'

const leased = (key: string, value: string, lease: StoreLease): StoreWrite => ({
  kind: 'put',
  key,
  value,
  lease,
})

export const leaseCases: Cases = {
  'deletes the keys of a lease that ends, as one batch': async ({ harness, store, prefix }) => {
    const { revision } = await store.read(prefix)
    await using watched = record(store, prefix, revision)
    const lease = await store.lease(harness.ttlMsMin)
    await commit(store, [
      leased(`${prefix}a`, '1', lease),
      leased(`${prefix}b`, '1', lease),
      put(`${prefix}c`, '1'),
    ])
    await until('the lease has ended', () => watched.events.length === 2)
    expect(told(watched.events)[1]?.toSorted()).toEqual([`-${prefix}a`, `-${prefix}b`])
    expect([...(await readMap(store, prefix)).keys()]).toEqual([`${prefix}c`])
    await failure(lease.keepAlive(), 'lease_lost')
  },

  'lasts while it is kept alive': async ({ harness, store, prefix }) => {
    await using kept = await store.lease(harness.ttlMsMin)
    await commit(store, [leased(`${prefix}kept`, '1', kept)])
    // Twice the time that others last, which are not kept alive.
    for (const name of ['first', 'second']) {
      const left = await store.lease(harness.ttlMsMin)
      await commit(store, [leased(prefix + name, '1', left)])
      await until('a lease of the same time has ended', async () => {
        await kept.keepAlive()
        await systemClock.sleep(harness.ttlMsMin / 10)
        return !(await readMap(store, prefix)).has(prefix + name)
      })
    }
    expect([...(await readMap(store, prefix)).keys()]).toEqual([`${prefix}kept`])
  },

  'ends at once when it is revoked, and stays so': async ({ store, prefix }) => {
    const lease = await store.lease(60_000)
    await commit(store, [leased(`${prefix}a`, '1', lease)])
    await lease.revoke()
    expect(await readMap(store, prefix)).toEqual(new Map())
    await lease.revoke()
    await failure(lease.keepAlive(), 'lease_lost')
    {
      await using disposed = await store.lease(60_000)
      await commit(store, [leased(`${prefix}b`, '1', disposed)])
    }
    expect(await readMap(store, prefix)).toEqual(new Map())
  },

  'refuses a put with a lease that is gone, with all that goes with it': async ({ store, prefix }) => {
    const lease = await store.lease(60_000)
    await lease.revoke()
    await failure(store.commit([], [put(`${prefix}a`, '1'), leased(`${prefix}b`, '1', lease)]), 'lease_lost')
    expect(await readMap(store, prefix)).toEqual(new Map())
    // Conditions are judged first.
    const result = await store.commit(
      [{ kind: 'exists', key: `${prefix}a` }],
      [leased(`${prefix}b`, '1', lease)],
    )
    expect(result.kind).toBe('conflict')
  },

  'counts an ended key as absent in conditions': async ({ harness, store, prefix }) => {
    const key = `${prefix}a`
    const lease = await store.lease(harness.ttlMsMin)
    const { revisions } = await commit(store, [leased(key, '1', lease)])
    const revision = revisions.get(key) ?? expect.fail('no revision')
    const stillHeld = await store.commit([absent(key)], [put(key, '2')])
    expect(stillHeld.kind).toBe('conflict')
    await until('the key is absent', async () => (await store.commit([absent(key)], [])).kind === 'committed')
    const late = await store.commit([{ kind: 'revision', key, revision }], [put(`${prefix}late`, '1')])
    expect(late.kind).toBe('conflict')
    expect(await readMap(store, prefix)).toEqual(new Map())
  },

  'frees a key that is put without a lease, or with another': async ({ store, prefix }) => {
    const first = await store.lease(60_000)
    await using second = await store.lease(60_000)
    await commit(store, [
      leased(`${prefix}a`, '1', first),
      leased(`${prefix}b`, '1', first),
      leased(`${prefix}c`, '1', first),
    ])
    await commit(store, [put(`${prefix}a`, '2'), leased(`${prefix}b`, '2', second)])
    await first.revoke()
    expect(await readMap(store, prefix)).toEqual(
      new Map([`${prefix}a`, `${prefix}b`].map((key) => [key, '2'])),
    )
  },
}
