// The router over three shards against one Postgres that holds all rows: for statements put together at random, the
// router gives the answer of the one Postgres, or refuses. After every write both hold the same rows, and every row
// lies on the shard that owns its key.
import { parseShardId } from '@fleetshard/core'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { query, type ServerConnection } from '@fleetshard/routing/wire'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { slotKey } from '@fleetshard/routing/plan'
import { testMap, testTable } from '@fleetshard/routing/testing'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = `
  create table users (user_id varchar(6) not null, name text, n int default 0, primary key (user_id));
  create table numbers (id int8 not null, name text, n int);
  create table blobs (key bytea not null, n int);
  create table countries (code char(4) primary key, user_id text, name text);
  insert into countries values ('a', 'k1', 'A'), ('k2', 'k2', 'K'), ('k3', 'x', 'X');
  create view all_users as select * from users;
  create function count_users() returns bigint language sql stable as 'select count(*) from users';
`
const tables = [
  testTable('public.users'),
  testTable('public.numbers', { keyColumn: 'id', keyType: 'int8' }),
  testTable('public.blobs', { keyColumn: 'key', keyType: 'bytea' }),
  testTable('public.countries', { kind: 'reference', keyColumn: null, keyType: null }),
]
const shardCount = 3
const statementsMax = 700

const textKeys = ['k1', 'k2', 'k2  ', 'k3', 'k4', 'k5', 'K1', '042', '42', 'k1    ', 'k1      ', 'é']
const texts = fc.constantFrom(...textKeys)
const literal = texts.map((key) => `'${key}'`)
const textSlot = fc.oneof(
  { weight: 4, arbitrary: fc.constant('$1') },
  literal,
  fc.constantFrom(
    '$1::text',
    '$1::varchar',
    '$1::varchar(2)',
    '$1::int4',
    '$1::bpchar',
    '$1::name',
    '42',
    '0042',
  ),
  fc.constantFrom('$1 collate "C"', 'lower($1)', '00099999999999', `'0042'::int4`, 'null', `$1 || ''`),
)
const where = fc.oneof(
  { weight: 5, arbitrary: textSlot.map((slot) => `user_id = ${slot}`) },
  textSlot.map((slot) => `u.user_id = ${slot}`),
  fc.tuple(textSlot, textSlot).map(([one, other]) => `user_id in (${one}, ${other})`),
  fc.tuple(textSlot, textSlot).map(([one, other]) => `user_id = ${one} and user_id = ${other}`),
  fc.tuple(textSlot, textSlot).map(([one, other]) => `user_id = ${one} or user_id = ${other}`),
  fc.constantFrom('not user_id = $1', '(user_id, n) = ($1, 0)', 'user_id is not distinct from $1'),
  fc.constantFrom(
    'user_id >= $1',
    'user_id = any(array[$1])',
    '(user_id = $1) is true',
    'user_id = $1 and n = 0',
  ),
)
const source = fc.constantFrom(
  'users u',
  'users',
  'only users u',
  'users as u (name, user_id)',
  '(users u join countries c on true) as u (user_id)',
  'users u join countries c using (user_id)',
  'users u full join countries c using (user_id)',
  'countries c natural left join users u',
  'countries c left join users u on u.user_id = c.code',
  'countries u',
  'all_users u',
  'countries users, users u',
  '(select * from users) u',
  'countries c, lateral (select * from users where user_id = c.user_id) u',
  'users u, count_users() f',
)
const prefix = fc.constantFrom(
  '',
  '',
  '',
  'with users as (select * from countries) ',
  'with users as (select * from users) ',
  'with all_users as (select * from all_users) ',
  'with recursive users as (select * from users where user_id = $1) ',
  'with c as (select * from countries) ',
)
const select = fc
  .tuple(prefix, source, where)
  .map(([head, from, what]) => `${head}select * from ${from} where ${what}`)
