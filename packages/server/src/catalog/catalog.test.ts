import { randomUUID } from 'node:crypto'
import {
  FleetError,
  parseEpoch,
  parseJobId,
  parseShardId,
  parseTerm,
  type SessionRecord,
} from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { silentLogger } from '../runtime/mod.ts'
import { createMemoryBackend } from './backends/memory/mod.ts'
import { createCatalog } from './catalog.ts'
import { commit, failure, put, readMap } from './conformance/harness.ts'
import { changeAttemptsMax, type Catalog, type StoredKeyspace } from './contract.ts'
import { holdLease } from './leases.ts'
import { routingShardsMax } from './routing.ts'
import type { StoreCondition } from './store.ts'
import { createCatalogView } from './view.ts'
import { manualClock, type ManualClock } from '../runtime/testing/manual-clock.ts'
import {
  app,
  sampleJob,
  sampleKeyspace,
  sampleRouter,
  sampleShard,
  sampleTable,
} from './testing/sample-records.ts'

interface Fixture {
  readonly catalog: Catalog
  readonly clock: ManualClock
  readonly leaseDeps: Parameters<typeof holdLease>[0]
}

function open(): Fixture {
  const clock = manualClock()
  const store = createMemoryBackend({ clock }).open()
  const catalog = createCatalog({ store, clock, uuid: randomUUID })
  return { catalog, clock, leaseDeps: { store, clock, log: silentLogger } }
}

async function withShards(catalog: Catalog, ...ids: string[]): Promise<StoredKeyspace> {
  await catalog.keyspaces.create(sampleKeyspace())
  return catalog.changeRouting(app, () => ({ put: ids.map((id) => sampleShard(id)) }))
}

const never: StoreCondition = { kind: 'exists', key: 'elections/nobody' }

describe('cluster', () => {
  it('gets one identity, whoever asks first', async () => {
    const { catalog } = open()
    const asked = await Promise.all([catalog.cluster(), catalog.cluster(), catalog.cluster()])
    expect(new Set(asked.map(({ id }) => id)).size).toBe(1)
    expect(await catalog.cluster()).toEqual(asked[0])
  })
})

describe('sessions', () => {
  const session = (id: string): SessionRecord => ({
    id,
    digest: 'd'.repeat(64),
    subject: 'alice',
    name: null,
    role: 'viewer',
    createdAt: '2026-01-01T00:00:00.000Z',
    expiresAt: '2026-01-01T08:00:00.000Z',
    version: 1,
  })

  it('are made once, and with a new one those that are over go', async () => {
    const { catalog } = open()
    await catalog.sessions.create(session('a'), [])
    await catalog.sessions.create(session('b'), ['a', 'gone-already'])
    expect([await catalog.sessions.get('a'), await catalog.sessions.get('b')]).toEqual([null, session('b')])
    await failure(catalog.sessions.create(session('b'), []), 'already_exists')
  })

  it('end, and end again', async () => {
    const { catalog } = open()
    await catalog.sessions.create(session('a'), [])
    await catalog.sessions.delete('a')
    await catalog.sessions.delete('a')
    expect(await catalog.sessions.get('a')).toBeNull()
  })

  it('are in the live view, and out of it', async () => {
    const { catalog, leaseDeps } = open()
    const stop = new AbortController()
    const view = createCatalogView(leaseDeps)
    const running = view.run(stop.signal)
    await catalog.sessions.create(session('a'), [])
    await view.until(({ sessions }) => sessions.get('a')?.subject === 'alice', stop.signal)
    await catalog.sessions.delete('a')
    await view.until(({ sessions }) => sessions.size === 0, stop.signal)
    stop.abort()
    await running
  })

  it('that cannot be read tell nothing of what is in them', async () => {
    const { catalog } = open()
    await commit(catalog.store, [put('sessions/a', JSON.stringify({ ...session('a'), role: 'root' }))])
    const error = await failure(catalog.sessions.get('a'), 'corrupt_record')
    expect(error.message).not.toContain('root')
  })
})

