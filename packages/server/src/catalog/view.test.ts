import { randomUUID } from 'node:crypto'
import { parseEpoch, parseJobId, parseShardId } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { silentLogger } from '../runtime/mod.ts'
import { createMemoryBackend } from './backends/memory/mod.ts'
import { createCatalog } from './catalog.ts'
import { commit, del, put } from './conformance/harness.ts'
import { manualClock } from '../runtime/testing/manual-clock.ts'
import {
  app,
  sampleJob,
  sampleKeyspace,
  sampleRouter,
  sampleShard,
  sampleTable,
} from './testing/sample-records.ts'
import { createCatalogView, type CatalogChange, type CatalogViewOptions } from './view.ts'

const forever = new AbortController().signal

function open(options?: CatalogViewOptions) {
  const clock = manualClock()
  const backend = createMemoryBackend({ clock })
  const store = backend.open()
  const catalog = createCatalog({ store, clock, uuid: randomUUID })
  const view = createCatalogView({ store, clock, log: silentLogger }, options)
  const changes: CatalogChange[] = []
  view.subscribe((change) => changes.push(change))
  const stop = new AbortController()
  const start = async () => {
    const running = view.run(stop.signal)
    await clock.pass(1)
    return running
  }
  return { clock, backend, store, catalog, view, changes, stop, start }
}

