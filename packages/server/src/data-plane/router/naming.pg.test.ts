// Statements sent to a shard by its id, and what every error says of what became of them.
import { parseShardId } from '@fleetshard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { query } from '@fleetshard/routing/wire'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { testTable } from '@fleetshard/routing/testing'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = `
  create table users (user_id text primary key, n int default 0);
  create function shard_sum() returns bigint language sql stable as 'select sum(n) from users';
  create procedure commits_then_fails() language plpgsql as $$
    begin insert into users values ('half'); commit; raise exception 'busy'; end $$;
`
const keyspace = { keyspace: 'app' }

describe('a router', () => {
  let server: TestPostgres
  let router: TestRouter

  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
    router = await startTestRouter(server, { shards: 2, tables: [testTable('public.users')], schema })
  })
  afterAll(async () => {
    await router[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const on = (shard: string, text: string, more: Record<string, unknown> = {}) =>
    router.post('/v1/execute', { query: text, options: { ...keyspace, shard_id: shard }, ...more })
  const ownerOf = async (key: string): Promise<string> => {
    const answer = await fetch(`${router.url}/v1/shard-for-key?keyspace=app&key=${key}`)
    return String(((await answer.json()) as { shard_id: unknown }).shard_id)
  }
  const other = (shard: string): string => (shard === 's0' ? 's1' : 's0')

  it('runs a statement without a key on the shard that is named', async () => {
    for (const shard of ['s0', 's1'])
      expect(await on(shard, 'select current_database() as name, count(*) from users')).toMatchObject({
        status: 200,
        body: { shard_id: shard, rows: [{ name: router.database(parseShardId(shard)) }] },
      })
    expect(await on('s1', 'select shard_sum() as sum')).toMatchObject({ body: { shard_id: 's1' } })
    expect(await on('s0', 'update users set n = n')).toMatchObject({ status: 200, body: { shard_id: 's0' } })
  })

  it('refuses keys that lie elsewhere, and a shard that is named twice or does not exist', async () => {
    const home = await ownerOf('ann')
    const insert = `insert into users (user_id) values ('ann') on conflict do nothing`
    expect(await on(home, insert)).toMatchObject({ status: 200 })
    const refused = { status: 400, body: { code: 'cross_shard', outcome: 'aborted' } }
    expect(await on(other(home), insert)).toMatchObject(refused)
    expect(await on(other(home), `select * from users where user_id = 'ann'`)).toMatchObject(refused)
    expect(await on(home, 'select 1', { shard_key: 'ann' })).toMatchObject({
      status: 400,
      body: { code: 'invalid_request', outcome: 'aborted' },
    })
    expect(await on('s9', 'select 1')).toMatchObject({ status: 404, body: { code: 'not_found' } })
    expect(await on('no id', 'select 1')).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
  })

  it('takes the shard of a transaction by its id', async () => {
    const home = await ownerOf('ann')
    const post = (shard: string) =>
      router.post('/v1/transaction', {
        statements: [
          { query: 'select count(*) from users' },
          { query: `update users set n = 1 where user_id = 'ann'` },
        ],
        options: { ...keyspace, shard_id: shard },
      })
    expect(await post(home)).toMatchObject({ status: 200, body: { shard_id: home } })
    expect(await post(other(home))).toMatchObject({ status: 400, body: { code: 'cross_shard' } })
  })

  it('says of every error what became of the statement', async () => {
    const aborted = { body: { outcome: 'aborted' } }
    expect(await router.post('/v1/execute', '{')).toMatchObject(aborted)
    expect(await router.post('/v1/transaction', { statement: [] })).toMatchObject(aborted)
    expect(await router.post('/v1/execute?from=here', {})).toMatchObject(aborted)
    expect(await on('s0', 'selec')).toMatchObject(aborted)
    expect(await on('s0', 'select 1 / 0')).toMatchObject(aborted)
    await expect(rows('s0', 'half')).resolves.toBe(0)
    // What it has committed before it failed stays.
    expect(await on('s0', 'call commits_then_fails()')).toMatchObject({
      body: { code: 'sql_error', outcome: 'unknown' },
    })
    await expect(rows('s0', 'half')).resolves.toBe(1)
  })

  const rows = async (shard: string, key: string): Promise<number> => {
    const direct = await server.connect({ database: router.database(parseShardId(shard)) })
    try {
      return Number(
        (await query(direct, 'select count(*) from users where user_id = $1', [key])).rows[0]?.[0],
      )
    } finally {
      await direct.close()
    }
  }
})