describe('keyspaces', () => {
  it('are created once, at epoch 1 and version 1', async () => {
    const { catalog } = open()
    await catalog.keyspaces.create({ ...sampleKeyspace(), version: 7 })
    await failure(catalog.keyspaces.create(sampleKeyspace()), 'already_exists')
    expect(await catalog.keyspaces.read(app)).toMatchObject({
      snapshot: { epoch: 1, keyspace: { version: 1 }, shards: [], tables: [] },
    })
    expect(await readMap(catalog.store, 'keyspaces/')).toEqual(
      new Map([
        ['keyspaces/app', JSON.stringify(sampleKeyspace())],
        ['keyspaces/app/epoch', '{"epoch":1}'],
      ]),
    )
  })

  it('are not mixed up with those whose names begin alike', async () => {
    const { catalog } = open()
    await withShards(catalog, 's1')
    await catalog.keyspaces.create(sampleKeyspace('app2'))
    expect((await catalog.keyspaces.read(app))?.snapshot.shards).toHaveLength(1)
    expect((await catalog.keyspaces.list()).map(({ record }) => record.name)).toEqual(['app', 'app2'])
    expect(await catalog.keyspaces.get(sampleKeyspace('ap').name)).toBeNull()
  })

  it('count their versions up, and hold a change to the version it was decided on', async () => {
    const { catalog } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    const weaken = (record: ReturnType<typeof sampleKeyspace>) =>
      ({ ...record, defaultConsistency: 'eventual' }) as const
    const changed = await catalog.keyspaces.update(app, weaken, { expectedVersion: 1 })
    expect(changed.record).toMatchObject({ version: 2, defaultConsistency: 'eventual' })
    await failure(catalog.keyspaces.update(app, weaken, { expectedVersion: 1 }), 'version_mismatch')
    await failure(catalog.keyspaces.update(sampleKeyspace('other').name, weaken), 'not_found')
  })

  it('begin above the epoch of a namesake that was deleted', async () => {
    const { catalog } = open()
    await withShards(catalog, 's1')
    await catalog.tables.create([sampleTable('public.users')])
    await failure(catalog.keyspaces.delete(app), 'conflict')
    const { snapshot } = await catalog.changeRouting(app, () => ({ delete: [parseShardId('s1')] }))
    await catalog.keyspaces.delete(app)
    expect(await catalog.keyspaces.read(app)).toBeNull()
    expect([...(await readMap(catalog.store, 'keyspaces/')).keys()]).toEqual(['keyspaces/app/epoch'])
    await catalog.keyspaces.create(sampleKeyspace())
    expect((await catalog.keyspaces.read(app))?.snapshot.epoch).toBeGreaterThan(snapshot.epoch)
  })
})

