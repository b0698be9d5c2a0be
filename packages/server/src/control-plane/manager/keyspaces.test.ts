// Keyspaces, adoption, tables and jobs over HTTP, with the memory store and simulated databases.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseJobId, type JobRecord } from '@fleetshard/core'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { systemClock } from '../../runtime/mod.ts'
import { startManager, waitFor, type RunningManager } from './testing/managers.ts'
import { simulate, type SimulatedDatabase, type Simulation } from './testing/simulated-engine.ts'

let simulation: Simulation
let one: RunningManager

beforeEach(async () => {
  simulation = simulate()
  const store = createMemoryBackend({ clock: systemClock }).open()
  one = await startManager({ store, engine: simulation.engine })
  await one.leads()
})
afterEach(async () => {
  await one[Symbol.asyncDispose]()
})

const databaseOf = (name: string): SimulatedDatabase => simulation.database(`127.0.0.1:5432/${name}`)
const endpoint = (name: string): string => `postgres://app@127.0.0.1:5432/${name}`
const tablesUrl = '/api/v1/keyspaces/default/tables'

async function addShard(name: string): Promise<void> {
  databaseOf(name)
  const answer = await one.send('POST', '/api/v1/shards', { name, primary_endpoint: endpoint(name) })
  expect(answer.status).toBe(201)
}

/** Ends the schema job as a worker would. */
async function finishJob(change: Partial<JobRecord>): Promise<string> {
  let id = ''
  await waitFor(async () => {
    const [job] = (await one.send('GET', '/api/v1/jobs?status=pending')).body.jobs
    id = job?.id ?? ''
    return id !== ''
  })
  await one.catalog.jobs.update(parseJobId(id), (job) => ({ ...job, ...change }))
  return id
}

describe('keyspaces', () => {
  it('are created, listed, changed and deleted', async () => {
    const made = await one.send('POST', '/api/v1/keyspaces', { name: 'shop', hash: 'xxhash' })
    expect(made).toMatchObject({
      status: 201,
      body: {
        name: 'shop',
        hash: 'xxhash',
        default_consistency: 'strong',
        epoch: 1,
        shard_count: 0,
        version: 1,
      },
    })
    expect((await one.send('POST', '/api/v1/keyspaces', { name: 'shop' })).status).toBe(409)
    const patch = { default_consistency: 'eventual' }
    const changed = await one.send('PATCH', '/api/v1/keyspaces/shop', patch, { 'if-match': '"1"' })
    expect(changed).toMatchObject({ status: 200, body: { default_consistency: 'eventual', version: 2 } })
    expect((await one.send('PATCH', '/api/v1/keyspaces/shop', patch, { 'if-match': '"1"' })).status).toBe(412)
    expect((await one.send('GET', '/api/v1/keyspaces')).body.keyspaces).toEqual([changed.body])
    expect((await one.send('DELETE', '/api/v1/keyspaces/shop')).status).toBe(204)
    expect((await one.send('GET', '/api/v1/keyspaces/shop')).status).toBe(404)
  })

  it('are not deleted while they have shards', async () => {
    await addShard('a')
    expect(await one.send('DELETE', '/api/v1/keyspaces/default')).toMatchObject({
      status: 409,
      body: { code: 'conflict' },
    })
  })

  it.each([
    { name: 'Upper' },
    { name: '' },
    { name: 'x', hash: 'fnv1a' },
    { name: 'x', engine: 'mysql' },
    {},
  ])('refuses %j', async (body) => {
    expect(await one.send('POST', '/api/v1/keyspaces', body)).toMatchObject({ status: 400 })
  })
})

describe('adopting a database', () => {
  it('makes a one-shard keyspace of it and suggests how to declare its tables', async () => {
    databaseOf('shop').tables.set('public.users', 42)
    const answer = await one.send('POST', '/api/v1/keyspaces/shop/adopt', {
      primary_endpoint: endpoint('shop'),
      shard_name: 'main',
    })
    expect(answer).toMatchObject({
      status: 201,
      body: {
        keyspace: { name: 'shop', shard_count: 1 },
        shard: { id: 'main', status: 'active', hash_range_start: '0' },
        tables: [
          { name: 'public.users', declared: false, key_column: 'user_id', reason: 'user_id is unique' },
        ],
      },
    })
    const declared = await one.send('POST', '/api/v1/keyspaces/shop/tables', {
      name: 'users',
      key_column: 'user_id',
    })
    expect(declared).toMatchObject({ status: 201, body: { tables: [{ name: 'public.users', ddl: null }] } })
    expect(
      (await one.send('GET', '/api/v1/keyspaces/shop/tables/suggestions')).body.suggestions,
    ).toMatchObject([{ name: 'public.users', declared: true }])
    const again = await one.send('POST', '/api/v1/keyspaces/shop/adopt', { primary_endpoint: endpoint('x') })
    expect(again.status).toBe(409)
  })

  it('leaves no keyspace behind when the database cannot be used', async () => {
    databaseOf('shop').inRecovery = true
    const body = { primary_endpoint: endpoint('shop') }
    expect((await one.send('POST', '/api/v1/keyspaces/shop/adopt', body)).status).toBe(422)
    await waitFor(async () => (await one.send('GET', '/api/v1/keyspaces/shop')).status === 404)
  })
})

