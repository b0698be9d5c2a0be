// What a client finds in its session: settings, transactions, and the state that keeps it on one connection.
import pg from 'pg'
import { parseShardId } from '@fleetshard/core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { errorOf, RawClient, rowsOf, statusOf, tagsOf } from './testing.ts'

const schema = `
  create table users (id bigserial primary key, user_id text not null unique, name text, n int default 0);
  create table pg_mine (a int);
  create table touched (user_id text primary key, at timestamptz);
  create function touch() returns trigger language plpgsql as $$ begin new.at := now(); return new; end $$;
  create trigger touch before insert or update on touched for each row execute function touch();
  create function set_tenant(t text) returns text language plpgsql as $$
    begin return set_config('app.tenant', t, false); end $$;
  create procedure keep_tenant(t text) language plpgsql as $$
    begin perform set_config('app.tenant', t, false); end $$;
`
const tables = [testTable('public.users'), testTable('public.touched')]
const [build] = postgresBuilds()

let server: TestPostgres
let sharded: TestRouter
let single: TestRouter
const open = new Set<pg.Client>()

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  sharded = await startTestRouter(server, { shards: 2, tables, schema })
  single = await startTestRouter(server, { shards: 1, tables, schema })
})
afterEach(async () => {
  await Promise.all(Array.from(open, (client) => client.end()))
  open.clear()
})
afterAll(async () => {
  await sharded[Symbol.asyncDispose]()
  await single[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const connect = async (router: TestRouter): Promise<pg.Client> => {
  const client = new pg.Client({ host: '127.0.0.1', port: router.wirePort, user: 'app', database: 'app' })
  client.on('error', () => undefined)
  open.add(client)
  await client.connect()
  return client
}

/** Two keys that lie on different shards. */
const keysApart = async (client: pg.Client): Promise<[string, string]> => {
  const shards = new Map<string, string>()
  for (let index = 0; index < 100; index += 1) {
    const key = `apart-${String(index)}`
    const { rows } = await client.query<{ name: string }>(
      'select current_database() as name from (select 1) x, users where user_id = $1 union all select current_database()',
      [key],
    )
    shards.set(rows[0]?.name ?? '', key)
    if (shards.size === 2) break
  }
  const [one = '', other = ''] = shards.values()
  return [one, other]
}

describe('settings', () => {
  it('follow the session to every connection, and no other session sees them', async () => {
    const one = await connect(sharded)
    const other = await connect(sharded)
    await one.query("set timezone = 'Asia/Tokyo'; set statement_timeout = 54321")
    for (let index = 0; index < 10; index += 1) {
      const [mine, theirs] = await Promise.all([
        one.query('show statement_timeout'),
        other.query('show statement_timeout'),
      ])
      expect(mine.rows).toEqual([{ statement_timeout: '54321ms' }])
      expect(theirs.rows).not.toEqual(mine.rows)
      const text =
        "select '2026-01-01 00:00+00'::timestamptz::text as t from users where user_id = 'x' union all select '2026-01-01 00:00+00'::timestamptz::text"
      expect((await one.query(text)).rows).toEqual([{ t: '2026-01-01 09:00:00+09' }])
    }
    await one.query('reset all')
    expect((await one.query('show timezone')).rows).toEqual((await other.query('show timezone')).rows)
  })

  it('that name the application are told to the client, as Postgres tells them', async () => {
    await using client = await RawClient.open(sharded.wirePort, { application_name: 'first' })
    const told = async (text: string): Promise<string[]> =>
      (await client.query(text))
        .filter(({ type }) => type === 'S')
        .map(({ bytes }) => bytes.toString('utf8', 5))
    expect(await told("set application_name = 'mine'")).toEqual(['application_name\0mine\0'])
    expect(await told("set application_name = 'mine'")).toEqual([])
    expect(await told('select 1')).toEqual([])
    expect(await told('reset all')).toContain('application_name\0first\0')
  })

  it('are taken back with their transaction or savepoint', async () => {
    for (const router of [sharded, single]) {
      const client = await connect(router)
      const timeout = async (): Promise<unknown> =>
        (await client.query<Record<string, string>>('show lock_timeout')).rows[0]
      await client.query('begin')
      await client.query('set lock_timeout = 1111')
      await client.query('savepoint a')
      await client.query('set lock_timeout = 2222')
      expect(await timeout()).toEqual({ lock_timeout: '2222ms' })
      await client.query('rollback to a')
      expect(await timeout()).toEqual({ lock_timeout: '1111ms' })
      await client.query('commit')
      expect(await timeout()).toEqual({ lock_timeout: '1111ms' })
      await client.query('begin')
      await client.query('set lock_timeout = 3333')
      await client.query("insert into users (user_id) values ('settings')")
      await client.query('rollback')
      expect(await timeout()).toEqual({ lock_timeout: '1111ms' })
      await client.query('begin')
      await client.query('set local lock_timeout = 4444')
      expect(await timeout()).toEqual({ lock_timeout: '4444ms' })
      await client.query('commit')
      expect(await timeout()).toEqual({ lock_timeout: '1111ms' })
    }
  })

  it('are also the characteristics of the transactions of a session', async () => {
    const client = await connect(sharded)
    const keys = await keysApart(client)
    await client.query('set session characteristics as transaction isolation level serializable, read only')
    for (const key of keys) {
      await client.query('begin')
      const shown =
        "select current_setting('transaction_isolation') as level, current_setting('transaction_read_only') as only"
      await client.query('select from users where user_id = $1', [key])
      expect((await client.query(shown)).rows).toEqual([{ level: 'serializable', only: 'on' }])
      await client.query('commit')
    }
    await client.query('set session characteristics as transaction read write')
    await client.query('reset default_transaction_isolation')
    for (const key of keys) {
      const { rows } = await client.query('show default_transaction_isolation')
      expect(rows).toEqual([{ default_transaction_isolation: 'read committed' }])
      await client.query('update users set n = 0 where user_id = $1', [key])
    }
  })

  it('are checked by Postgres when they are set, also in a transaction without a shard', async () => {
    const client = await connect(sharded)
    await client.query('begin')
    await expect(client.query('set no_such = 1')).rejects.toMatchObject({ code: '42704' })
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' })
    await client.query('rollback')
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  })

  it('of the router send statements to a shard, and are told by SHOW', async () => {
    const client = await connect(sharded)
    await expect(client.query('select count(*) from users')).rejects.toMatchObject({ code: '0A000' })
    await client.query("set fleetshard.shard = 's1'")
    expect((await client.query('show fleetshard.shard')).rows).toEqual([{ 'fleetshard.shard': 's1' }])
    expect((await client.query('select count(*)::int >= 0 as ok from users')).rows).toEqual([{ ok: true }])
    await expect(client.query("set fleetshard.consistency = 'maybe'")).rejects.toMatchObject({
      code: '22023',
    })
    await expect(client.query('set fleetshard.what = 1')).rejects.toMatchObject({ code: '42704' })
    await client.query('reset fleetshard.shard')
    await client.query("set fleetshard.shard_key = 'k'")
    expect((await client.query('select count(*)::int >= 0 as ok from users')).rows).toEqual([{ ok: true }])
    await client.query('set application_name = tester')
    expect((await client.query('show application_name')).rows).toEqual([{ application_name: 'tester' }])
    await client.query('discard all')
    expect((await client.query('show fleetshard.shard_key')).rows).toEqual([{ 'fleetshard.shard_key': '' }])
  })

  it('keep the role of a session apart from others', async () => {
    const client = await connect(single)
    const other = await connect(single)
    await client.query('set role scram')
    for (let index = 0; index < 5; index += 1) {
      const [mine, theirs] = await Promise.all([
        client.query('select current_user as who'),
        other.query('select current_user as who'),
      ])
      expect([mine.rows, theirs.rows]).toEqual([[{ who: 'scram' }], [{ who: 'postgres' }]])
    }
    await client.query('reset role')
    expect((await client.query('select current_user as who')).rows).toEqual([{ who: 'postgres' }])
  })
})

describe('a shard that is gone before its names are known', () => {
  it('costs the next statement an error, and the router nothing', async () => {
    if (build === undefined) throw new Error('there is no Postgres')
    await using lost = await startTestPostgres(build)
    await using router = await startTestRouter(lost, { shards: 1, tables, schema })
    const client = await connect(router)
    // What it costs is known then, so that it may share a lane; the change makes the names unknown.
    for (let time = 0; time < 5; time += 1) await client.query('select 1 from users')
    await client.query('create table changed ()')
    await lost[Symbol.asyncDispose]()
    // An error that nobody waits for would end the run.
    await expect(client.query('select 1 from users')).rejects.toMatchObject({ code: /^(08|57)/ })
    await expect(client.query('select 1 from users')).rejects.toThrow()
  })
})

describe('EXPLAIN (ROUTE)', () => {
  const linesOf = ({ rows }: pg.QueryResult): string[] =>
    rows.map((row: Record<string, string>) => row['QUERY PLAN'] ?? '')

  it('tells where a statement would run, also one that is refused', async () => {
    const client = await connect(sharded)
    const explain = async (text: string): Promise<string> =>
      linesOf(await client.query(`explain (route) ${text}`)).join('\n')
    expect(await explain("select * from users where user_id = 'a'")).toMatch(
      /^Route: single on s\d\n.*\n {2}Key: public.users.user_id = 'a'$/,
    )
    expect(await explain('select * from users')).toMatch(/^Route: unkeyed\n[^]*To run on one shard: /)
    expect(await explain('select * from nowhere')).toContain('nowhere is not declared')
    expect(await explain("update users set user_id = 'b' where user_id = 'a'")).toContain('Route: refused')
    await client.query("set fleetshard.shard = 's1'")
    expect(await explain('select * from users')).toContain('Route: single on s1')
    const [before] = (await client.query('select count(*)::int as n from users')).rows as { n: number }[]
    await explain("insert into users (user_id) values ('explained')")
    expect((await client.query('select count(*)::int as n from users')).rows).toEqual([before])
  })

  it('is answered in the extended protocol, in transactions, and with one shard', async () => {
    const client = await connect(sharded)
    const text = 'explain (route) select * from users where user_id = $1'
    expect(linesOf(await client.query(text, ['a']))).toContain('  Reason: the shard is that of $1')
    await client.query('begin')
    expect(linesOf(await client.query({ name: 'x', text, values: ['a'] }))).toHaveLength(3)
    await client.query('rollback')
    const one = await connect(single)
    expect(linesOf(await one.query('explain (route) select * from users')).join()).toContain(
      'the keyspace has one shard',
    )
    await expect(client.query('explain (route) selec')).rejects.toMatchObject({ code: '42601' })
  })
})

describe('what drivers and psql ask about the schema', () => {
  it('is answered by any shard', async () => {
    const client = await connect(sharded)
    const { rows } = await client.query('select typname from pg_type where oid = $1', [23])
    expect(rows).toEqual([{ typname: 'int4' }])
    const columns = await client.query(
      "select column_name from information_schema.columns where table_name = 'touched' order by 1",
    )
    expect(columns.rows).toEqual([{ column_name: 'at' }, { column_name: 'user_id' }])
    const table = await client.query(
      "select c.relname from pg_catalog.pg_class c left join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relname operator(pg_catalog.~) '^(users)$' collate pg_catalog.default and pg_catalog.pg_table_is_visible(c.oid)",
    )
    expect(table.rows).toEqual([{ relname: 'users' }])
    await expect(client.query('select count(*) from pg_mine')).rejects.toMatchObject({
      code: '42P01',
      hint: expect.stringContaining('fleetshard table create') as string,
    })
    await expect(client.query('select count(*) from users, pg_class')).rejects.toMatchObject({
      code: '0A000',
      hint: expect.stringContaining('SET fleetshard.shard_key') as string,
    })
  })
})

describe('transactions', () => {
  it('wait for a shard, and end as nothing where they found none', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    expect(statusOf(await client.query('begin isolation level serializable'))).toBe('T')
    expect(rowsOf(await client.query('show transaction_isolation'))).toEqual([['serializable']])
    const written = await client.query("insert into users (user_id) values ('waits')")
    expect([tagsOf(written), statusOf(written)]).toEqual([['INSERT 0 1'], 'T'])
    expect(rowsOf(await client.query('show transaction_isolation'))).toEqual([['serializable']])
    expect(tagsOf(await client.query('commit'))).toEqual(['COMMIT'])
    expect(rowsOf(await client.query("select user_id from users where user_id = 'waits'"))).toEqual([
      ['waits'],
    ])
    expect(tagsOf(await client.query('begin'))).toEqual(['BEGIN'])
    const again = await client.query('begin')
    expect(again.some(({ type }) => type === 'N')).toBe(true)
    expect(tagsOf(await client.query('commit'))).toEqual(['COMMIT'])
    const nothing = await client.query('commit')
    expect([tagsOf(nothing), statusOf(nothing)]).toEqual([['COMMIT'], 'I'])
    expect(nothing.some(({ type }) => type === 'N')).toBe(true)
  })

  it('are refused a second shard with the reason, and then are failed until they end', async () => {
    const client = await connect(sharded)
    const [one, other] = await keysApart(client)
    await client.query('begin')
    await client.query('insert into users (user_id) values ($1)', [one])
    await client.query('savepoint before')
    await expect(client.query('insert into users (user_id) values ($1)', [other])).rejects.toMatchObject({
      code: '0A000',
      hint: expect.stringContaining('one shard') as string,
    })
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' })
    await client.query('rollback to before')
    await client.query('update users set n = 7 where user_id = $1', [one])
    await client.query('commit')
    expect((await client.query('select n from users where user_id = $1', [one])).rows).toEqual([{ n: 7 }])
  })

  it('end with their client: nothing stays open or locked', async () => {
    const client = await RawClient.open(sharded.wirePort)
    await client.query("insert into users (user_id) values ('left')")
    await client.query('begin')
    await client.query("update users set n = 1 where user_id = 'left'")
    await client[Symbol.asyncDispose]()
    const other = await connect(sharded)
    await other.query("update users set n = n + 1 where user_id = 'left'")
    expect((await other.query("select n from users where user_id = 'left'")).rows).toEqual([{ n: 1 }])
  })
})

describe('state that cannot be carried', () => {
  it('keeps the session on its connection until DISCARD ALL, and refuses other shards meanwhile', async () => {
    const client = await connect(sharded)
    const [one, other] = await keysApart(client)
    await client.query("set fleetshard.shard_key = '" + one + "'")
    await client.query('create temp table mine (a int)')
    await client.query('insert into mine values (1)')
    expect((await client.query('select a from mine')).rows).toEqual([{ a: 1 }])
    await client.query('reset fleetshard.shard_key')
    await expect(client.query('select 1 from users where user_id = $1', [other])).rejects.toMatchObject({
      code: '0A000',
      hint: expect.stringContaining('DISCARD ALL') as string,
    })
    await client.query('discard all')
    expect((await client.query('select 1 as one from users where user_id = $1', [other])).rows).toEqual([])
    const fresh = await connect(sharded)
    await fresh.query("set fleetshard.shard_key = '" + one + "'")
    await expect(fresh.query('select a from mine')).rejects.toMatchObject({ code: '42P01' })
  })

  it.each([
    ['DO', `do $$ begin perform set_config('app.tenant', 'kept', false); end $$`],
    ['CALL', `call keep_tenant('kept')`],
    ['a volatile function', `select set_tenant('kept')`],
  ])('stays with the session after %s, and nobody else sees it', async (_name, text) => {
    const [client, other] = [await connect(single), await connect(single)]
    const tenant = `select coalesce(current_setting('app.tenant', true), '') as t, pg_backend_pid() as pid`
    await client.query(text)
    const [first] = (await client.query<{ t: string; pid: number }>(tenant)).rows
    for (let round = 0; round < 5; round += 1) {
      const seen = await other.query<{ t: string; pid: number }>(tenant)
      expect(seen.rows[0]?.t).toBe('')
      expect((await client.query(tenant)).rows).toEqual([first])
    }
    expect(first).toMatchObject({ t: 'kept' })
  })

  it('is gone when the session has ended', async () => {
    const client = await connect(single)
    expect((await client.query("select set_tenant('a')")).rows).toEqual([{ set_tenant: 'a' }])
    expect((await client.query("select current_setting('app.tenant') as t")).rows).toEqual([{ t: 'a' }])
    await client.query('select pg_advisory_lock(7)')
    open.delete(client)
    await client.end()
    const other = await connect(single)
    for (let index = 0; index < 5; index += 1) {
      expect(
        (await other.query("select coalesce(current_setting('app.tenant', true), '') as t")).rows,
      ).toEqual([{ t: '' }])
    }
    await expect
      .poll(
        async () =>
          (await other.query<Record<string, boolean>>('select pg_try_advisory_lock(7) as got')).rows,
      )
      .toEqual([{ got: true }])
  })

  it('brings notifications to the client that listens, and to nobody else', async () => {
    const listener = await connect(single)
    const heard: string[] = []
    listener.on('notification', ({ channel, payload = '' }) => heard.push(`${channel}:${payload}`))
    const other = await connect(single)
    other.on('notification', () => heard.push('wrong'))
    await listener.query('listen news')
    await other.query("notify news, 'first'")
    await expect.poll(() => heard).toEqual(['news:first'])
    await listener.query("select pg_notify('news', 'second')")
    await expect.poll(() => heard).toEqual(['news:first', 'news:second'])
  })

  it('ends the session when its connection is gone, though nothing runs on it', async () => {
    const listener = await connect(single)
    const told = new Promise((resolve) => listener.once('error', resolve))
    await listener.query('listen news')
    const { rows } = await listener.query<{ pid: number }>('select pg_backend_pid() as pid')
    await single.onShard(parseShardId('s0'), `select pg_terminate_backend(${String(rows[0]?.pid)})`)
    expect(await told).toMatchObject({ code: '57P01' })
  })

  it('of triggers does not bind the session', async () => {
    const client = await connect(sharded)
    for (let index = 0; index < 20; index += 1) {
      await client.query('insert into touched (user_id) values ($1)', [`t${String(index)}`])
    }
    const { rows } = await client.query("select at is not null as touched from touched where user_id = 't7'")
    expect(rows).toEqual([{ touched: true }])
  })

  it.each([
    'pg_is_in_recovery()',
    "pg_total_relation_size('users')",
    'pg_current_wal_lsn()',
    'pg_cancel_backend(0)',
  ])('is not what %s leaves: it tells of the server, or acts on it', async (call) => {
    const client = await connect(sharded)
    const [one, other] = await keysApart(client)
    await client.query("set fleetshard.shard_key = '" + one + "'")
    await client.query(`select ${call}`)
    await client.query('reset fleetshard.shard_key')
    expect((await client.query('select 1 as one from users where user_id = $1', [other])).rows).toEqual([])
  })

  it("of SQL's PREPARE works with one shard", async () => {
    const client = await connect(single)
    await client.query('prepare mine (int) as select $1 + 1 as n')
    expect((await client.query('execute mine(1)')).rows).toEqual([{ n: 2 }])
    await client.query('deallocate mine')
    await expect(client.query('execute mine(1)')).rejects.toMatchObject({ code: '26000' })
  })

  it('of cursors lasts for their transaction', async () => {
    for (const router of [single, sharded]) {
      await using client = await RawClient.open(router.wirePort)
      await client.query("insert into users (user_id) values ('cursor') on conflict do nothing")
      await client.query('begin')
      await client.query("declare c cursor for select user_id from users where user_id = 'cursor'")
      expect(rowsOf(await client.query('fetch 10 from c'))).toEqual([['cursor']])
      await client.query('close c')
      await client.query('commit')
      expect(errorOf(await client.query('fetch 10 from c'))?.code).toBe('34000')
    }
  })
})

describe('prepared statements', () => {
  it('survive DISCARD ALL and DEALLOCATE on the server, and a change of the tables', async () => {
    const client = await connect(single)
    const named = { name: 'all', text: 'select * from users where user_id = $1' }
    await client.query("insert into users (user_id) values ('changes')")
    for (let index = 0; index < 5; index += 1) await client.query({ ...named, values: ['changes'] })
    const text = 'select * from users where user_id = $1'
    for (let index = 0; index < 5; index += 1) await client.query(text, ['changes'])
    await client.query('alter table users add column extra int default 9')
    expect((await client.query(text, ['changes'])).rows[0]).toMatchObject({ extra: 9 })
    const other = await connect(single)
    await other.query('discard all')
    expect((await client.query(text, ['changes'])).rows[0]).toMatchObject({ extra: 9 })
    await client.query('deallocate all')
    await client.query('alter table users drop column extra')
    expect((await client.query(text, ['changes'])).rows[0]).not.toHaveProperty('extra')
  })
})
