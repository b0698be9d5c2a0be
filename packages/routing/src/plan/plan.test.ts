import { FleetError, type ShardMap, type ShardRecord } from '@fleetshard/core'
import { beforeAll, describe, expect, it } from 'vitest'
import type { KnownStatement } from './cache.ts'
import { noTarget } from './hint.ts'
import { placeStatement } from './placement.ts'
import { planOf } from './plan.ts'
import { analyseText, loadGrammar } from './postgres/analyse-text.ts'
import { slotKey } from './slot-key.ts'
import { testMap, testTable } from './testing.ts'

const tables = [
  testTable('public.users'),
  testTable('public.orders'),
  testTable('public."Odd Name"', { keyColumn: 'id', keyType: 'int8' }),
  testTable('public.countries', { kind: 'reference', keyColumn: null, keyType: null }),
]
const map = testMap(4, tables)

beforeAll(loadGrammar)

function known(text: string): KnownStatement {
  const analysis = analyseText(text)
  if (analysis.kind !== 'statement') throw new Error(`${text}: ${analysis.kind}`)
  return { text, facts: analysis.facts, hint: noTarget, cost: { meanMs: null, large: false, alone: 0 } }
}

const owner = (key: string, of: ShardMap = map): ShardRecord => of.shardFor(slotKey(key, 'text'), 'text')

/** Keys on two different shards. */
function keysApart(): [string, string] {
  const first = 'user-0'
  for (let index = 1; ; index += 1)
    if (owner(`user-${String(index)}`) !== owner(first)) return [first, `user-${String(index)}`]
}

function place(text: string, params: readonly unknown[] = [], shardKey?: string): ShardRecord {
  return placeStatement(known(text), map, { shardKey, params })
}

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof FleetError) return error.code
    throw error
  }
  return 'no error'
}

describe('the key of a statement', () => {
  const byParameter = [
    'select * from users where user_id = $1',
    'select * from public.users u where $1 = u.user_id and name = $2',
    'select * from users where name = $2 and (user_id) = ($1::text)',
    'select c.name from users u join countries c on c.code = u.country where u.user_id = $1',
    'select c.name from countries c left join users u on u.country = c.code where u.user_id = $1',
    'update users set name = $2 where user_id = $1 returning id',
    'delete from users where user_id in ($1)',
    'insert into users (name, user_id) values ($2, $1)',
    'insert into users (user_id, name) values ($1, $2) on conflict (user_id) do update set name = excluded.name',
    'insert into users (name, user_id) select name, $1 from countries',
    'select * from users where user_id = $1 for update',
    'select * from users u where user_id = $1 for update of u',
    'with c as (select * from countries) select * from users where user_id = $1',
    'select * from only users where user_id = $1',
    'select * from users u join countries using (code) where u.user_id = $1',
    'select * from users where user_id = $1 and user_id = $2',
    'SELECT * FROM "users" WHERE Public.Users.User_Id = $1',
    'explain analyze delete from users where user_id = $1',
    'explain select * from users where user_id = $1',
    'with w as (delete from users where user_id = $1 returning *) insert into orders (user_id) values ($1)',
    'with w as (insert into users (user_id) values ($1) returning id) select * from w',
    'select 1 from users where user_id = $1 union all select 2 from countries',
  ]
  it.each(byParameter)('is seen in: %s', (text) => {
    for (const key of keysApart()) expect(place(text, [key, 'x'])).toBe(owner(key))
  })

  it('is read by the type of its column', () => {
    const text = 'select * from "Odd Name" where id = $1'
    const expected = map.shardFor(slotKey('42', 'int8'), 'int8')
    for (const value of [42, '42', '0042', ' 42'.trim()]) expect(place(text, [value])).toBe(expected)
    expect(place('select * from "Odd Name" where id = 42')).toBe(expected)
    expect(place('select * from "Odd Name" where id = -0')).toBe(map.shardFor(slotKey('0', 'int8'), 'int8'))
    expect(codeOf(() => place(text, ['x']))).toBe('invalid_shard_key')
  })

  it('is that of the column, however many zeros a literal has', () => {
    expect(place('insert into users (user_id) values (00099999999999)')).toBe(owner('99999999999'))
    expect(place('insert into users (user_id) values (-00099999999999)')).toBe(owner('-99999999999'))
  })

  it('is not base64 where it is a literal of bytea', () => {
    const bytes = testMap(4, [testTable('public.blobs', { keyColumn: 'id', keyType: 'bytea' })])
    const placeBytes = (text: string, params: unknown[] = []): ShardRecord =>
      placeStatement(known(text), bytes, { shardKey: undefined, params })
    expect(codeOf(() => placeBytes(`insert into blobs (id) values ('AP8=')`))).toBe('invalid_shard_key')
    const byParam = placeBytes('insert into blobs (id) values ($1)', ['AP8='])
    expect(placeBytes(String.raw`insert into blobs (id) values ('\x00ff')`)).toBe(byParam)
  })

  it('is seen through the key of another table, given the shard', () => {
    for (const key of keysApart()) {
      const text = 'insert into users (user_id) select o.user_id from orders o where o.user_id = $1'
      expect(place(text, [key], key)).toBe(owner(key))
    }
  })

  it('is a literal as well', () => {
    expect(place(`select * from users where user_id = 'it''s'`)).toBe(owner("it's"))
    expect(place(`select * from users where user_id = E'a\\nb'`)).toBe(owner('a\nb'))
    expect(place(`insert into users (user_id) values ('a'::varchar)`)).toBe(owner('a'))
  })

  const unseen = [
    'select * from users',
    'select * from users where user_id = $1 or name = $2',
    'select * from users where user_id > $1',
    'select * from users where lower(user_id) = $1',
    'select * from users where user_id = $1::uuid::text',
    'select * from users where user_id = $1::varchar(3)',
    'select * from users where user_id operator(public.=) $1',
    'select * from users where name = (select user_id from countries where user_id = $1)',
    'select * from users u, orders o where u.user_id = $1',
    'select * from countries where code = $1 and exists (select from users where name = $2)',
    'with undeclared as (select * from undeclared) select * from undeclared',
    'select * from undeclared where exists (with undeclared as (select 1) select * from undeclared)',
    'select * from users as u (user_id, name) where user_id = $1',
    'select * from (users join countries on true) as j (user_id) where user_id = $1',
    'select * from users join countries using (user_id) where user_id = $1',
    'select * from users natural join countries where user_id = $1',
    'select * from users u, countries users where users.user_id = $1',
    'select * from users where user_id is not distinct from $1',
    'select * from users where user_id collate "x" = $1',
    'select * from users where user_id = $1 collate "x"',
    'select * from users where user_id = $1::uuid',
    'select * from users where user_id = $1::int8',
    'select * from users tablesample system (10) where user_id = $1',
    'select * from undeclared where user_id = $1',
    'update users set name = $2',
    'truncate users',
    'do $$ begin end $$',
    'call p($1)',
  ]
  it.each(unseen)('is not guessed in: %s', (text) => {
    const [key] = keysApart()
    const code = text.includes('undeclared') ? 'table_not_declared' : 'shard_key_required'
    expect(codeOf(() => place(text, [key, 'x']))).toBe(code)
    expect(place(text, [key, 'x'], key)).toBe(owner(key))
  })
})