describe('declaring tables', () => {
  it('records an existing table that passes the rules on every shard', async () => {
    await addShard('a')
    await addShard('b')
    databaseOf('a').tables.set('public.users', 0)
    const lacking = await one.send('POST', tablesUrl, { name: 'users', key_column: 'user_id' })
    expect(lacking).toMatchObject({ status: 422, body: { code: 'schema_refused' } })
    expect(lacking.body.detail).toMatch(/there is no table .* on shard b/)
    databaseOf('b').tables.set('public.users', 0)
    const wrong = await one.send('POST', tablesUrl, { name: 'users', key_column: 'nope' })
    expect(wrong).toMatchObject({ status: 422, body: { code: 'schema_refused' } })
    expect((await one.send('POST', tablesUrl, { name: 'users', key_column: 'user_id' })).status).toBe(201)
    expect((await one.send('POST', tablesUrl, { name: 'users', key_column: 'user_id' })).status).toBe(409)
    expect((await one.send('GET', `${tablesUrl}/users`)).body).toMatchObject({
      name: 'public.users',
      kind: 'sharded',
      key_column: 'user_id',
      key_type: 'text',
    })
    expect((await one.send('DELETE', `${tablesUrl}/public.users`)).status).toBe(204)
    expect((await one.send('GET', tablesUrl)).body.tables).toEqual([])
  })

  it('refuses filled tables where several shards own ranges, since rows may lie on the wrong one', async () => {
    await addShard('a')
    await addShard('b')
    databaseOf('a').tables.set('public.users', 0)
    databaseOf('b').tables.set('public.users', 9)
    const answer = await one.send('POST', tablesUrl, { name: 'users', key_column: 'user_id' })
    expect(answer).toMatchObject({ status: 422, body: { code: 'schema_refused' } })
    expect(answer.body.detail).toContain('public.users holds rows on shard b')
  })

  it('gives a global table the first shard as its home, which then cannot be deleted', async () => {
    await addShard('a')
    await addShard('b')
    for (const name of ['a', 'b']) databaseOf(name).tables.set('public.settings', 0)
    const answer = await one.send('POST', tablesUrl, { name: 'settings', kind: 'global' })
    expect(answer.body.tables).toMatchObject([{ kind: 'global', home_shard: 'a', key_column: null }])
    expect((await one.send('DELETE', '/api/v1/shards/a')).body.detail).toContain('public.settings')
  })

  it.each([
    [{}, 'name or tables'],
    [{ name: 'a', tables: [{ name: 'b', key_column: 'c' }] }, 'name or tables'],
    [{ name: 'a' }, 'key_column'],
    [{ name: 'a', kind: 'reference', key_column: 'b' }, 'key_column'],
    [
      {
        tables: [
          { name: 'a', key_column: 'x' },
          { name: 'a', key_column: 'x' },
        ],
      },
      'twice',
    ],
    [{ name: 'a', kind: 'broadcast' }, 'kind'],
    [{ name: 'a', key_column: 'b', ddl: '' }, 'ddl'],
  ])('refuses %j', async (body, message) => {
    await addShard('a')
    const answer = await one.send('POST', tablesUrl, body)
    expect(answer.status).toBe(400)
    expect(answer.body.detail).toContain(message)
  })

  it('refuses to declare before a shard exists', async () => {
    await one.send('POST', '/api/v1/keyspaces', { name: 'default' })
    expect(await one.send('POST', tablesUrl, { name: 'a', key_column: 'b' })).toMatchObject({ status: 409 })
  })
})

