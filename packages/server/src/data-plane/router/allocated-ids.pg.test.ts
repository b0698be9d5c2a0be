// Primary keys without the shard key are unique over the shards because sequences give them: a value that a client gives
// might be on another shard, so it is refused.
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { testTable } from '@fleetshard/routing/testing'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = `
  create table orders (id bigserial primary key, user_id text not null, note text);
  create table identified (id bigint generated always as identity primary key, user_id text not null);
  create table timed (id bigint primary key default fleetshard.next_id(), user_id text not null);
  create table included (id bigserial, user_id text not null, primary key (id) include (user_id));
  create table keyed (id bigserial, user_id text not null, primary key (user_id, id));
  create table plain (id bigserial, user_id text primary key);
`
const names = ['orders', 'identified', 'timed', 'included', 'keyed', 'plain']
const tables = names.map((name) => testTable(`public.${name}`))

let server: TestPostgres
let router: TestRouter
let single: TestRouter
const clients: pg.Client[] = []

beforeAll(async () => {
  server = await startTestPostgres(postgresBuilds()[0]!)
  router = await startTestRouter(server, { shards: 2, tables, schema })
  single = await startTestRouter(server, { shards: 1, tables, schema })
  for (const { wirePort } of [router, single]) {
    const client = new pg.Client({ host: '127.0.0.1', port: wirePort, user: 'app', database: 'app' })
    await client.connect()
    clients.push(client)
  }
})
afterAll(async () => {
  await Promise.all(clients.map((client) => client.end()))
  await router[Symbol.asyncDispose]()
  await single[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

/** The SQLSTATE; empty for success. */
async function run(client: pg.Client | undefined, text: string, values: unknown[] = []): Promise<string> {
  try {
    await client?.query(text, values)
    return ''
  } catch (error) {
    if (error instanceof pg.DatabaseError) return error.code ?? 'none'
    throw error
  }
}

it.each([
  `insert into orders (id, user_id) values (7, 'a')`,
  `insert into orders (id, user_id) values (default, 'a'), (7, 'a')`,
  `insert into orders (id, user_id) select 7, 'a'`,
  `insert into orders (user_id) values ('a') on conflict (id) do update set id = 7`,
  `with w as (insert into orders (id, user_id) values (7, 'a') returning id) select * from w`,
  `update orders set id = 7 where user_id = 'a'`,
  `merge into orders o using (values (7)) s (n) on o.user_id = 'a' and o.id = s.n
     when not matched then insert (id, user_id) values (s.n, 'a')`,
  `/* fleetshard: shard_key='a' */ insert into orders (id, user_id) values (7, 'a')`,
  `insert into identified (id, user_id) overriding system value values (7, 'a')`,
  `insert into timed (id, user_id) values (7, 'a')`,
  `insert into included (id, user_id) values (7, 'a')`,
])('a value that is given is refused: %s', async (text) => {
  const [over, one] = clients
  expect(await run(over, text)).toBe('0A000')
  const options = { keyspace: 'app' }
  expect(await router.post('/v1/execute', { query: text, options })).toMatchObject({
    status: 400,
    body: { code: 'statement_refused' },
  })
  // One shard sees all rows.
  expect(await run(one, text)).not.toBe('0A000')
})

it.each([
  `insert into orders (user_id) values ('a') returning id`,
  `insert into orders (id, user_id) values (default, 'a'), (default, 'a')`,
  `insert into orders (user_id, note) values ('a', 'x') on conflict (id) do update set note = 'y'`,
  `update orders set note = 'x' where user_id = 'a'`,
  `insert into identified (user_id) select 'a'`,
  `insert into timed (id, user_id) values (default, 'a')`,
  `insert into included (user_id) values ('a')`,
  `insert into keyed (id, user_id) values (7, 'a')`,
  `update keyed set id = 8 where user_id = 'a'`,
  `insert into plain (id, user_id) values (7, 'a')`,
])('one that a sequence gives, or that the shard key makes unique, is not: %s', async (text) => {
  expect(await run(clients[0], text)).toBe('')
})

it('a value is refused as a parameter too, in statements that are prepared', async () => {
  const [over] = clients
  const text = 'insert into orders (id, user_id) values ($1, $2)'
  expect(await run(over, text, ['7', 'a'])).toBe('0A000')
  await over?.query('prepare giving as insert into orders (id, user_id) values ($1, $2)')
  expect(await run(over, `execute giving (7, 'a')`)).toBe('0A000')
  expect(await run(over, text, ['7', 'b'])).toBe('0A000')
})
