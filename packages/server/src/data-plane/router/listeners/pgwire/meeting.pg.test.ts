// What a client of one Postgres shares with all others beside rows, and what its connection remembers: answered as one
// Postgres would with several shards as well, or refused.
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'

const schema = `
  create table users (id bigserial, user_id text primary key, n int default 0);
  create schema old;
  create table old.users (user_id int, n int);
  create sequence numbers;
  create table still (user_id text primary key, n int);
  create function many(int, int) returns boolean language sql stable as 'select count(*) > $1 + $2 from users';
  create operator === (leftarg = int, rightarg = int, procedure = many);
`
const refused = { code: '0A000' }

let server: TestPostgres
let router: TestRouter
let single: TestRouter
/** Keys on the first shard and on the second. */
let [first, second] = ['', '']
const open = new Set<pg.Client>()

beforeAll(async () => {
  server = await startTestPostgres(postgresBuilds()[0]!)
  const tables = [testTable('public.users'), testTable('public.still')]
  router = await startTestRouter(server, { shards: 2, tables, schema })
  single = await startTestRouter(server, { shards: 1, tables, schema })
  for (let n = 0; first === '' || second === ''; n += 1) {
    const answer = await fetch(`${router.url}/v1/shard-for-key?key=k${String(n)}&keyspace=app`)
    const { shard_id: shard } = (await answer.json()) as { shard_id: string }
    if (shard === 's0') first = `k${String(n)}`
    else second = `k${String(n)}`
  }
})
afterEach(async () => {
  await Promise.all(Array.from(open, (client) => client.end()))
  open.clear()
})
afterAll(async () => {
  await router[Symbol.asyncDispose]()
  await single[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

/** Sessions without a shard of their own are spread over the shards: neighbours are on different ones. */
async function clients(count: number, of = router): Promise<pg.Client[]> {
  const made: pg.Client[] = []
  for (let index = 0; index < count; index += 1) {
    const client = new pg.Client({ host: '127.0.0.1', port: of.wirePort, user: 'app', database: 'app' })
    client.on('error', () => undefined)
    open.add(client)
    await client.connect()
    made.push(client)
  }
  return made
}

const valueOf = async (client: pg.Client | undefined, text: string): Promise<unknown> =>
  (await client?.query<unknown[]>({ text, rowMode: 'array' }))?.rows[0]?.[0]
const code = (sent: Promise<unknown> | undefined): Promise<unknown> =>
  Promise.resolve(sent).then(
    () => 'done',
    (error: unknown) => (error instanceof pg.DatabaseError ? error.code : error),
  )

describe('sessions on several shards', () => {
  it('meet by advisory locks', async () => {
    const [one, other, third] = await clients(3)
    expect(await valueOf(one, 'select pg_try_advisory_lock(42)')).toBe(true)
    expect(await valueOf(other, 'select pg_try_advisory_lock(42)')).toBe(false)
    await third?.query('begin')
    expect(await valueOf(third, 'select pg_try_advisory_xact_lock(42)')).toBe(false)
    await third?.query('rollback')
    expect(await valueOf(one, 'select pg_advisory_unlock(42)')).toBe(true)
    expect(await valueOf(other, 'select pg_try_advisory_lock(42)')).toBe(true)
  })

  it('are refused a lock where they would not meet, unless they name that shard', async () => {
    const [one, other] = await clients(2)
    const locked = (key: string): string =>
      `select pg_try_advisory_xact_lock(43) from users where user_id = '${key}'`
    expect(await code(one?.query(locked(first)))).toBe('done')
    expect(await code(one?.query(locked(second)))).toBe('0A000')
    await other?.query('begin')
    await other?.query(`select from users where user_id = '${second}'`)
    expect(await code(other?.query('select pg_advisory_xact_lock(43)'))).toBe('0A000')
    await other?.query('rollback')
    expect(await code(other?.query(`/* fleetshard: shard_key='${second}' */ ${locked(second)}`))).toBe('done')
    expect(
      await router.post('/v1/transaction', {
        statements: [
          { query: `select from users where user_id = '${second}'` },
          { query: 'select pg_advisory_xact_lock(43)' },
        ],
        options: { keyspace: 'app' },
      }),
    ).toMatchObject({ status: 400, body: { code: 'cross_shard' } })
  })

  it('are not bound to a shard by what they have unlocked', async () => {
    const [client] = await clients(1)
    await client?.query('select pg_advisory_unlock_all()')
    for (const key of [first, second]) await client?.query(`select from users where user_id = '${key}'`)
  })

  it('hear each other', async () => {
    const [one, other, third] = await clients(3)
    for (const listener of [one, other]) {
      const heard = new Promise<unknown>((resolve) =>
        listener?.once('notification', ({ payload }) => {
          resolve(payload)
        }),
      )
      await listener?.query('listen news')
      await third?.query("notify news, 'new'")
      expect(await heard).toBe('new')
    }
    await third?.query('begin')
    await third?.query(`select from users where user_id = '${second}'`)
    expect(await code(third?.query('notify news'))).toBe('0A000')
    await third?.query('rollback')
  })

  it('find the large objects of all', async () => {
    const [one, other] = await clients(2)
    await one?.query(String.raw`select lo_from_bytea(4711, '\x01')`)
    expect(await valueOf(other, 'select length(lo_get(4711))')).toBe(1)
  })

  it('are given no number of a sequence twice', async () => {
    const made = await clients(3)
    const numbers: unknown[] = []
    for (const client of made) numbers.push(await valueOf(client, "select nextval('numbers')"))
    expect(numbers).toEqual(['1', '2', '3'])
    const [client] = made
    const insert = (key: string): string =>
      `insert into users (user_id, n) values ('${key}', nextval('numbers')) on conflict do nothing`
    for (const key of [first, second]) expect(await code(client?.query(insert(key)))).toBe('0A000')
  })
})

describe('what a connection remembers of sequences', () => {
  it('is told in the transaction that has counted, and never of somebody else', async () => {
    for (const of of [router, single]) {
      const [one, other] = await clients(2, of)
      const insert = (key: string): string => `insert into users (user_id) values ('${key}') returning id`
      await one?.query(insert('counted'))
      for (const text of ['select lastval()', "select currval('users_id_seq')"]) {
        for (const client of [one, other]) await expect(client?.query(text)).rejects.toMatchObject(refused)
      }
      await one?.query('begin')
      await expect(one?.query('select lastval()')).rejects.toMatchObject(refused)
      await one?.query('rollback')
      await one?.query('begin')
      const given = await valueOf(one, insert('counted again'))
      expect(await valueOf(one, 'select lastval()')).toBe(given)
      expect(await valueOf(one, "select currval('users_id_seq')")).toBe(given)
      await one?.query('commit')
      expect(await valueOf(one, "select nextval('numbers') - currval('numbers')")).toBe('0')
    }
  })

  it('is not what another session has counted on it', async () => {
    for (const of of [router, single]) {
      const [one, ...others] = await clients(5, of)
      // Whichever connection is next, it has counted for somebody else.
      for (const [index, other] of others.entries()) {
        await other.query('begin')
        await other.query(`insert into users (user_id) values ('${second}-other-${String(index)}')`)
      }
      for (const other of others) await other.query('commit')
      const write = `insert into still (user_id) values ('${second}') on conflict do nothing`
      for (const ask of ['select lastval()', "select currval('users_id_seq')"]) {
        await one?.query('begin')
        await one?.query(write)
        await expect(one?.query(ask)).rejects.toMatchObject({ code: '55000' })
        await one?.query('rollback')
        await expect(one?.query(`${write}; ${ask}`)).rejects.toMatchObject({ code: '55000' })
        await one?.query('rollback')
        const statements = [{ query: write }, { query: ask }]
        const body = { statements, shard_key: second, options: { keyspace: 'app' } }
        expect((await of.post('/v1/transaction', body)).body).toMatchObject({ sqlstate: '55000' })
      }
    }
  })

  it('is told over HTTP in a transaction as well', async () => {
    const options = { keyspace: 'app', row_format: 'array' }
    const key = `${second}-http`
    const insert = { query: 'insert into users (user_id) values ($1) returning id', params: [key] }
    const { status: alone } = await router.post('/v1/execute', { query: 'select lastval()', options })
    expect(alone).toBe(400)
    const { status, body } = await router.post('/v1/transaction', {
      statements: [insert, { query: 'select lastval()' }],
      shard_key: key,
      options,
    })
    expect(status, JSON.stringify(body)).toBe(200)
    const [one, other] = body['results'] as { rows: unknown[][] }[]
    expect(other?.rows).toEqual(one?.rows)
    const late = await router.post('/v1/transaction', {
      statements: [{ query: 'select lastval()' }, insert],
      shard_key: key,
      options,
    })
    expect(late).toMatchObject({ status: 400, body: { code: 'statement_refused' } })
  })
})

describe('a transaction that has asked for no rows yet', () => {
  /** What comes of a read behind these statements, in two sessions that are at home on different shards. */
  const readBehind = async (statements: readonly string[]): Promise<Set<unknown>> => {
    const outcomes = new Set<unknown>()
    for (const client of await clients(2)) {
      for (const text of statements) await client.query(text)
      outcomes.add(await code(client.query(`select from users where user_id = '${second}'`)))
    }
    return outcomes
  }

  it.each([
    ['begin', 'select 1'],
    ['begin', 'select version()', 'savepoint a'],
  ])('goes to the shard of its rows: %s; %s', async (...statements) => {
    expect(await readBehind(statements)).toEqual(new Set(['done']))
  })

  it.each([
    ['begin', 'select now()'],
    ['begin', 'select current_timestamp'],
    ['begin', "select 'now'::timestamptz"],
    ['begin isolation level repeatable read', 'select 1'],
    ['begin', 'set transaction isolation level serializable', 'select 1'],
    ["set default_transaction_isolation = 'repeatable read'", 'begin', 'select 1'],
  ])('stays where it has got its time or its snapshot: %s; %s', async (...statements) => {
    expect(await readBehind(statements)).toEqual(new Set(['0A000', 'done']))
  })
})

describe('a name without a schema', () => {
  it('is refused where the path of the session may lead to another table', async () => {
    const [client, other] = await clients(2)
    const read = `select user_id from users where user_id = '${first}'`
    const insert = `insert into users (user_id) values ('${first}') on conflict do nothing`
    await client?.query(insert)
    await client?.query('set search_path = old, public')
    for (const text of [read, insert]) expect(await code(client?.query(text))).toBe('0A000')
    expect(await code(client?.query(read.replace('users', 'public.users')))).toBe('done')
    await client?.query('reset search_path')
    expect(await code(client?.query(read))).toBe('done')
    await client?.query('begin; set local search_path = old')
    expect(await code(client?.query(insert))).toBe('0A000')
    await client?.query('rollback')
    expect(await code(client?.query(insert))).toBe('done')
    await other?.query("select set_config('search_path', 'old', false)")
    expect(await code(other?.query(read))).toBe('0A000')
    const statements = [{ query: 'set local search_path = old' }, { query: insert }]
    expect(
      await router.post('/v1/transaction', { statements, shard_key: first, options: { keyspace: 'app' } }),
    ).toMatchObject({ status: 400, body: { code: 'statement_refused' } })
  })
})

describe('keys where the user has an equality of his own', () => {
  const tables = [testTable('public.users')]
  const users = 'create table users (user_id varchar(9) primary key, n int);'
  const equal = (type: string): string => `
    create function own(varchar, ${type}) returns boolean language sql immutable
      as 'select lower($1) operator(pg_catalog.=) lower($2::text)';
    create operator = (leftarg = varchar, rightarg = ${type}, procedure = own);`
  const read = (key: string): string => `select n from users where user_id = ${key}`

  it('are not inferred by it', async () => {
    await using odd = await startTestRouter(server, { shards: 2, tables, schema: users + equal('varchar') })
    const [client] = await clients(1, odd)
    expect(await code(client?.query(read("'A'")))).toBe('0A000')
    expect(await code(client?.query(read('$1'), ['A']))).toBe('0A000')
    expect(await code(client?.query(`insert into users (user_id) values ('A')`))).toBe('done')
    const options = { keyspace: 'app' }
    expect(await odd.post('/v1/execute', { query: read("'A'"), options })).toMatchObject({ status: 400 })
    await client?.end()
  })

  it('are inferred where it cannot be meant', async () => {
    await using odd = await startTestRouter(server, { shards: 2, tables, schema: users + equal('int') })
    const [client] = await clients(1, odd)
    expect(await code(client?.query(read("'42'")))).toBe('done')
    expect(await code(client?.query(read('42')))).toBe('0A000')
    await client?.end()
  })
})

it('an operator that reads tables is refused like a function', async () => {
  const [client] = await clients(1)
  for (const text of ['select 1 === 2', `select 1 === n from users where user_id = '${first}'`])
    expect(await code(client?.query(text))).toBe('0A000')
})