describe('a statement is refused', () => {
  it('when its keys lie on several shards', () => {
    const [one, other] = keysApart()
    expect(codeOf(() => place('select * from users where user_id in ($1, $2)', [one, other]))).toBe(
      'cross_shard',
    )
    expect(codeOf(() => place('insert into users (user_id) values ($1), ($2)', [one, other]))).toBe(
      'cross_shard',
    )
    expect(place('insert into users (user_id) values ($1), ($2)', [one, one])).toBe(owner(one))
  })

  it('when the key given is that of another shard than the rows', () => {
    const [one, other] = keysApart()
    expect(codeOf(() => place('insert into users (user_id) values ($1)', [one], other))).toBe('cross_shard')
    expect(codeOf(() => place('delete from users where user_id = $1', [one], other))).toBe('cross_shard')
  })

  it.each([null, undefined, '', 'a\0b'])('when a key is %j', (key) => {
    expect(codeOf(() => place('select * from users where user_id = $1', [key]))).toBe('invalid_shard_key')
  })

  it('when the key of a new row cannot be seen, even with a key given', () => {
    const [key] = keysApart()
    for (const text of [
      'insert into users values ($1)',
      'insert into users (name) values ($1)',
      'insert into users (user_id) values (default)',
      'insert into users (user_id) values (lower($1))',
      'insert into users default values',
      'insert into users (user_id) select code from countries',
      'insert into users (user_id) select user_id from users where user_id = $1 union select $1',
      // Of equal values of another type, the text may be another one.
      'insert into users (name, user_id) select name, code from countries where code = $1',
      'insert into users (user_id) select user_id from orders join countries using (user_id) where user_id = $1',
      'insert into users (name, user_id) select c.*, $1 from countries c',
      'insert into users (name, user_id) values (($1::countries).*, $1)',
      'insert into users (user_id) overriding user value values ($1)',
      'insert into users (user_id) values ($1::int8)',
      `insert into users (user_id) values ('0042'::int4)`,
      `insert into users (user_id) values ($1::uuid)`,
      `insert into users (user_id) values ($1::bytea)`,
    ]) {
      expect(codeOf(() => place(text, [key], key))).toBe('statement_refused')
    }
  })

  it('when it sets the shard key, changes a reference table, or changes the schema', () => {
    const [key] = keysApart()
    for (const text of [
      'update users set user_id = $1 where user_id = $1',
      'insert into users (user_id) values ($1) on conflict (user_id) do update set user_id = $1',
      "insert into countries (code) values ('de')",
      'merge into users u using countries c on u.user_id = c.code when not matched then insert (user_id) values (c.code)',
      'update users set user_id = $1 from orders where orders.user_id = users.user_id',
      'create table t (a int)',
      'alter table users add column x int',
      'drop table users',
    ]) {
      expect(codeOf(() => place(text, [key], key))).toBe('statement_refused')
    }
  })
})

