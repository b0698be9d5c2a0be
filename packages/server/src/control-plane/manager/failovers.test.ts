// Promotions over HTTP: what is refused, and the job that is left for the health leader.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseNodeId } from '@fleetshard/core'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import { startManager, type RunningManager } from './testing/managers.ts'
import { simulate } from './testing/simulated-engine.ts'

let one: RunningManager
let primary = ''
let replica = ''

beforeEach(async () => {
  const simulation = simulate()
  const store = createMemoryBackend({ clock: systemClock }).open()
  one = await startManager({ store, engine: simulation.engine })
  await one.leads()
  const upstream = simulation.database('10.0.0.1:5432/app')
  Object.assign(simulation.database('10.0.0.2:5432/app'), {
    inRecovery: true,
    systemId: upstream.systemId,
    upstream,
  })
  const made = await one.send('POST', '/api/v1/shards', {
    name: 's',
    primary_endpoint: 'postgres://app@10.0.0.1:5432/app',
    replicas: ['postgres://app@10.0.0.2:5432/app'],
  })
  expect(made.status).toBe(201)
  ;[primary = '', replica = ''] = made.body.nodes.map(({ id }: { id: string }) => id)
})
afterEach(async () => {
  await one[Symbol.asyncDispose]()
})

const promote = (body: object) => one.send('POST', '/api/v1/shards/s/promote', body)

describe('POST /api/v1/shards/{id}/promote', () => {
  it('leaves a switchover for the health leader, shown with who may lead', async () => {
    const answer = await promote({
      replica_endpoint: 'postgres://app@10.0.0.2:5432/app',
      reason: 'maintenance',
    })
    expect(answer).toMatchObject({
      status: 202,
      body: { type: 'switchover', phase: 'requested', from: primary, by: 'operator', reason: 'maintenance' },
    })
    const list = await one.send('GET', '/api/v1/shards/s/failovers')
    expect(list).toMatchObject({
      status: 200,
      body: {
        primary,
        term: 1,
        durability: 'performance',
        quorum: null,
        failovers: [{ id: answer.body.id }],
      },
    })
    expect(await one.send('GET', `/api/v1/jobs/${answer.body.id}`)).toMatchObject({
      body: { type: 'failover', status: 'pending' },
    })
  })

  it('leaves a failover with force, also while another has not ended', async () => {
    expect((await promote({ node_id: replica })).status).toBe(202)
    expect(await promote({ node_id: replica })).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(await promote({ node_id: replica, force: true, allow_data_loss: true })).toMatchObject({
      status: 202,
      body: { type: 'failover', forced: true },
    })
  })

  it('refuses what names nobody, the primary, or too much', async () => {
    const cases = [
      { body: { node_id: 'nobody' }, code: 'invalid_request' },
      { body: { node_id: primary }, code: 'conflict' },
      {
        body: { node_id: replica, replica_endpoint: 'postgres://app@10.0.0.2:5432/app' },
        code: 'invalid_request',
      },
      { body: { node_id: replica, allow_data_loss: true }, code: 'invalid_request' },
      { body: { force: true, allow_data_loss: true }, code: 'invalid_request' },
      { body: { force: true, unknown: 1 }, code: 'invalid_request' },
    ]
    for (const { body, code } of cases) expect((await promote(body)).body).toMatchObject({ code })
    expect(await one.send('POST', '/api/v1/shards/none/promote', {})).toMatchObject({ status: 404 })
    expect((await one.send('GET', '/api/v1/shards/s/failovers')).body).toMatchObject({ failovers: [] })
  })
})

describe('what a failover may cost', () => {
  it('is chosen for a keyspace, and then for its shards', async () => {
    const path = '/api/v1/keyspaces/default'
    expect((await one.send('GET', path)).body).toMatchObject({ durability: null })
    expect(await one.send('PATCH', path, { durability: 'protection' })).toMatchObject({
      status: 200,
      body: { durability: 'protection', default_consistency: 'strong' },
    })
    expect((await one.send('GET', '/api/v1/shards/s/failovers')).body).toMatchObject({
      durability: 'protection',
    })
    expect(await one.send('PATCH', path, {})).toMatchObject({ status: 400 })
  })

  it('keeps the last replica where commits wait for one', async () => {
    const node = `/api/v1/shards/s/nodes/${replica}`
    await one.send('PATCH', '/api/v1/keyspaces/default', { durability: 'protection' })
    expect(await one.send('DELETE', node)).toMatchObject({
      status: 409,
      body: { hint: 'add another first: fleetshard node add s' },
    })
    await one.send('PATCH', '/api/v1/keyspaces/default', { durability: 'availability' })
    expect(await one.send('DELETE', node)).toMatchObject({ status: 200, body: { server_removed: false } })
  })

  it('is told with what cannot be done: these servers are run by no agent', async () => {
    const path = '/api/v1/shards/s/failovers'
    const told = (limits: readonly unknown[]) => ({ status: 200, body: { limits } })
    expect(await one.send('GET', path)).toMatchObject(
      told([
        expect.stringContaining(`no agent runs the primary ${primary}`),
        expect.stringContaining(`no agent runs ${replica}`),
      ]),
    )
    await one.send('PATCH', '/api/v1/keyspaces/default', { durability: 'protection' })
    expect(await one.send('GET', path)).toMatchObject(
      told([
        expect.stringContaining('nothing is promoted'),
        expect.stringContaining('whatever protection asks for'),
        expect.stringContaining(`no agent runs ${replica}`),
        expect.stringContaining('no replica is left to confirm commits'),
      ]),
    )
  })

  it('shows the quorum that is recorded, and that it is changing', async () => {
    const { keyspaces, quorums } = one.catalog
    const [keyspace] = await keyspaces.list()
    const set = { members: [parseNodeId(replica)], required: 1 }
    const shard = (await one.catalog.shards.list(keyspace!.record.name))[0]!.record
    const record = {
      keyspace: shard.keyspace,
      shard: shard.id,
      sets: [null, set],
      degradedSince: null,
      version: 1,
    }
    await quorums.put(null, record)
    expect((await one.send('GET', '/api/v1/shards/s/failovers')).body).toMatchObject({
      quorum: { members: [replica], required: 1, changing: true, degraded_since: null },
    })
  })
})
