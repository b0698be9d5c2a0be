import { randomUUID } from 'node:crypto'
import { parseEpoch } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { silentLogger } from '../runtime/mod.ts'
import { createMemoryBackend } from './backends/memory/mod.ts'
import { createCatalog } from './catalog.ts'
import { failure } from './conformance/harness.ts'
import { createRouterPort, encodeSnapshot, parseSnapshot } from './router-port.ts'
import { manualClock } from '../runtime/testing/manual-clock.ts'
import { app, sampleJob, sampleKeyspace, sampleRouter, sampleShard } from './testing/sample-records.ts'

function open() {
  const clock = manualClock()
  const backend = createMemoryBackend({ clock })
  const store = backend.open()
  const catalog = createCatalog({ store, clock, uuid: randomUUID })
  const port = createRouterPort({ store, clock, log: silentLogger }, { record: sampleRouter('r') })
  return { clock, backend, catalog, port }
}

describe('the router port', () => {
  it('feeds the map and registers the router, again after an outage', async () => {
    const { clock, backend, catalog, port } = open()
    await catalog.keyspaces.create(sampleKeyspace())
    const stop = new AbortController()
    const running = port.run(stop.signal)
    await clock.pass(1)
    expect(port.view.current().keyspaces.has(app)).toBe(true)
    expect(port.isRegistered()).toBe(true)
    backend.setReachable(false)
    await clock.pass(60_000)
    expect(port.isRegistered()).toBe(false)
    backend.setReachable(true)
    await clock.pass(10_000)
    expect(port.isRegistered()).toBe(true)
    stop.abort()
    await clock.pass(1)
    await running
    expect(await catalog.routers.list()).toEqual([])
  })

  it('acknowledges epochs upwards only', async () => {
    const { clock, catalog, port } = open()
    const stop = new AbortController()
    const running = port.run(stop.signal)
    await clock.pass(1)
    for (const epoch of [3, 5, 4]) port.acknowledge(app, parseEpoch(epoch))
    await clock.pass(1)
    expect((await catalog.routers.list())[0]?.record.ackedEpochs).toEqual({ app: 5 })
    expect(port.isRegistered()).toBe(true)
    stop.abort()
    await clock.pass(1)
    await running
  })

  it('registers direct clients beside itself, until they or the port end', async () => {
    const { clock, catalog, port } = open()
    const stop = new AbortController()
    const running = port.run(stop.signal)
    const first = port.registerDirect({ ...sampleRouter('client-1'), kind: 'direct' })
    port.registerDirect({ ...sampleRouter('client-2'), kind: 'direct' })
    for (const epoch of [3, 5, 4]) first.acknowledge(app, epoch)
    await clock.pass(1)
    const registered = async () => (await catalog.routers.list()).map(({ record }) => record)
    expect((await registered()).map(({ id, kind }) => [id, kind])).toEqual([
      ['client-1', 'direct'],
      ['client-2', 'direct'],
      ['r', undefined],
    ])
    expect((await registered())[0]?.ackedEpochs).toEqual({ app: 5 })
    const ending = first[Symbol.asyncDispose]()
    await clock.pass(1)
    await ending
    expect((await registered()).map(({ id }) => id)).toEqual(['client-2', 'r'])
    stop.abort()
    const closing = port[Symbol.asyncDispose]()
    await clock.pass(1)
    await Promise.all([running, closing])
    expect(await registered()).toEqual([])
  })

  it('reads secrets and submits jobs', async () => {
    const { catalog, port } = open()
    await catalog.secrets.put('nodes/a', 'hunter2')
    expect(await port.secret('nodes/a')).toBe('hunter2')
    await failure(port.secret('nodes/b'), 'not_found')
    await port.submitJob(sampleJob('j'))
    await failure(port.submitJob(sampleJob('j')), 'already_exists')
    expect(await catalog.jobs.list()).toHaveLength(1)
  })
})

describe('a snapshot outside the catalog', () => {
  it('comes back as it was, or is refused', async () => {
    const snapshot = {
      keyspace: sampleKeyspace(),
      epoch: parseEpoch(3),
      shards: [sampleShard('s')],
      tables: [],
    }
    expect(parseSnapshot('map.json', encodeSnapshot(snapshot))).toEqual(snapshot)
    const broken = encodeSnapshot(snapshot).replace('"epoch":3', '"epoch":-3')
    const refused = await failure(
      Promise.resolve().then(() => parseSnapshot('map.json', broken)),
      'corrupt_record',
    )
    expect(refused.message).toContain('/epoch')
  })
})