describe('routing', () => {
  it('changes shards and epoch in one commit', async () => {
    const { catalog } = open()
    const { snapshot } = await withShards(catalog, 'b', 'a')
    expect(snapshot).toMatchObject({
      epoch: 2,
      shards: [
        { id: 'a', version: 1 },
        { id: 'b', version: 1 },
      ],
    })
    const { revision } = await catalog.store.read('')
    const done = await catalog.changeRouting(app, ({ shards }) => ({
      put: shards.slice(0, 1).map((shard) => ({ ...shard, status: 'readonly', version: 99 }) as const),
      delete: [parseShardId('b')],
      keyspace: { ...sampleKeyspace(), nextSequenceBlock: 5 },
    }))
    expect(done).toEqual(await catalog.keyspaces.read(app))
    expect(done.snapshot).toMatchObject({
      epoch: 3,
      keyspace: { version: 2, nextSequenceBlock: 5 },
      shards: [{ id: 'a', version: 2, status: 'readonly' }],
    })
    const stop = new AbortController()
    for await (const event of catalog.store.watch('', revision, stop.signal)) {
      expect(event.kind === 'batch' && event.changes.map(({ key }) => key).toSorted()).toEqual([
        'keyspaces/app',
        'keyspaces/app/epoch',
        'keyspaces/app/shards/a',
        'keyspaces/app/shards/b',
      ])
      break
    }
  })

  it('plans anew on what is there when it loses a race', async () => {
    const { catalog } = open()
    await withShards(catalog, 's')
    const rename = (n: number) =>
      catalog.changeRouting(app, ({ shards }) => ({
        put: shards.map((shard) => ({ ...shard, name: `${shard.name}+${n}` })),
      }))
    const racers = Array.from({ length: changeAttemptsMax }, (_, n) => n)
    const done = await Promise.all(racers.map(rename))
    expect(new Set(done.map(({ snapshot }) => snapshot.epoch)).size).toBe(racers.length)
    const end = await catalog.keyspaces.read(app)
    expect(end?.snapshot).toMatchObject({
      epoch: 2 + racers.length,
      shards: [{ version: 1 + racers.length }],
    })
    expect(end?.snapshot.shards[0]?.name.split('+').slice(1).toSorted()).toEqual(racers.map(String))
  })

  it('is refused when a condition of the caller does not hold', async () => {
    const { catalog } = open()
    const before = await withShards(catalog, 's')
    const error = await failure(
      catalog.changeRouting(app, () => ({ delete: [parseShardId('s')] }), { conditions: [never] }),
      'catalog_conflict',
    )
    expect(error.retryable).toBe(true)
    await failure(
      catalog.changeRouting(app, () => ({ extras: { conditions: [never] } }), { base: before }),
      'catalog_conflict',
    )
    expect(await catalog.keyspaces.read(app)).toEqual(before)
  })

  it('is held to the epoch that the caller expects', async () => {
    const { catalog } = open()
    const { snapshot } = await withShards(catalog, 's')
    const plan = () => ({ delete: [parseShardId('s')] })
    const old = parseEpoch(snapshot.epoch - 1)
    await failure(catalog.changeRouting(app, plan, { expectedEpoch: old }), 'version_mismatch')
    await catalog.changeRouting(app, plan, { expectedEpoch: snapshot.epoch })
  })

  it('uses a base while it is current, and reads when it is not', async () => {
    const { catalog } = open()
    const base = await withShards(catalog, 's')
    const planned: number[] = []
    const plan = (current: StoredKeyspace['snapshot']) => {
      planned.push(current.epoch)
      if (current.shards.length === 0) throw new FleetError('not_found', 'no shard')
      return { put: [sampleShard('t')] }
    }
    await catalog.changeRouting(app, plan, { base })
    expect(planned).toEqual([2])
    await catalog.changeRouting(app, plan, { base })
    expect(planned).toEqual([2, 2, 3])
    // A plan that an old base makes fail is asked again.
    const empty = { ...base, snapshot: { ...base.snapshot, shards: [] } }
    await catalog.changeRouting(app, plan, { base: empty })
    expect((await catalog.keyspaces.read(app))?.snapshot.epoch).toBe(5)
  })

  it('loses no change of a shard that has no part in routing', async () => {
    const { catalog } = open()
    const base = await withShards(catalog, 's')
    await catalog.shards.describe(app, parseShardId('s'), () => ({ name: 'renamed' }))
    const { snapshot } = await catalog.changeRouting(
      app,
      ({ shards }) => ({ put: shards.map((shard) => ({ ...shard, status: 'readonly' }) as const) }),
      { base },
    )
    expect(snapshot).toMatchObject({
      epoch: 3,
      shards: [{ name: 'renamed', status: 'readonly', version: 3 }],
    })
  })

  it('never lowers a term, nor takes a shard of another keyspace, nor too many shards', async () => {
    const { catalog } = open()
    await withShards(catalog, 's')
    const change = (...shards: ReturnType<typeof sampleShard>[]) =>
      catalog.changeRouting(app, () => ({ put: shards }))
    await failure(change({ ...sampleShard('s'), term: parseTerm(0) }), 'internal')
    await failure(change(sampleShard('t', sampleKeyspace('other').name)), 'internal')
    const many = Array.from({ length: routingShardsMax + 1 }, (_, n) => sampleShard(`m${n}`))
    await failure(change(...many), 'catalog_limit')
    const { snapshot } = await change(...many.slice(1))
    expect(snapshot.shards).toHaveLength(routingShardsMax + 1)
    await failure(
      catalog.changeRouting(sampleKeyspace('other').name, () => ({})),
      'not_found',
    )
    await failure(
      catalog.changeRouting(app, () => ({ delete: [parseShardId('x')] })),
      'not_found',
    )
  })

  it('commits the next state of a job with it, or neither', async () => {
    const { catalog } = open()
    await withShards(catalog, 's')
    const job = await catalog.jobs.create(sampleJob('j1'))
    const cut = () =>
      catalog.changeRouting(app, ({ shards }) => ({
        put: shards,
        extras: catalog.jobs.updateParts(job, { ...job.record, state: 'cut' }),
      }))
    const { snapshot } = await cut()
    expect((await catalog.jobs.get(job.record.id))?.record).toMatchObject({ state: 'cut', version: 2 })
    await failure(cut(), 'catalog_conflict')
    expect((await catalog.keyspaces.read(app))?.snapshot.epoch).toBe(snapshot.epoch)
  })
})

