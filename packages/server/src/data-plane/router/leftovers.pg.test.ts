// A shard that still has rows which it has given away: nothing runs there that could see them.
import { parseEpoch, parseJobId, parseShardId } from '@fleetshard/core'
import { testTable } from '@fleetshard/routing/testing'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = `
  create table users (user_id text primary key, n int default 0);
  create view everybody as select * from users;
  create function how_many() returns bigint language sql as 'select count(*) from users'`
const s0 = parseShardId('s0')

describe('a shard with leftovers', () => {
  let server: TestPostgres
  let router: TestRouter
  let wire: Client
  let key: string

  const set = (hasLeftovers: boolean): Promise<void> =>
    router.replaced((snapshot) => ({
      ...snapshot,
      epoch: parseEpoch(snapshot.epoch + 1),
      shards: snapshot.shards.map(({ leftovers: _leftovers, ...shard }) =>
        hasLeftovers && shard.id === s0 ? { ...shard, leftovers: { job: parseJobId('split-1') } } : shard,
      ),
    }))

  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
    router = await startTestRouter(server, { shards: 2, tables: [testTable('public.users')], schema })
    wire = new Client({ host: '127.0.0.1', port: router.wirePort, user: 'app', database: 'app' })
    await wire.connect()
    for (let i = 0; ; i += 1) {
      key = `user-${String(i)}`
      const answer = await router.post('/v1/execute', {
        query: 'insert into users (user_id) values ($1)',
        params: [key],
        options: { keyspace: 'app' },
        shard_key: key,
      })
      if ((answer.body as { shard_id: string }).shard_id === s0) break
    }
  })
  afterAll(async () => {
    await wire.end()
    await router[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const execute = (query: string, more: Record<string, unknown>, options: Record<string, unknown> = {}) =>
    router.post('/v1/execute', { query, options: { keyspace: 'app', ...options }, ...more })

  const at = (shard: string) => ({ shard_id: shard })

  const wholes = [
    'select count(*) from users',
    'select count(*) from everybody',
    'select how_many()',
    'update users set n = 1',
    'delete from users where n > 7',
    'do $$ begin perform 1; end $$',
  ]

  it.each(wholes)('refuses for a while what may see all of its rows, over HTTP: %s', async (text) => {
    await set(true)
    const refused = { status: 503, body: { code: 'shard_not_serving', retryable: true } }
    expect(await execute(text, {}, at(s0))).toMatchObject(refused)
    expect(await execute(text, { shard_key: key })).toMatchObject(refused)
    expect(
      await router.post('/v1/transaction', {
        statements: [{ query: text }],
        shard_key: key,
        options: { keyspace: 'app' },
      }),
    ).toMatchObject(refused)
    await set(false)
    expect(await execute(text, {}, at(s0))).toMatchObject({ status: 200 })
  })

  it.each([...wholes, 'truncate users', 'copy users to stdout'])('and on the wire: %s', async (text) => {
    await set(true)
    await wire.query(`set fleetshard.shard = 's0'`)
    await expect(wire.query(text)).rejects.toMatchObject({ code: '57P03' })
    await wire.query('begin')
    await wire.query('select n from users where user_id = $1', [key])
    await expect(wire.query(text)).rejects.toMatchObject({ code: '57P03' })
    await wire.query('rollback')
    await wire.query('reset fleetshard.shard')
  })

  it('goes on with statements that are tied to keys, and other shards with all of theirs', async () => {
    await set(true)
    const text = 'update users set n = n + 1 where user_id = $1 returning n'
    expect(await execute(text, { params: [key] })).toMatchObject({ status: 200, body: { shard_id: s0 } })
    expect((await wire.query<{ n: number }>(text, [key])).rowCount).toBe(1)
    expect(await execute('select count(*) from users', {}, at('s1'))).toMatchObject({ status: 200 })
    expect(await execute('select 1', {}, at(s0))).toMatchObject({ status: 200 })
  })

  it('refuses its part of a statement over all shards', async () => {
    await set(true)
    const part = { all_shards: true, shard_id: s0 }
    expect(await execute('select user_id from users', {}, part)).toMatchObject({
      status: 503,
      body: { code: 'shard_not_serving', retryable: true },
    })
    await set(false)
    expect(await execute('select user_id from users', {}, part)).toMatchObject({ status: 200 })
  })
})