describe('creating tables', () => {
  const ddl = 'create table users (user_id text primary key)'
  const body = { name: 'users', key_column: 'user_id', ddl }

  it('writes a schema job and answers 202 when it is not done in time', async () => {
    await addShard('a')
    const answer = await one.send('POST', tablesUrl, { ...body, wait_ms: 0 })
    expect(answer).toMatchObject({
      status: 202,
      body: { tables: [], job: { type: 'schema', status: 'pending' } },
    })
    const read = await one.send('GET', answer.headers.get('location') ?? '')
    expect(read.body).toEqual(answer.body.job)
  })

  it('answers with the tables once the job is completed', async () => {
    await addShard('a')
    const asked = one.send('POST', tablesUrl, body)
    await waitFor(async () => (await one.send('GET', '/api/v1/jobs')).body.jobs.length === 1)
    const [record] = (await one.catalog.jobs.list({ status: ['pending'] })).map((stored) => stored.record)
    await one.catalog.tables.create([
      {
        keyspace: record!.keyspace,
        name: 'public.users',
        kind: 'sharded',
        keyColumn: 'user_id',
        keyType: 'text',
        homeShard: null,
        ddl,
        version: 1,
        createdAt: '2026-01-01T00:00:00.000Z',
      },
    ])
    await finishJob({ status: 'completed', progress: 1 })
    const answer = await asked
    expect(answer).toMatchObject({
      status: 201,
      body: { tables: [{ name: 'public.users', ddl }], job: { status: 'completed' } },
    })
  })

  it('answers with the error of a job that failed', async () => {
    await addShard('a')
    const asked = one.send('POST', tablesUrl, body)
    const id = await finishJob({
      status: 'failed',
      errorCode: 'schema_failed',
      errorMessage: 'shard a refused it',
    })
    expect(await asked).toMatchObject({
      status: 422,
      body: { code: 'schema_failed', detail: 'shard a refused it', job_id: id },
    })
  })

  it('makes stored tables on a shard that is added later', async () => {
    await addShard('a')
    const { keyspace } = (await one.catalog.keyspaces.read('default' as never))!.snapshot
    const common = { keyspace: keyspace.name, keyType: 'text', homeShard: null, version: 1 } as const
    databaseOf('a').tables.set('public.users', 0)
    await one.catalog.tables.create([
      {
        ...common,
        name: 'public.users',
        kind: 'sharded',
        keyColumn: 'user_id',
        ddl,
        createdAt: '2026-01-01',
      },
    ])
    await addShard('b')
    expect(databaseOf('b').statements).toEqual([ddl])
    expect((await one.send('GET', '/api/v1/shards/b')).body).toMatchObject({
      status: 'active',
      vnode_count: 256,
    })
  })

  it('keeps shards and a schema job from missing one another', async () => {
    await addShard('a')
    await one.send('POST', tablesUrl, { ...body, wait_ms: 0 })
    databaseOf('b')
    const created = await one.send('POST', '/api/v1/shards', { name: 'b', primary_endpoint: endpoint('b') })
    expect(created).toMatchObject({ status: 409, body: { code: 'conflict', retryable: true } })
    expect(databaseOf('b').identity).toBeNull()
    expect(await one.send('DELETE', '/api/v1/shards/a')).toMatchObject({ status: 409 })
    expect(await one.send('POST', tablesUrl, { ...body, wait_ms: 0 })).toMatchObject({ status: 409 })
    await finishJob({ status: 'failed' })
    await waitFor(async () => (await one.send('GET', '/api/v1/jobs?status=failed')).body.jobs.length === 1)
    await addShard('b')
  })

  it('refuses statements that create other tables than are declared', async () => {
    await addShard('a')
    const more = await one.send('POST', tablesUrl, {
      ...body,
      ddl: `${ddl}; create table extra (user_id text)`,
    })
    expect(more).toMatchObject({ status: 422, body: { code: 'schema_refused' } })
    expect(more.body.detail).toContain('public.extra')
    const less = await one.send('POST', tablesUrl, { ...body, name: 'orders' })
    expect(less.body.detail).toContain('do not create orders')
  })
})

describe('jobs', () => {
  it('are listed newest first, filtered and limited', async () => {
    await addShard('a')
    const ids: string[] = []
    for (const name of ['x', 'y', 'z']) {
      const ddl = `create table ${name} (user_id text)`
      const { body } = await one.send('POST', tablesUrl, { name, key_column: 'user_id', ddl, wait_ms: 0 })
      ids.unshift(body.job.id)
      await finishJob({ status: 'cancelled' })
      await waitFor(async () => (await one.send('GET', '/api/v1/jobs?status=pending')).body.jobs.length === 0)
    }
    const list = async (query: string): Promise<string[]> =>
      (await one.send('GET', `/api/v1/jobs${query}`)).body.jobs.map(({ id }: { id: string }) => id)
    expect(await list('')).toEqual(ids)
    expect(await list('?limit=1')).toEqual(ids.slice(0, 1))
    expect(await list('?status=completed')).toEqual([])
    expect((await one.send('GET', '/api/v1/jobs/none')).status).toBe(404)
    expect((await one.send('GET', '/api/v1/jobs?limit=0')).status).toBe(400)
  })
})