const insertValue = fc.oneof({ weight: 3, arbitrary: fc.constant('$1') }, textSlot)
/** Ways to give a row another key than the one that is seen; each is tried with every key. */
const oddInserts = [
  `insert into users (name, user_id) select name, code from countries where code = 'k2  '`,
  'insert into users (name, user_id) select name, code from countries where code = $1',
  'insert into users (user_id, name) select user_id, name from countries where user_id = $1',
  'insert into users (name, user_id) values ($1::int, $1)',
  'insert into users (name, user_id) values ($1::bpchar, $1)',
  'insert into users (name, user_id) select c.*, $1 from (select name from countries limit 1) c',
  `insert into users (user_id) values ('0042'), (42) limit 2`,
  `insert into users (user_id) with w as (select 1) values ('042'), (7), ('k1')`,
  'insert into all_users (user_id) values ($1)',
  'insert into users values ($1)',
  'with users as (select 1) insert into users (user_id) values ($1)',
  `insert into users (user_id) values ($1) on conflict (user_id) do update set n = users.n + 1`,
  `insert into users (user_id) values ($1) on conflict (user_id) do update set user_id = 'k9'`,
]
const insert = fc.oneof(
  insertValue.map((value) => `insert into users (user_id, name) values (${value}, 'k1')`),
  insertValue.map((value) => `insert into users (name, user_id) values (($1::text), ${value})`),
  insertValue.map(
    (value) => `insert into users (name, user_id) select name, ${value} from countries limit 1`,
  ),
  fc.constantFrom(...oddInserts),
)
/** Several rows, as a list or as a query: a query gives all values of a column one type before the table is looked at. */
const insertRows = fc
  .tuple(
    insertValue,
    insertValue,
    fc.constantFrom('', '', ' limit 2', ' order by 1', ' offset 0'),
    fc.constantFrom('', '', 'with w as (select 1) '),
  )
  .map(
    ([one, other, tail, head]) =>
      `insert into users (user_id, n) ${head}values (${one}, 1), (${other}, 2)${tail}`,
  )
const change = fc.oneof(
  where.map((what) => `update users u set n = u.n + 1 where ${what}`),
  where.map((what) => `update users u set user_id = 'k8' where ${what}`),
  where.map((what) => `delete from users u where ${what}`),
  where.map((what) => `update all_users u set n = n + 1 where ${what}`),
  where.map((what) => `with d as (delete from users u where ${what} returning *) select * from d`),
)
const numberSlot = fc.constantFrom(
  '$1',
  '$1::int4',
  '$1::text',
  `'42 '`,
  '042',
  '42.0',
  '4e1',
  `'0042'`,
  '99999999999',
)
const numbers = fc.oneof(
  numberSlot.map((slot) => `select * from numbers where id = ${slot}`),
  numberSlot.map((slot) => `insert into numbers (id, n) values (${slot}, 1)`),
  numberSlot.map((slot) => `delete from numbers where id = ${slot}`),
)
const bytes = fc.constantFrom(
  'select * from blobs where key = $1',
  'insert into blobs (key) values ($1)',
  `insert into blobs (key) values ('AP8=')`,
  String.raw`insert into blobs (key) values ('\x00ff')`,
  String.raw`select * from blobs where key = '\x00ff'`,
  `select * from blobs where key = 'AP8='`,
)
const numberValues = fc.constantFrom<unknown>(
  42,
  '42',
  ' 42',
  '042',
  '42.0',
  4e1,
  -0,
  1e21,
  99_999_999_999,
  true,
  '',
)
const byteValues = fc.constantFrom<unknown>('AP8=', '\\x00ff', 'zz', '\\X00ff', '')
const statement = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(select, texts) },
  { weight: 1, arbitrary: fc.tuple(insertRows, texts) },
  { weight: 4, arbitrary: fc.tuple(insert, fc.oneof(texts, fc.constantFrom<unknown>(42, true, -0, 1e21))) },
  { weight: 3, arbitrary: fc.tuple(change, texts) },
  { weight: 2, arbitrary: fc.tuple(numbers, numberValues) },
  { weight: 1, arbitrary: fc.tuple(bytes, byteValues) },
)