describe('shards and tables', () => {
  it('change what is described, not what is routed', async () => {
    const { catalog } = open()
    const { snapshot } = await withShards(catalog, 's')
    const id = parseShardId('s')
    const done = await catalog.shards.describe(app, id, () => ({ statusReason: 'disk' }), {
      expectedVersion: 1,
    })
    expect(done.record).toMatchObject({ statusReason: 'disk', name: 's', version: 2 })
    expect(await catalog.shards.get(app, id)).toEqual(done)
    expect(await catalog.shards.list(app)).toEqual([done])
    expect((await catalog.keyspaces.read(app))?.snapshot.epoch).toBe(snapshot.epoch)
    await failure(
      catalog.shards.describe(app, id, () => ({}), { expectedVersion: 1 }),
      'version_mismatch',
    )
    await failure(
      catalog.shards.describe(app, parseShardId('x'), () => ({})),
      'not_found',
    )
  })

  it('declare tables together or not at all', async () => {
    const { catalog } = open()
    await failure(catalog.tables.create([sampleTable('public.a')]), 'not_found')
    await catalog.keyspaces.create(sampleKeyspace())
    await catalog.tables.create([sampleTable('public.a'), sampleTable('"odd/schema"."b c"')])
    await failure(catalog.tables.create([sampleTable('public.c'), sampleTable('public.a')]), 'already_exists')
    const listed = await catalog.tables.list(app)
    expect(listed.map(({ record }) => record.name)).toEqual(['"odd/schema"."b c"', 'public.a'])
    const changed = await catalog.tables.update(app, 'public.a', (table) => ({
      ...table,
      keyColumn: 'other',
    }))
    expect(changed.record).toMatchObject({ version: 2, keyColumn: 'other' })
    await failure(catalog.tables.delete(app, 'public.a', { expectedVersion: 1 }), 'version_mismatch')
    await catalog.tables.delete(app, 'public.a', { expectedVersion: 2 })
    await failure(catalog.tables.delete(app, 'public.a'), 'not_found')
    expect((await catalog.keyspaces.read(app))?.snapshot.tables).toHaveLength(1)
  })
})

describe('jobs', () => {
  it('are created, listed newest first, and updated by version', async () => {
    const { catalog } = open()
    await catalog.jobs.create(sampleJob('old'))
    await catalog.jobs.create(sampleJob('new', { createdAt: '2025-02-01T00:00:00.000Z', type: 'split' }))
    await failure(catalog.jobs.create(sampleJob('old')), 'already_exists')
    const ids = async (filter?: Parameters<Catalog['jobs']['list']>[0]) =>
      (await catalog.jobs.list(filter)).map(({ record }) => record.id)
    expect(await ids()).toEqual(['new', 'old'])
    const id = parseJobId('old')
    const run = await catalog.jobs.update(id, (job) => ({ ...job, status: 'running' }))
    expect(run.record.version).toBe(2)
    expect(await ids({ status: ['running'] })).toEqual(['old'])
    expect(await ids({ type: 'split' })).toEqual(['new'])
    await failure(
      catalog.jobs.update(id, (job) => job, { expectedVersion: 1 }),
      'version_mismatch',
    )
    await failure(
      catalog.jobs.update(id, (job) => job, { conditions: [never] }),
      'catalog_conflict',
    )
  })

  it('are claimed by one worker at a time, for as long as its lease lasts', async () => {
    const { catalog, clock, leaseDeps } = open()
    const { record } = await catalog.jobs.create(sampleJob('j'))
    const lease = await holdLease(leaseDeps, 10_000)
    const other = await holdLease(leaseDeps, 10_000)
    const claim = (await catalog.jobs.claim(record.id, 'w1', lease)) ?? expect.fail('not claimed')
    expect(claim.isHeld()).toBe(true)
    expect(await catalog.jobs.owner(record.id)).toMatchObject({ worker: 'w1' })
    expect(await catalog.jobs.claim(record.id, 'w2', other)).toBeNull()
    await failure(catalog.jobs.claim(parseJobId('none'), 'w1', lease), 'not_found')
    // The same worker again: its earlier claim, whose outcome it may not know, is replaced.
    const again = (await catalog.jobs.claim(record.id, 'w1', lease)) ?? expect.fail('not claimed')
    const work = (condition: StoreCondition) =>
      catalog.jobs.update(record.id, (job) => job, { conditions: [condition] })
    await failure(work(claim.condition), 'catalog_conflict')
    await work(again.condition)
    await lease.release()
    expect(again.lost.aborted).toBe(true)
    await failure(work(again.condition), 'catalog_conflict')
    const next = (await catalog.jobs.claim(record.id, 'w2', other)) ?? expect.fail('not claimed')
    await next[Symbol.asyncDispose]()
    expect(await catalog.jobs.owner(record.id)).toBeNull()
    await clock.pass(1)
    await other.release()
  })

  it('are pruned when they have ended, the oldest first', async () => {
    const { catalog } = open()
    for (let n = 0; n < 50; n++) {
      const createdAt = new Date(n * 1000).toISOString()
      await catalog.jobs.create(sampleJob(`j${n}`, { createdAt, status: n === 0 ? 'running' : 'completed' }))
    }
    expect(await catalog.jobs.prune(10)).toBe(32)
    expect(await catalog.jobs.prune(10)).toBe(7)
    expect(await catalog.jobs.prune(10)).toBe(0)
    const left = (await catalog.jobs.list()).map(({ record }) => record.id)
    expect(left).toEqual([...Array.from({ length: 10 }, (_, n) => `j${49 - n}`), 'j0'])
  })
})

