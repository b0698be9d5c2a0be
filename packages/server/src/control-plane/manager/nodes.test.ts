// Nodes and embedded shards over HTTP, with a simulated agent that is registered in the memory store.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { silentLogger, systemClock } from '../../runtime/mod.ts'
import { startManager, waitFor, type RunningManager } from './testing/managers.ts'
import { simulateAgent, type SimulatedAgent } from './testing/simulated-agent.ts'
import { simulate, type Simulation } from './testing/simulated-engine.ts'

let simulation: Simulation
let agent: SimulatedAgent
let one: RunningManager
let stopAgent: () => Promise<void>

beforeEach(async () => {
  simulation = simulate()
  agent = simulateAgent(simulation)
  const store = createMemoryBackend({ clock: systemClock }).open()
  one = await startManager({ store, engine: simulation.engine, agent: agent.client })
  await one.leads()
  const record = { id: 'local', url: 'http://127.0.0.1:8082', tokenRef: null, startedAt: '2026-01-01' }
  const registration = one.catalog.agents.register(
    { store, clock: systemClock, log: silentLogger },
    record,
    5_000,
  )
  const stop = new AbortController()
  const running = registration.run(stop.signal)
  stopAgent = async () => {
    stop.abort()
    await running
  }
  await waitFor(async () => (await one.catalog.agents.list()).length === 1)
  // The manager's live copy shows it a moment later.
  await waitFor(async () => (await one.send('POST', '/api/v1/nodes', { embedded: true })).status === 201)
  for (const id of agent.servers.keys()) await one.send('DELETE', `/api/v1/nodes/${id}`)
})
afterEach(async () => {
  await stopAgent()
  await one[Symbol.asyncDispose]()
})

describe('embedded shards', () => {
  it('start their servers, know their passwords, and stop them when deleted', async () => {
    const answer = await one.send('POST', '/api/v1/shards', {
      name: 'a',
      nodes: 'embedded',
      replica_count: 2,
    })
    expect(answer).toMatchObject({ status: 201, body: { status: 'active' } })
    expect(answer.body.nodes).toHaveLength(3)
    expect(answer.body.replicas).toHaveLength(2)
    expect([...agent.servers.keys()].toSorted()).toEqual(
      answer.body.nodes.map((node: { id: string }) => node.id),
    )
    expect(JSON.stringify([answer.body, one.audit])).not.toContain('made-by-the-agent')
    expect((await one.send('DELETE', '/api/v1/shards/a')).status).toBe(204)
    expect(agent.servers.size).toBe(0)
  })

  it('leave no server behind when one of them cannot be made', async () => {
    agent.failing = 'replica'
    const body = { name: 'a', nodes: 'embedded', replica_count: 1 }
    expect(await one.send('POST', '/api/v1/shards', body)).toMatchObject({
      status: 500,
      body: { code: 'postgres_failed' },
    })
    expect(agent.servers.size).toBe(0)
    agent.failing = null
    expect((await one.send('POST', '/api/v1/shards', body)).status).toBe(201)
  })

  it('are run by the agent that is named, replicas as well, and none by one that is not there', async () => {
    const create = (agent: string) =>
      one.send('POST', '/api/v1/shards', { name: 'a', nodes: 'embedded', agent })
    expect((await create('db2')).body).toMatchObject({ code: 'agent_unavailable' })
    expect((await create('local')).status).toBe(201)
    const add = (agent: string) => one.send('POST', '/api/v1/shards/a/nodes', { agent })
    expect((await add('db2')).body).toMatchObject({
      code: 'agent_unavailable',
      hint: 'those that are: local',
    })
    expect(agent.servers.size).toBe(1)
    expect(await add('local')).toMatchObject({ status: 202, body: { type: 'rebuild' } })
    const { nodes } = (await one.send('GET', '/api/v1/shards/a')).body
    expect(nodes).toMatchObject([{ role: 'primary' }, { role: 'standby', agent: 'local', tls: 'disable' }])
  })

  it('keep their servers when rows are found in them', async () => {
    await one.send('POST', '/api/v1/shards', { name: 'a', nodes: 'embedded' })
    const [server] = agent.servers.values()
    simulation.database(`127.0.0.1:${String(server!.port)}/app`).tables.set('public.undeclared', 1)
    expect((await one.send('DELETE', '/api/v1/shards/a')).status).toBe(204)
    const { nodes } = (await one.send('GET', '/api/v1/nodes')).body
    expect(nodes).toMatchObject([{ id: server!.id, shard_id: null, agent: 'local' }])
  })
})

describe('nodes', () => {
  it('are started to be typed into the request of the reference', async () => {
    const made = await one.send('POST', '/api/v1/nodes', { embedded: true, replicas: 1 })
    expect(made.status).toBe(201)
    expect(made.body.endpoint).toMatch(/^postgres:\/\/fleetshard@127\.0\.0\.1:\d+\/app$/)
    const shard = await one.send('POST', '/api/v1/shards', {
      name: 'shard-01',
      primary_endpoint: made.body.endpoint,
      replicas: made.body.replicas,
      vnode_count: 256,
    })
    expect(shard).toMatchObject({ status: 201, body: { status: 'active', replicas: made.body.replicas } })
    expect(shard.body.nodes.map((node: { id: string }) => node.id)).toEqual(
      made.body.nodes.map((node: { id: string }) => node.id),
    )
    const listed = await one.send('GET', '/api/v1/nodes')
    expect(listed.body.nodes).toHaveLength(2)
    expect(listed.body.nodes).toMatchObject([{ shard_id: 'shard-01' }, { shard_id: 'shard-01' }])
    expect((await one.send('GET', '/api/v1/nodes?shard_id=none')).body.nodes).toEqual([])
  })

  it('are removed only while no shard uses them', async () => {
    const made = await one.send('POST', '/api/v1/nodes', { embedded: true })
    const { id } = made.body
    expect((await one.send('GET', `/api/v1/nodes/${String(id)}`)).body).toMatchObject({ id, shard_id: null })
    await one.send('POST', '/api/v1/shards', { name: 'a', primary_endpoint: made.body.endpoint })
    expect(await one.send('DELETE', `/api/v1/nodes/${String(id)}`)).toMatchObject({ status: 409 })
    await one.send('DELETE', '/api/v1/shards/a')
    expect((await one.send('GET', `/api/v1/nodes/${String(id)}`)).status).toBe(404)
    expect((await one.send('DELETE', '/api/v1/nodes/none')).status).toBe(404)
  })

  it.each([{}, { embedded: false }, { embedded: true, replicas: 99 }, { embedded: true, database: 'a b' }])(
    'refuses %j',
    async (body) => {
      expect((await one.send('POST', '/api/v1/nodes', body)).status).toBe(400)
    },
  )
})
