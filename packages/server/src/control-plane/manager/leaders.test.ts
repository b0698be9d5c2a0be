// Several managers on one catalog: reads everywhere, changes by the leader, takeover, and life without the catalog.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend, type MemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import { startManager, waitFor, type RunningManager } from './testing/managers.ts'
import { simulate, type Simulation } from './testing/simulated-engine.ts'

let backend: MemoryBackend
let simulation: Simulation
let one: RunningManager
let two: RunningManager

beforeEach(async () => {
  backend = createMemoryBackend({ clock: systemClock })
  simulation = simulate()
  one = await startManager({ store: backend.open(), engine: simulation.engine, id: 'one' })
  await one.leads()
  two = await startManager({ store: backend.open(), engine: simulation.engine, id: 'two' })
  await waitFor(async () => (await two.send('GET', '/ready')).body.leader_url === one.url)
})
afterEach(async () => {
  backend.setReachable(true)
  await two[Symbol.asyncDispose]()
  await one[Symbol.asyncDispose]()
})

function body(name: string): object {
  simulation.database(`127.0.0.1:5432/${name}`)
  return { name, primary_endpoint: `postgres://app@127.0.0.1:5432/${name}` }
}

describe('two managers', () => {
  it('have one leader, and the other passes changes on', async () => {
    expect(two.manager.isLeader()).toBe(false)
    const made = await two.send('POST', '/api/v1/shards', body('a'))
    expect(made).toMatchObject({ status: 201, body: { id: 'a' } })
    expect(made.headers.get('etag')).toBe('"1"')
    expect(made.headers.get('location')).toBe('/api/v1/shards/a')
    expect((await two.send('GET', '/api/v1/shards/a')).body).toEqual(made.body)
    expect((await one.send('GET', '/api/v1/shards/a')).body).toEqual(made.body)
    expect(one.audit.map(({ what }) => what)).toEqual(['shard.create'])
    expect(two.audit).toEqual([])
  })

  it('pass errors on as they are', async () => {
    await two.send('POST', '/api/v1/shards', body('a'))
    const stale = await two.send('PATCH', '/api/v1/shards/a', { status: 'readonly' }, { 'if-match': '"9"' })
    expect(stale).toMatchObject({ status: 412, body: { code: 'version_mismatch', version: 1 } })
    expect(stale.headers.get('content-type')).toContain('application/problem+json')
  })

  it('never pass a change on twice', async () => {
    const answer = await two.send('POST', '/api/v1/shards', body('a'), {
      'x-fleetshard-forwarded': 'somebody',
    })
    expect(answer).toMatchObject({ status: 503, body: { code: 'not_leader', retryable: true } })
    expect(answer.headers.get('retry-after')).toBe('1')
  })

  it('go on with the other one as leader when the first stops', async () => {
    await one.send('POST', '/api/v1/shards', body('a'))
    await one[Symbol.asyncDispose]()
    await two.leads()
    expect(await two.send('POST', '/api/v1/shards', body('b'))).toMatchObject({ status: 201 })
    expect((await two.send('GET', '/ready')).body).toMatchObject({ leader: true, leader_url: two.url })
    one = await startManager({ store: backend.open(), engine: simulation.engine, id: 'one' })
    expect((await one.send('GET', '/api/v1/shards')).body.shards).toHaveLength(2)
    expect(await one.send('POST', '/api/v1/shards', body('c'))).toMatchObject({ status: 201 })
  })
})

describe('without the catalog', () => {
  it('reads go on with their age, changes are refused, and all comes back', async () => {
    await one.send('POST', '/api/v1/shards', body('a'))
    await waitFor(async () => (await two.send('GET', '/api/v1/shards')).body.shards.length === 1)
    backend.setReachable(false)
    for (const manager of [one, two]) {
      await waitFor(async () => (await manager.send('GET', '/ready')).body.status === 'stale', 20_000)
      const read = await manager.send('GET', '/api/v1/shards/a')
      expect(read.status).toBe(200)
      expect(Number(read.headers.get('x-fleetshard-catalog-age-ms'))).toBeGreaterThan(500)
      const change = await manager.send('POST', '/api/v1/shards', body('b'))
      expect(change.status).toBe(503)
      expect(['catalog_unavailable', 'not_leader']).toContain(change.body.code)
      expect(change.headers.get('retry-after')).toBe('1')
    }
    backend.setReachable(true)
    await waitFor(async () => (await one.send('POST', '/api/v1/shards', body('b'))).status === 201)
    expect((await one.send('GET', '/ready')).body.status).toBe('ready')
  })
})