describe('placement', () => {
  it('sends what concerns no sharded table anywhere', () => {
    expect(map.owners).toContain(place('select version()'))
    expect(map.owners).toContain(place('select * from countries'))
  })

  it('sends everything to the only shard, of a valid key', () => {
    const single = testMap(1, tables)
    const statement = known('select * from users u, orders o')
    expect(placeStatement(statement, single, { shardKey: undefined, params: [] }).id).toBe('s0')
    expect(codeOf(() => placeStatement(statement, single, { shardKey: '', params: [] }))).toBe(
      'invalid_shard_key',
    )
  })

  it('has nowhere to send in an empty keyspace', () => {
    const empty = testMap(0, tables)
    expect(codeOf(() => placeStatement(known('select 1'), empty, { shardKey: undefined, params: [] }))).toBe(
      'no_shard',
    )
  })

  it('sends a global table home', () => {
    const home = map.owners[2]
    if (home === undefined) throw new Error('no shard')
    const withGlobal = testMap(4, [
      ...tables,
      testTable('public.settings', { kind: 'global', keyColumn: null, keyType: null, homeShard: home.id }),
    ])
    const placed = placeStatement(known('update settings set a = 1'), withGlobal, {
      shardKey: undefined,
      params: [],
    })
    expect(placed.id).toBe(home.id)
  })

  it('does not take one table for another of the same name', () => {
    const twins = testMap(4, [testTable('public.users'), testTable('other.users')])
    const write = known('insert into users (user_id) values ($1)')
    const read = known('select * from users where user_id = $1')
    const request = { shardKey: 'a', params: ['b'] }
    expect(codeOf(() => placeStatement(write, twins, request))).toBe('statement_refused')
    expect(codeOf(() => placeStatement(read, twins, { ...request, shardKey: undefined }))).toBe(
      'shard_key_required',
    )
  })

  it('uses a global table at its home only', () => {
    const [first, second] = map.owners
    if (first === undefined || second === undefined) throw new Error('no shards')
    const globalAt = (name: string, home: ShardRecord) =>
      testTable(name, { kind: 'global', keyColumn: null, keyType: null, homeShard: home.id })
    const withGlobals = testMap(4, [...tables, globalAt('public.a', first), globalAt('public.b', second)])
    const attempt = (text: string, shardKey?: string): string =>
      codeOf(() => placeStatement(known(text), withGlobals, { shardKey, params: [] }))
    const keys = keysApart()
    const atHome = keys.find((key) => withGlobals.shardFor(slotKey(key, 'text'), 'text').id === first.id)
    const away = keys.find((key) => withGlobals.shardFor(slotKey(key, 'text'), 'text').id !== first.id)
    expect(attempt('select * from a, b')).toBe('statement_refused')
    expect(attempt('insert into a select user_id from users', away)).toBe('statement_refused')
    expect(attempt('select * from a, users', away)).toBe('cross_shard')
    if (atHome !== undefined) expect(attempt('select * from a, users', atHome)).toBe('no error')
  })

  it('plans a statement once for a set of tables', () => {
    const statement = known('select * from users where user_id = $1')
    expect(planOf(statement, map)).toBe(planOf(statement, map))
    expect(planOf(statement, testMap(4, tables))).not.toBe(planOf(statement, map))
  })
})

describe('a lock of a reference table, which is on every shard', () => {
  it.each([
    'select * from countries for update',
    'select * from users u, countries c where u.user_id = $1 for no key update',
    'select * from users u join countries c on true where u.user_id = $1 for update of c',
    'select * from users u, (select * from countries) c where u.user_id = $1 for update of c',
    'select * from users where user_id = $1 and n in (select n from countries for update)',
    'with w as (select * from countries for update) select * from w',
    'lock table countries',
  ])('is refused unless its shard is named: %s', (text) => {
    expect(codeOf(() => place(text, ['user-7']))).toBe('shard_key_required')
    expect(place(text, ['user-7'], 'user-7')).toBe(owner('user-7'))
  })

  it.each([
    'select * from users u, countries c where u.user_id = $1 for update of u',
    'select * from users u, countries c where u.user_id = $1 for share',
    'with w as (select * from countries) select * from users, w where user_id = $1 for update',
    'select * from users where user_id = $1 and n in (select n from countries) for update',
  ])('is not meant by: %s', (text) => {
    expect(place(text, ['user-7'])).toBe(owner('user-7'))
  })
})
