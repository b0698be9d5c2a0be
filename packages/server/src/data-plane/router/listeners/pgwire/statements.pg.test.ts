// The names under which a client has its statements, in SQL and in the protocol, and groups that a Query ends.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  writeBind,
  writeClose,
  writeExecute,
  writeParse,
  writeQuery,
  writeSync,
  type WireWriter,
} from '@fleetshard/routing/pgwire'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { errorOf, RawClient, rowsOf, statusOf, tagsOf, typesOf, type RawMessage } from './testing.ts'

const [build] = postgresBuilds()

let server: TestPostgres
/** One shard: everything passes through. */
let single: TestRouter
let sharded: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  single = await startTestRouter(server, {
    shards: 1,
    tables: [],
    schema: 'create table plain (a int, b text)',
  })
  sharded = await startTestRouter(server, {
    shards: 2,
    tables: [testTable('public.users')],
    schema: 'create table users (user_id text primary key, n int)',
  })
})
afterAll(async () => {
  await sharded[Symbol.asyncDispose]()
  await single[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

describe('names of statements', () => {
  const prepared = (client: RawClient, name: string, text: string): Promise<RawMessage[]> => {
    client.send((out) => {
      writeParse(out, name, text)
      writeSync(out)
    })
    return client.until('Z')
  }
  const used = (client: RawClient, name: string, params: string[] = ['1']): Promise<RawMessage[]> => {
    client.send((out) => {
      writeBind(out, { portal: '', statement: name, params, resultFormats: [] })
      writeExecute(out, '', 0)
      writeSync(out)
    })
    return client.until('Z')
  }
  const close = (client: RawClient, name: string): Promise<RawMessage[]> => {
    client.send((out) => {
      writeClose(out, 'S', name)
      writeSync(out)
    })
    return client.until('Z')
  }

  it('are those of SQL and of the protocol alike', async () => {
    await using client = await RawClient.open(single.wirePort)
    await client.query('prepare q (int) as select $1 + 1')
    expect(rowsOf(await used(client, 'q'))).toEqual([['2']])
    expect(errorOf(await prepared(client, 'q', 'select 1'))?.code).toBe('42P05')
    await prepared(client, 's', 'select $1::int + 2')
    expect(rowsOf(await client.query('execute s (1)'))).toEqual([['3']])
    expect(rowsOf(await used(client, 's'))).toEqual([['3']])
    expect(typesOf(await close(client, 's'))).toBe('3Z')
    expect(errorOf(await client.query('execute s (1)'))?.code).toBe('26000')
    await client.query('deallocate q')
    expect(errorOf(await used(client, 'q'))?.message).toBe('prepared statement "q" does not exist')
    await prepared(client, 'q', 'select $1::int + 4')
    expect(rowsOf(await used(client, 'q'))).toEqual([['5']])
  })

  it('are forgotten by DEALLOCATE ALL, the unnamed one by a Query', async () => {
    for (const isBound of [false, true]) {
      await using client = await RawClient.open(single.wirePort)
      if (isBound) await client.query('prepare q as select 1')
      await prepared(client, 's', 'select $1::int')
      await used(client, 's')
      expect(tagsOf(await client.query('deallocate all'))).toEqual(['DEALLOCATE ALL'])
      expect(errorOf(await used(client, 's'))?.message).toBe('prepared statement "s" does not exist')
      await prepared(client, 's', 'select $1::int')
      expect(rowsOf(await used(client, 's'))).toEqual([['1']])
      await prepared(client, '', 'select 1')
      await client.query('select 2')
      expect(errorOf(await used(client, '', []))?.code).toBe('26000')
    }
  })

  it('stand for what was prepared, and are refused where its rows have another shape now', async () => {
    await using client = await RawClient.open(single.wirePort)
    await client.query('begin')
    for (const [name, text] of [
      ['all', 'select * from plain'],
      ['one', 'select a from plain'],
    ] as const) {
      await prepared(client, name, text)
      expect(typesOf(await used(client, name, []))).toBe('2CZ')
    }
    await client.query('alter table plain add column c int')
    await prepared(client, 'new', 'select * from plain')
    expect(typesOf(await used(client, 'new', []))).toBe('2CZ')
    expect(typesOf(await used(client, 'one', []))).toBe('2CZ')
    await client.query('savepoint a')
    expect(errorOf(await used(client, 'all', []))?.message).toBe('cached plan must not change result type')
    await client.query('rollback')
    expect(typesOf(await used(client, 'all', []))).toBe('2CZ')
  })

  it('are in errors those that the client has given', async () => {
    await using client = await RawClient.open(single.wirePort)
    for (let index = 0; index < 4; index += 1) {
      await prepared(client, '', 'select $1::int, $2::int')
      expect(errorOf(await used(client, '', ['1']))?.message).toContain('prepared statement "" requires 2')
    }
    await prepared(client, 'größer', 'select $1::int, $2::int')
    expect(errorOf(await used(client, 'größer', ['1']))?.message).toContain('statement "größer" requires 2')
  })
})

describe('a Query in place of the Sync', () => {
  it('ends the group in front of it, and belongs to its transaction', async () => {
    await using client = await RawClient.open(single.wirePort)
    const insertion = (out: WireWriter): void => {
      writeParse(out, '', 'insert into plain values (1)')
      writeBind(out, { portal: '', statement: '', params: [], resultFormats: [] })
      writeExecute(out, '', 0)
    }
    client.send((out) => {
      insertion(out)
      writeQuery(out, 'select count(*) from plain')
    })
    const both = await client.until('Z')
    expect([typesOf(both), rowsOf(both), statusOf(both)]).toEqual(['12CTDCZ', [['1']], 'I'])
    client.send((out) => {
      insertion(out)
      writeQuery(out, 'select 1 / 0')
    })
    expect(typesOf(await client.until('Z'))).toBe('12CEZ')
    expect(rowsOf(await client.query('select count(*) from plain'))).toEqual([['1']])
    client.send((out) => {
      writeParse(out, '', 'select wrong')
      writeQuery(out, 'select 1')
      writeSync(out)
    })
    expect(typesOf(await client.until('Z'))).toBe('EZ')
    await client.query('truncate plain')
  })
})

describe('a statement that is too deep to be analysed', () => {
  it.each([1_000, 3_000])('is left to the server of the only shard, with %i terms', async (terms) => {
    await using client = await RawClient.open(single.wirePort)
    const text = `select ${Array.from({ length: terms }, () => '1::int').join(' + ')}`
    expect(rowsOf(await client.query(text))).toEqual([[String(terms)]])
    client.send((out) => {
      writeParse(out, 'deep', text)
      writeBind(out, { portal: '', statement: 'deep', params: [], resultFormats: [] })
      writeExecute(out, '', 0)
      writeSync(out)
    })
    expect(rowsOf(await client.until('Z'))).toEqual([[String(terms)]])
  })

  it('names the way out where there are several', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    const text = `select ${Array.from({ length: 3_000 }, () => '1::int').join(' + ')}`
    expect(errorOf(await client.query(text))).toMatchObject({ message: 'the statement is nested too deeply' })
    expect(rowsOf(await client.query('select 1'))).toEqual([['1']])
  })
})

describe('a group that begins a transaction, as some drivers send it', () => {
  it('waits for a shard as BEGIN alone does', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    const group = (texts: readonly string[]): Promise<RawMessage[]> => {
      client.send((out) => {
        for (const text of texts) {
          writeParse(out, '', text)
          writeBind(out, { portal: '', statement: '', params: [], resultFormats: [] })
          writeExecute(out, '', 0)
        }
        writeSync(out)
      })
      return client.until('Z')
    }
    for (let index = 0; index < 10; index += 1) {
      const key = `grouped-${String(index)}`
      const begun = await group(['begin', 'select 1'])
      expect([tagsOf(begun), statusOf(begun)]).toEqual([['BEGIN', 'SELECT 1'], 'T'])
      expect(tagsOf(await group([`insert into users (user_id) values ('${key}')`]))).toEqual(['INSERT 0 1'])
      expect(tagsOf(await group(['commit']))).toEqual(['COMMIT'])
      const whole = await group(['begin', `update users set n = 3 where user_id = '${key}'`, 'commit'])
      expect([tagsOf(whole), statusOf(whole)]).toEqual([['BEGIN', 'UPDATE 1', 'COMMIT'], 'I'])
      expect(rowsOf(await client.query(`select n from users where user_id = '${key}'`))).toEqual([['3']])
    }
  })

  it('refuses texts that are not UTF-8, as Postgres does', async () => {
    await using client = await RawClient.open(single.wirePort)
    const text = Buffer.concat([Buffer.from("select '"), Buffer.from([0xe4]), Buffer.from("'\0")])
    const header = Buffer.alloc(5)
    header[0] = 0x51
    header.writeInt32BE(text.length + 4, 1)
    client.socket.write(Buffer.concat([header, text]))
    expect(errorOf(await client.until('Z'))?.code).toBe('22021')
  })
})
