// Fences that do not reach their end: the shards demand an epoch, and the catalog gets it, whoever leads then.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend, type MemoryBackend } from '../../../catalog/backends/memory/mod.ts'
import { systemClock } from '../../../runtime/mod.ts'
import { startManager, waitFor, type Reply, type RunningManager } from '../testing/managers.ts'
import { simulate, type Simulation } from '../testing/simulated-engine.ts'
import { fenceJobType } from './fence.ts'

let backend: MemoryBackend
let simulation: Simulation
const managers: RunningManager[] = []

async function start(id: string): Promise<RunningManager> {
  const manager = await startManager({ store: backend.open(), engine: simulation.engine, id })
  managers.push(manager)
  return manager
}

beforeEach(async () => {
  backend = createMemoryBackend({ clock: systemClock })
  simulation = simulate()
})
afterEach(async () => {
  backend.setReachable(true)
  for (const manager of managers.splice(0).toReversed()) await manager[Symbol.asyncDispose]()
})

async function addShard(manager: RunningManager, name: string): Promise<Reply> {
  const database = simulation.database(`127.0.0.1:5432/${name}`)
  database.tables.set('public.users', 0)
  const primary_endpoint = `postgres://app@127.0.0.1:5432/${name}`
  return manager.send('POST', '/api/v1/shards', { name, primary_endpoint })
}

/** A leading manager with one shard and an empty sharded table. */
async function withUsers(): Promise<RunningManager> {
  const one = await start('one')
  await one.leads()
  expect(await addShard(one, 'a')).toMatchObject({ status: 201 })
  const declared = { name: 'users', kind: 'sharded', key_column: 'user_id' }
  expect((await one.send('POST', '/api/v1/keyspaces/default/tables', declared)).status).toBe(201)
  return one
}

const epochMin = (): number => simulation.database('127.0.0.1:5432/a').identity?.epochMin ?? 0

const openFences = async (manager: RunningManager): Promise<number> =>
  (await manager.catalog.jobs.list({ type: fenceJobType })).length

const epochOf = async (manager: RunningManager): Promise<number> =>
  (await manager.send('GET', '/api/v1/shards/a')).body.epoch

describe('fences', () => {
  it('leave nothing behind when they end', async () => {
    const one = await withUsers()
    expect((await addShard(one, 'b')).body).toMatchObject({ status: 'active', epoch: epochMin() })
    expect(await openFences(one)).toBe(0)
  })

  it('have announced themselves by the time a shard stores the epoch', async () => {
    const one = await withUsers()
    const seen: number[][] = []
    simulation.onFence = async () =>
      void seen.push([await openFences(one), epochMin() - (await epochOf(one))])
    await addShard(one, 'b')
    expect(seen).toEqual([[1, 1]])
  })

  it('that fail are made up for by the leader', async () => {
    const one = await withUsers()
    simulation.onFence = () => Promise.reject(new Error('the manager has lost its mind'))
    expect((await addShard(one, 'b')).status).toBe(500)
    expect(epochMin()).toBe((await epochOf(one)) + 1)
    await waitFor(async () => (await epochOf(one)) === epochMin())
    expect(await openFences(one)).toBe(0)
    simulation.onFence = null
    expect((await addShard(one, 'c')).body).toMatchObject({ status: 'active' })
  })

  it('that the catalog was lost in are made up for when it is back', async () => {
    const one = await withUsers()
    simulation.onFence = async () => {
      backend.setReachable(false)
    }
    expect((await addShard(one, 'b')).status).toBe(503)
    simulation.onFence = null
    backend.setReachable(true)
    await waitFor(async () => (await openFences(one)) === 0 && (await epochOf(one)) === epochMin())
  })

  it('of a leader that died are made up for by the next one', async () => {
    const one = await withUsers()
    // Never ends, as far as this manager is concerned.
    const begun = Promise.withResolvers<undefined>()
    const end = Promise.withResolvers<undefined>()
    simulation.onFence = () => {
      begun.resolve(undefined)
      return end.promise
    }
    const adding = addShard(one, 'b').catch(() => null)
    await begun.promise
    const two = await start('two')
    const stopping = one[Symbol.asyncDispose]()
    await two.leads()
    await waitFor(async () => (await openFences(two)) === 0)
    expect(await epochOf(two)).toBe(epochMin())
    simulation.onFence = null
    end.resolve(undefined)
    await Promise.all([adding, stopping])
    managers.splice(managers.indexOf(one), 1)
    expect((await two.send('GET', '/api/v1/shards')).body.shards).toHaveLength(1)
  })
})