describe('secrets', () => {
  it('come back, and show up nowhere else', async () => {
    const { catalog } = open()
    await catalog.secrets.put('nodes/s1', 'hunter2')
    expect(await catalog.secrets.get('nodes/s1')).toBe('hunter2')
    expect(await catalog.secrets.get('nodes/s')).toBeNull()
    await commit(catalog.store, [
      put('secrets/broken', '"hunter2'),
      put('secrets/wrong', '{"value":{"x":"hunter2"}}'),
    ])
    for (const name of ['broken', 'wrong']) {
      const error = await failure(catalog.secrets.get(name), 'corrupt_record')
      expect(JSON.stringify([error.message, error.hint, error.facts, error.stack])).not.toContain('hunter2')
      expect(error.cause).toBeUndefined()
    }
    await failure(catalog.secrets.put('no spaces', 'x'), 'invalid_id')
    const gone = catalog.secrets.deleteWrite('nodes/s1')
    await commit(catalog.store, [gone])
    await commit(catalog.store, [gone])
    expect(await catalog.secrets.get('nodes/s1')).toBeNull()
    await commit(catalog.store, [await catalog.secrets.putWrite('a', 'b')])
    expect(await catalog.secrets.get('a')).toBe('b')
  })
})

describe('registrations', () => {
  it('are there while their service runs, with the newest record', async () => {
    const { catalog, clock, leaseDeps } = open()
    const registration = catalog.routers.register(leaseDeps, sampleRouter('r1'), 9_000)
    const stop = new AbortController()
    const running = registration.run(stop.signal)
    await clock.pass(1)
    expect(registration.isRegistered()).toBe(true)
    registration.set({ ...registration.current(), ackedEpochs: { app: parseEpoch(4) } })
    expect(registration.isRegistered()).toBe(false)
    await clock.pass(30_000)
    expect(registration.isRegistered()).toBe(true)
    expect((await catalog.routers.list()).map(({ record }) => record.ackedEpochs)).toEqual([{ app: 4 }])
    stop.abort()
    await running
    expect(await catalog.routers.list()).toEqual([])
    expect(registration.isRegistered()).toBe(false)
  })
})

describe('corrupt records', () => {
  it('are named by their key, and refused', async () => {
    const { catalog } = open()
    await withShards(catalog, 's')
    await commit(catalog.store, [put('keyspaces/app/shards/s', '{"id":"s"}'), put('jobs/j', 'not json')])
    const error = await failure(catalog.shards.get(app, parseShardId('s')), 'corrupt_record')
    expect(error.message).toContain('keyspaces/app/shards/s')
    expect(error.facts['key']).toBe('keyspaces/app/shards/s')
    await failure(catalog.jobs.get(parseJobId('j')), 'corrupt_record')
    await failure(
      catalog.changeRouting(app, () => ({})),
      'corrupt_record',
    )
  })
})