describe('a catalog view', () => {
  it('has what the catalog has, then what changes', async () => {
    const { clock, catalog, view, changes, start } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    expect(view.isLoaded()).toBe(false)
    expect(view.ageMs()).toBe(Infinity)
    void start()
    const loaded = await view.loaded(forever)
    expect(loaded.keyspaces.get(app)).toMatchObject({ epoch: 1, shards: [] })
    const done = await catalog.changeRouting(app, () => ({ put: [sampleShard('s')] }))
    await catalog.tables.create([sampleTable('public.users')])
    await catalog.jobs.create(sampleJob('j'))
    await clock.pass(1)
    const read = await catalog.keyspaces.read(app)
    expect(view.current().keyspaces.get(app)).toEqual(read?.snapshot)
    expect(view.current().stored.get(app)).toEqual(read)
    expect(read?.snapshot.shards).toEqual(done.snapshot.shards)
    expect(changes.map((change) => [[...change.keyspaces], [...change.jobs]])).toEqual([
      [['app'], []],
      [['app'], []],
      [['app'], []],
      [[], ['j']],
    ])
  })

  it('gives bases that changes can be planned on', async () => {
    const { clock, catalog, view, start } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    void start()
    await view.loaded(forever)
    for (let n = 0; n < 5; n++) {
      const base = view.current().stored.get(app) ?? expect.fail('no base')
      const plans: number[] = []
      await catalog.changeRouting(
        app,
        ({ epoch }) => {
          plans.push(epoch)
          return { put: [sampleShard(`s${n}`)] }
        },
        { base },
      )
      expect(plans).toEqual([n + 1])
      await clock.pass(1)
    }
  })

  it('follows jobs, their owners, routers and agents', async () => {
    const { clock, store, catalog, view, changes, start } = open()
    void start()
    await view.loaded(forever)
    const agent = { id: 'a', url: 'http://a', tokenRef: null, startedAt: '' }
    await commit(store, [
      put('jobs/j', JSON.stringify(sampleJob('j'))),
      put('jobs/j/owner', JSON.stringify({ worker: 'w', since: '' })),
      put('routers/r', JSON.stringify(sampleRouter('r'))),
      put('agents/a', JSON.stringify(agent)),
      put('secrets/x', '{"value":"hidden"}'),
      put('elections/manager', '{}'),
      put('later/version', '?'),
    ])
    const cluster = await catalog.cluster()
    await clock.pass(1)
    const state = view.current()
    expect(state.jobs.get(parseJobId('j'))?.record).toEqual(sampleJob('j'))
    expect(state.jobOwners.get(parseJobId('j'))).toMatchObject({ worker: 'w' })
    expect([...state.routers.values()]).toEqual([sampleRouter('r')])
    expect([...state.agents.values()]).toEqual([agent])
    expect(state.cluster).toEqual(cluster)
    expect(state.corrupt).toEqual(new Map())
    // The empty first load, the commit as one change, the cluster's record.
    expect(changes).toHaveLength(3)
    const parts: unknown[] = Object.values(state)
    expect(JSON.stringify(parts.map((part) => (part instanceof Map ? [...part] : part)))).not.toContain(
      'hidden',
    )
    await commit(store, [del('routers/r'), del('jobs/j/owner')])
    await clock.pass(1)
    expect(view.current().routers.size + view.current().jobOwners.size).toBe(0)
    expect([...(changes.at(-1)?.jobs ?? [])]).toEqual(['j'])
  })

  it('stays as it is while the catalog is away, and says how old it is', async () => {
    const { clock, backend, catalog, view, changes, start } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    void start()
    await view.loaded(forever)
    await clock.pass(60_000)
    expect(view.ageMs()).toBeLessThan(10_000)
    backend.setReachable(false)
    await clock.pass(60_000)
    expect(view.ageMs()).toBeGreaterThanOrEqual(55_000)
    expect(view.current().keyspaces.has(app)).toBe(true)
    expect(changes).toHaveLength(1)
    backend.setReachable(true)
    await catalog.changeRouting(app, () => ({ put: [sampleShard('s')] }))
    await clock.pass(5_000)
    expect(view.ageMs()).toBeLessThan(10_000)
    expect(view.current().keyspaces.get(app)?.epoch).toBe(2)
  })

  it('tells only what differs after a compaction', async () => {
    const { clock, backend, store, catalog, view, changes, start } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    await catalog.keyspaces.create(sampleKeyspace('other'))
    await catalog.jobs.create(sampleJob('gone'))
    await catalog.jobs.create(sampleJob('kept'))
    void start()
    const before = await view.loaded(forever)
    backend.setReachable(false)
    await clock.pass(1)
    backend.setReachable(true)
    // Committed and compacted before the watch looks again.
    const all = [
      catalog.changeRouting(app, () => ({ put: [sampleShard('s')] })),
      commit(store, [del('jobs/gone')]).then(() => {
        backend.compact()
      }),
    ]
    await Promise.all(all)
    backend.compact()
    await clock.pass(10_000)
    const after = view.current()
    expect(after.keyspaces.get(app)?.shards).toHaveLength(1)
    expect([...after.jobs.keys()]).toEqual(['kept'])
    const other = sampleKeyspace('other').name
    expect(after.keyspaces.get(other)).toBe(before.keyspaces.get(other))
    expect(changes.some((change) => change.keyspaces.has(other) && change.state !== before)).toBe(false)
  })

  it('serves a seed until the catalog answers, and drops what is gone', async () => {
    const seeded = { keyspace: sampleKeyspace(), epoch: parseEpoch(3), shards: [], tables: [] }
    const gone = { ...seeded, keyspace: sampleKeyspace('gone') }
    const { clock, backend, catalog, view, start } = open({ seed: [seeded, gone] })
    backend.setReachable(false)
    void start()
    await clock.pass(10_000)
    expect(view.isLoaded()).toBe(false)
    expect([...view.current().keyspaces.keys()]).toEqual(['app', 'gone'])
    expect(view.current().stored.size).toBe(0)
    backend.setReachable(true)
    await catalog.keyspaces.create(sampleKeyspace())
    for (let epoch = 1; epoch < 4; epoch++) await catalog.changeRouting(app, () => ({}))
    await clock.pass(10_000)
    expect([...view.current().keyspaces.keys()]).toEqual(['app'])
    expect(view.current().keyspaces.get(app)?.epoch).toBe(4)
  })

  it('never takes a lower epoch', async () => {
    const { clock, store, catalog, view, start } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    await catalog.changeRouting(app, () => ({ put: [sampleShard('s')] }))
    void start()
    const before = await view.loaded(forever)
    await commit(store, [put('keyspaces/app/epoch', '{"epoch":1}'), del('keyspaces/app/shards/s')])
    await clock.pass(1)
    expect(view.current().keyspaces.get(app)).toBe(before.keyspaces.get(app))
    expect(view.current().corrupt.get('keyspaces/app/epoch')?.message).toContain('epoch')
    await commit(store, [put('keyspaces/app/epoch', '{"epoch":3}')])
    await clock.pass(1)
    expect(view.current().keyspaces.get(app)).toMatchObject({ epoch: 3, shards: [] })
    expect(view.current().corrupt.size).toBe(0)
  })

  it('keeps a keyspace with a corrupt record as it was, and everything else live', async () => {
    const { clock, store, catalog, view, start } = open()
    for (const name of ['app', 'other']) await catalog.keyspaces.create(sampleKeyspace(name))
    const other = sampleKeyspace('other').name
    await catalog.changeRouting(app, () => ({ put: [sampleShard('s'), sampleShard('t')] }))
    void start()
    const before = await view.loaded(forever)
    await commit(store, [
      put('keyspaces/app/shards/s', '{}'),
      put('keyspaces/app/epoch', '{"epoch":9}'),
      put('jobs/j', '?'),
    ])
    await catalog.changeRouting(other, () => ({ put: [sampleShard('o', other)] }))
    await clock.pass(1)
    const state = view.current()
    // Without the corrupt shard its ranges would seem to belong to its neighbour.
    expect(state.keyspaces.get(app)).toBe(before.keyspaces.get(app))
    expect(state.keyspaces.get(other)?.shards).toHaveLength(1)
    expect([...state.corrupt.keys()].toSorted()).toEqual(['jobs/j', 'keyspaces/app/shards/s'])
    const fixed = { ...sampleShard('s'), version: 2 }
    await commit(store, [
      put('keyspaces/app/shards/s', JSON.stringify(fixed)),
      put('jobs/j', JSON.stringify(sampleJob('j'))),
    ])
    await clock.pass(1)
    expect(view.current().corrupt.size).toBe(0)
    expect(view.current().keyspaces.get(app)).toMatchObject({
      epoch: 9,
      shards: [{ version: 2 }, { id: 't' }],
    })
  })

  it('does not show a keyspace that was corrupt from the start', async () => {
    const { catalog, store, view, start } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    await commit(store, [put('keyspaces/app/shards/s', '{}')])
    void start()
    const state = await view.loaded(forever)
    expect(state.keyspaces.size).toBe(0)
    expect([...state.corrupt.keys()]).toEqual(['keyspaces/app/shards/s'])
  })

  it('hands a slow reader several changes as one', async () => {
    const { clock, catalog, view, start } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    void start()
    await view.loaded(forever)
    const stop = new AbortController()
    const reading = view.changes(stop.signal)[Symbol.asyncIterator]()
    const first = reading.next()
    await clock.pass(1)
    await catalog.jobs.create(sampleJob('a'))
    expect([...((await first).value as CatalogChange).jobs]).toEqual(['a'])
    await catalog.jobs.create(sampleJob('b'))
    await catalog.jobs.create(sampleJob('c'))
    await catalog.changeRouting(app, () => ({}))
    await clock.pass(1)
    const second = (await reading.next()).value as CatalogChange
    expect([[...second.jobs], [...second.keyspaces]]).toEqual([['b', 'c'], ['app']])
    expect(second.state).toBe(view.current())
    const last = reading.next()
    stop.abort()
    expect((await last).done).toBe(true)
  })

  it('waits for a state, or for the signal', async () => {
    const { clock, catalog, view, start } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    void start()
    const waiting = view.until(
      (state) => state.keyspaces.get(app)?.shards[0]?.id === parseShardId('s'),
      forever,
    )
    await clock.pass(1)
    await catalog.changeRouting(app, () => ({ put: [sampleShard('s')] }))
    expect((await waiting).keyspaces.get(app)?.epoch).toBe(2)
    const stop = new AbortController()
    const never = view.until(() => false, stop.signal)
    stop.abort(new Error('enough'))
    await expect(never).rejects.toThrow('enough')
    await expect(view.until(() => true, stop.signal)).rejects.toThrow('enough')
  })

  it('ends when its signal aborts, also while the catalog is away', async () => {
    const { clock, backend, view, stop, start } = open()
    const running = start()
    await view.loaded(forever)
    backend.setReachable(false)
    await clock.pass(3_000)
    stop.abort()
    await clock.pass(1)
    await running
    await view[Symbol.asyncDispose]()
  })
})
