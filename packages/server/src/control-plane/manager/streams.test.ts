// Event streams of the manager, read with the typed client.
import { createAdminClient, type AdminClient } from '@fleetshard/client/admin'
import type { TopologyEvent } from '@fleetshard/core/contract'
import { parseJobId } from '@fleetshard/core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import { startManager, type RunningManager } from './testing/managers.ts'
import { simulate, type Simulation } from './testing/simulated-engine.ts'

let simulation: Simulation
let one: RunningManager
let client: AdminClient

beforeEach(async () => {
  simulation = simulate()
  const store = createMemoryBackend({ clock: systemClock }).open()
  one = await startManager({ store, engine: simulation.engine })
  await one.leads()
  client = createAdminClient({ url: one.url })
})
afterEach(async () => {
  await one[Symbol.asyncDispose]()
})

async function addShard(name: string): Promise<void> {
  simulation.database(`127.0.0.1:5432/${name}`)
  await client.shards.create({ name, primary_endpoint: `postgres://app@127.0.0.1:5432/${name}` })
}

describe('the topology', () => {
  it('is one snapshot without a stream', async () => {
    await addShard('a')
    const topology = await client.topology()
    expect(topology).toMatchObject({
      keyspaces: [{ keyspace: { name: 'default', epoch: 2 }, shards: [{ id: 'a' }], tables: [] }],
      routers: [],
      leader: { url: one.url },
    })
    const brief = await client.topology({ vnodes: false })
    expect(brief.keyspaces[0]?.shards[0]).not.toHaveProperty('vnodes')
    await expect(client.topology({ keyspace: 'none' })).rejects.toMatchObject({ code: 'not_found' })
  })

  it('is a stream of what changes, after a snapshot', async () => {
    await addShard('a')
    const events: TopologyEvent[] = []
    const stop = new AbortController()
    const kinds = async (): Promise<void> => {
      for await (const event of client.watchTopology({ vnodes: false }, stop.signal)) {
        events.push(event)
        if (events.length === 1) void addShard('b')
        if (event.kind === 'keyspace' && event.keyspace.shard_count === 2) void client.shards.remove('b')
        if (event.kind === 'shard_removed') return
      }
    }
    await kinds()
    expect(events[0]).toMatchObject({
      kind: 'snapshot',
      topology: { keyspaces: [{ shards: [{ id: 'a' }] }] },
    })
    expect(events.slice(1).map(({ kind }) => kind)).toEqual(['shard', 'keyspace', 'shard_removed'])
    expect(events[1]).toMatchObject({ kind: 'shard', shard: { id: 'b', vnode_count: 256 } })
  })

  it('ends when the manager stops, and when the caller has enough', async () => {
    const events = client.watchTopology()
    expect((await events.next()).value).toMatchObject({ kind: 'snapshot' })
    await one.manager.drain()
    expect((await events.next()).done).toBe(true)
    const stop = new AbortController()
    const more = client.watchTopology({}, stop.signal)
    await more.next()
    stop.abort()
    await expect(more.next()).rejects.toMatchObject({ code: 'canceled' })
  })
})

describe('a job', () => {
  it('is streamed until it has ended', async () => {
    await addShard('a')
    const { job } = await client.tables.create('default', {
      name: 'users',
      key_column: 'user_id',
      ddl: 'create table users (user_id text)',
      wait_ms: 0,
    })
    const id = job?.id ?? ''
    const seen: string[] = []
    const states = ['running', 'completed'] as const
    for await (const { status } of client.jobs.watch(id)) {
      seen.push(status)
      const next = states[seen.length - 1]
      if (next !== undefined)
        await one.catalog.jobs.update(parseJobId(id), (record) => ({ ...record, status: next }))
    }
    expect(seen).toEqual(['pending', 'running', 'completed'])
  })
})

describe('the typed client', () => {
  it('throws the errors of the catalogue', async () => {
    await expect(client.shards.get('none')).rejects.toMatchObject({ code: 'not_found', status: 404 })
    await addShard('a')
    const stale = client.shards.patch('a', { status: 'readonly' }, { version: 7 })
    await expect(stale).rejects.toMatchObject({ code: 'version_mismatch', facts: { version: 1 } })
  })

  it('sends the reason of a change to the audit', async () => {
    await addShard('a')
    await client.shards.patch('a', { status: 'readonly' }, { version: 1, reason: 'Wartung — disk' })
    expect(one.audit.at(-1)).toMatchObject({
      who: { kind: 'anonymous', subject: 'anonymous' },
      what: 'shard.patch',
      target: 'a',
      reason: 'Wartung — disk',
      outcome: 'ok',
      before: { status: 'active' },
      after: { status: 'readonly' },
    })
  })

  it('tells an unreachable manager, a passed deadline and a call that was given up apart', async () => {
    const nowhere = createAdminClient({ url: 'http://127.0.0.1:1' })
    await expect(nowhere.health()).rejects.toMatchObject({ code: 'server_unreachable' })
    const hanging = createAdminClient({
      url: one.url,
      fetch: (_input, init) =>
        new Promise((_resolve, reject) => {
          init?.signal?.addEventListener('abort', () => {
            reject(init.signal?.reason as Error)
          })
        }),
    })
    await expect(hanging.health({ timeoutMs: 1 })).rejects.toMatchObject({ code: 'deadline_exceeded' })
    const stop = new AbortController()
    const call = hanging.health({ signal: stop.signal })
    stop.abort()
    await expect(call).rejects.toMatchObject({ code: 'canceled' })
  })
})
