// Plain writes of Queries, which connections prepare, and the begin of transactions, which waits for what is done in
// them.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writeBind, writeClose, writeParse, writeSync } from '@fleetshard/routing/pgwire'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { errorOf, RawClient, rowsOf, statusOf, tagsOf, typesOf } from './testing.ts'

const [build] = postgresBuilds()

let server: TestPostgres
let single: TestRouter
let sharded: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  single = await startTestRouter(server, {
    shards: 1,
    tables: [],
    schema: `create table plain (a int primary key, n int);
             create table watched (a int, said text);
             create function note() returns trigger language plpgsql as
               $$ begin new.said := current_query(); return new; end $$;
             create trigger note before insert on watched for each row execute function note()`,
  })
  sharded = await startTestRouter(server, {
    shards: 2,
    tables: [testTable('public.users', { keyType: 'int8' })],
    schema: 'create table users (user_id bigint primary key, n int)',
  })
})
afterAll(async () => {
  await sharded[Symbol.asyncDispose]()
  await single[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const preparedWrites = async (client: RawClient, table: string): Promise<string[]> =>
  rowsOf(
    await client.query(
      `select regexp_replace(statement, '\\s+', ' ', 'g') from pg_prepared_statements where statement ~ '${table}.*[$]1'`,
    ),
  )
    .map(([text]) => String(text).trim())
    .sort()

describe('a write that comes again', () => {
  it('is prepared once on a connection, within transactions as well', async () => {
    await using client = await RawClient.open(single.wirePort)
    await client.query('begin')
    for (let a = 1; a <= 5; a += 1)
      expect(tagsOf(await client.query(`insert into plain values (${String(a)}, -${String(a)})`))).toEqual([
        'INSERT 0 1',
      ])
    for (let a = 1; a <= 5; a += 1)
      expect(tagsOf(await client.query(`update plain set n = n - 1 where a = ${String(a)}`))).toEqual([
        'UPDATE 1',
      ])
    expect(await preparedWrites(client, 'plain')).toEqual([
      'insert into plain values ( $1 , - $2 )',
      'update plain set n = n - $1 where a = $2',
    ])
    await client.query('commit')
    expect(rowsOf(await client.query('select sum(n) from plain'))).toEqual([['-20']])
  })

  it('is placed by its key, whatever it is sent as', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    for (let id = 1; id <= 40; id += 1)
      expect(
        tagsOf(await client.query(`insert into users (user_id, n) values (${String(id)}, ${String(id)})`)),
      ).toEqual(['INSERT 0 1'])
    for (let id = 1; id <= 40; id += 1)
      expect(rowsOf(await client.query(`select n from users where user_id = ${String(id)}`))).toEqual([
        [String(id)],
      ])
    expect(tagsOf(await client.query('update users set n = 1 where user_id = 99999999999'))).toEqual([
      'UPDATE 0',
    ])
  })

  it('goes as it is where a trigger may look at its text', async () => {
    await using client = await RawClient.open(single.wirePort)
    for (let a = 1; a <= 4; a += 1) await client.query(`insert into watched (a) values (${String(a)})`)
    expect(rowsOf(await client.query('select said from watched where a = 4'))).toEqual([
      ['insert into watched (a) values (4)'],
    ])
  })

  it('is not prepared any more once its text was wrong', async () => {
    await using client = await RawClient.open(single.wirePort)
    const wrong = 'update plain set nope = 5'
    for (let count = 0; count < 5; count += 1) {
      await client.query('begin')
      const error = errorOf(await client.query(wrong))
      expect(error).toMatchObject({ code: '42703', position: wrong.indexOf('nope') + 1 })
      await client.query('rollback')
    }
    expect(await preparedWrites(client, 'nope')).toEqual([])
  })

  it('survives that its connection forgets it', async () => {
    await using client = await RawClient.open(single.wirePort)
    const write = async (): Promise<string[]> => tagsOf(await client.query('delete from plain where a = 77'))
    for (let count = 0; count < 4; count += 1) expect(await write()).toEqual(['DELETE 0'])
    await client.query('discard all')
    expect(await write()).toEqual(['DELETE 0'])
    await client.query(`do $$ begin execute 'deallocate all'; end $$`)
    expect(await write()).toEqual(['DELETE 0'])
  })
})

describe('a transaction that has begun on no server', () => {
  const both = () => [single, sharded]

  it('is begun in the words of its client', async () => {
    for (const { wirePort } of both()) {
      await using client = await RawClient.open(wirePort)
      expect(tagsOf(await client.query('start transaction'))).toEqual(['START TRANSACTION'])
      const again = await client.query('begin isolation level serializable')
      expect(again.map(({ type }) => type).join('')).toBe('NCZ')
      expect(rowsOf(await client.query('show transaction_isolation'))).toEqual([['serializable']])
      await client.query('rollback')
    }
  })

  it('takes what must come first, also behind others that have counted', async () => {
    await using counting = await RawClient.open(single.wirePort)
    await counting.query('create sequence counted')
    await counting.query(`select nextval('counted')`)
    await using client = await RawClient.open(single.wirePort)
    await client.query('begin')
    expect(tagsOf(await client.query('set transaction isolation level repeatable read'))).toEqual(['SET'])
    expect(rowsOf(await client.query('show transaction_isolation'))).toEqual([['repeatable read']])
    await client.query('rollback')
  })

  it('fails on a server, which knows what may still be done', async () => {
    for (const { wirePort } of both()) {
      await using client = await RawClient.open(wirePort)
      await client.query('begin')
      client.send((out) => {
        writeBind(out, { portal: '', statement: 'none', params: [], resultFormats: [] })
        writeSync(out)
      })
      const failed = await client.until('Z')
      expect(errorOf(failed)?.code).toBe('26000')
      expect(statusOf(failed)).toBe('E')
      client.send((out) => {
        writeClose(out, 'S', 'none')
        writeParse(out, 'end', 'rollback')
        writeParse(out, 'more', 'select 1')
        writeSync(out)
      })
      expect(typesOf(await client.until('Z'))).toBe('31EZ')
      expect(tagsOf(await client.query('rollback'))).toEqual(['ROLLBACK'])
    }
  })
})