/** Tried each time, before what chance brings. */
const examples = [
  `insert into users (user_id, name) values ($1, 'k1')`,
  'select * from users as u (name, user_id) where user_id = $1',
  'delete from users where user_id = $1',
  ...oddInserts,
  'with users as (select * from users) select * from users where user_id = $1',
].flatMap((text) => textKeys.map((key): [[string, unknown]] => [[text, key]]))

type Answer = Readonly<{ status: number; body: Record<string, unknown> }>
const sorted = ({ body }: Answer): string[] =>
  (body['rows'] as unknown[]).map((row) => JSON.stringify(row)).toSorted()

describe('statements over shards', () => {
  let server: TestPostgres
  let sharded: TestRouter
  let whole: TestRouter
  const connections: ServerConnection[] = []

  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
    sharded = await startTestRouter(server, { shards: shardCount, tables, schema })
    // A keyspace of one shard places nothing: it is the one Postgres, reached by the same way.
    whole = await startTestRouter(server, { shards: 1, tables, schema })
    const databases = ['s0', 's1', 's2'].map((id) => sharded.database(parseShardId(id)))
    for (const database of [whole.database(parseShardId('s0')), ...databases])
      connections.push(await server.connect({ database }))
  })
  afterAll(async () => {
    await Promise.all(connections.map((connection) => connection.close()))
    await sharded[Symbol.asyncDispose]()
    await whole[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const rowsOf = async (connection: ServerConnection, sql: string): Promise<string[]> =>
    (await query(connection, sql, [])).rows.map((row) => JSON.stringify(row))

  async function expectSameRows(told: string): Promise<void> {
    const map = testMap(shardCount, tables)
    for (const [table, key, type] of [
      ['users', 'user_id', 'text'],
      ['numbers', 'id', 'int8'],
      ['blobs', 'key', 'bytea'],
    ] as const) {
      const [all = [], ...parts] = await Promise.all(
        connections.map((connection) => rowsOf(connection, `select ${key}, n, t::text from ${table} t`)),
      )
      expect(parts.flat().toSorted(), told).toEqual(all.toSorted())
      for (const [index, rows] of parts.entries()) {
        for (const row of rows) {
          const [value] = JSON.parse(row) as [string]
          expect(map.shardFor(slotKey(value, type), type).id, `${told}: ${value}`).toBe(`s${String(index)}`)
        }
      }
    }
  }

  it('are answered as by one Postgres, or refused', async () => {
    const seen = { same: 0, refused: 0, failed: 0 }
    await fc.assert(
      fc.asyncProperty(statement, async ([text, value]) => {
        const params = text.includes('$1') ? [value] : []
        const options = { keyspace: 'app', row_format: 'array' }
        const body = { query: text, params, options }
        const told = `${text} with ${JSON.stringify(params)}`
        const ours = await sharded.post('/v1/execute', body)
        if (ours.status !== 200) {
          // Nothing of it may have happened, and what fails in Postgres fails there too.
          seen[ours.body['code'] === 'sql_error' ? 'failed' : 'refused'] += 1
          if (ours.body['code'] === 'sql_error')
            expect((await whole.post('/v1/execute', body)).body['sqlstate'], told).toBe(ours.body['sqlstate'])
        } else {
          seen.same += 1
          const theirs = await whole.post('/v1/execute', body)
          expect(theirs.status, told).toBe(200)
          expect(sorted(ours), told).toEqual(sorted(theirs))
          expect(ours.body['row_count'], told).toBe(theirs.body['row_count'])
        }
        if (!text.startsWith('select')) await expectSameRows(told)
      }),
      { numRuns: examples.length + statementsMax, examples, endOnFailure: true },
    )
    expect(seen.same).toBeGreaterThan(statementsMax / 10)
    expect(seen.refused).toBeGreaterThan(statementsMax / 10)
    if (process.env['DIFF_COUNTS'] !== undefined) process.stderr.write(`${JSON.stringify(seen)}\n`)
  }, 120_000)
})
