// A router of a static topology: it serves databases that nobody has claimed, and no others.
import { parseShardId } from '@fleetshard/core'
import { testTable } from '@fleetshard/routing/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { claimFor, startTestRouter, type TestRouter } from './testing.ts'

const options = { keyspace: 'app' }
const s0 = parseShardId('s0')

describe('a router of a static topology', () => {
  let server: TestPostgres
  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const start = (identityCheck: 'static' | 'claimed'): Promise<TestRouter> =>
    startTestRouter(server, {
      shards: 1,
      tables: [testTable('public.users')],
      schema: 'create table users (user_id text primary key)',
      identityCheck,
    })
  const insert = (router: TestRouter, user: string) =>
    router.post('/v1/execute', {
      query: 'insert into users values ($1)',
      params: [user],
      shard_key: user,
      options,
    })
  const count = (router: TestRouter) =>
    router.post('/v1/execute', { query: 'select count(*)::int as n from users', shard_key: 'a', options })

  it('serves databases without any schema of ours', async () => {
    await using router = await start('static')
    expect(await insert(router, 'a')).toMatchObject({ status: 200 })
    const statements = ['b', 'c'].map((user) => ({ query: 'insert into users values ($1)', params: [user] }))
    expect(await router.post('/v1/transaction', { shard_key: 'b', statements, options })).toMatchObject({
      status: 200,
    })
    const answers = await Promise.all(Array.from({ length: 40 }, () => count(router)))
    for (const answer of answers) expect(answer.body).toMatchObject({ rows: [{ n: 3 }] })
    const schemas = {
      query: `select count(*)::int as n from pg_namespace where nspname = 'fleetshard'`,
      options,
    }
    expect((await router.post('/v1/execute', schemas)).body).toMatchObject({ rows: [{ n: 0 }] })
  })

  it('remembers writes under an idempotency key where there is a schema for it, and refuses them elsewhere', async () => {
    await using router = await start('static')
    const write = () =>
      router.post('/v1/execute', {
        query: 'insert into users values ($1)',
        params: ['a'],
        shard_key: 'a',
        options: { ...options, idempotency_key: 'once' },
      })
    expect(await write()).toMatchObject({
      status: 400,
      body: {
        code: 'statement_refused',
        hint: expect.stringContaining('CREATE SCHEMA fleetshard') as string,
      },
    })
    expect((await count(router)).body).toMatchObject({ rows: [{ n: 0 }] })
    await router.onShard(s0, 'create schema fleetshard')
    expect(await write()).toMatchObject({ status: 200, body: { row_count: 1 } })
    expect(await write()).toMatchObject({ status: 200, body: { row_count: 1, replayed: true } })
    expect((await count(router)).body).toMatchObject({ rows: [{ n: 1 }] })
  })

  it('is sent away by the claim of a managed keyspace, and stays away', async () => {
    await using router = await start('static')
    expect(await insert(router, 'a')).toMatchObject({ status: 200 })
    await claimFor(server, router.database(s0), {
      cluster: router.cluster,
      shard: router.snapshot().shards[0]!,
    })
    expect(await insert(router, 'b')).toMatchObject({
      status: 503,
      body: {
        code: 'wrong_database',
        detail: expect.stringContaining('belongs to shard s0 of keyspace app') as string,
      },
    })
    expect(await count(router)).toMatchObject({ body: { code: 'wrong_database' } })
    await router.onShard(s0, 'delete from fleetshard.shard_state')
    // The pool of a node that was refused tries again after a pause.
    await expect
      .poll(async () => (await count(router)).body, { timeout: 20_000 })
      .toMatchObject({ rows: [{ n: 1 }] })
  })

  it('takes a claim that it may not read for one', async () => {
    await using router = await start('static')
    await router.onShard(
      s0,
      `create schema fleetshard; create table fleetshard.shard_state (x int);
       revoke all on schema fleetshard from public`,
    )
    router.replace((snapshot) => ({
      ...snapshot,
      shards: snapshot.shards.map((shard) => ({
        ...shard,
        nodes: shard.nodes.map((node) => ({ ...node, user: 'trusted', host: '127.0.0.1' })),
      })),
    }))
    await expect
      .poll(async () => (await count(router)).body, { timeout: 20_000 })
      .toMatchObject({
        code: 'wrong_database',
        detail: expect.stringContaining('may not read who has claimed') as string,
      })
  })

  it('is not what a router of a managed keyspace is', async () => {
    await using router = await start('claimed')
    await router.onShard(s0, 'delete from fleetshard.shard_state')
    expect(await count(router)).toMatchObject({ body: { code: 'wrong_database' } })
  })
})
