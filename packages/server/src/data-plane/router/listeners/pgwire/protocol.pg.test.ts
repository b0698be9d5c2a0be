// The protocol itself, message by message, against real servers.
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  requestCode,
  type WireWriter,
  writeBind,
  writeClose,
  writeDescribe,
  writeExecute,
  writeFlush,
  writeParse,
  writeQuery,
  writeSslRequest,
  writeStartup,
  writeSync,
} from '@fleetshard/routing/pgwire'
import { makeSecureContext } from '@fleetshard/core/tls'
import { testCertificates, testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { errorOf, RawClient, rowsOf, statusOf, tagsOf, typesOf } from './testing.ts'

const schema = `
  create table users (id bigserial primary key, user_id text not null unique, name text, n int default 0);
  create table plain (a int, b text);
`
const tables = [testTable('public.users')]
const [build] = postgresBuilds()
const certificates = testCertificates()
const context = makeSecureContext(certificates)
const limits = {
  connectionsMax: 60,
  connectionsPerAddressMax: 50,
  loginTimeoutMs: 3_000,
  messageBytesMax: 2 ** 20,
  failuresPerMinute: 0,
}

let server: TestPostgres
/** Two shards. */
let sharded: TestRouter
/** One shard: everything passes through. */
let single: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  const wire = {
    host: '127.0.0.1',
    port: 0,
    limits,
    statementRates: { perLogin: 0, perAddress: 0 },
    authentication: { kind: 'trust' as const },
    tls: { context: () => context, isRequired: false },
  }
  sharded = await startTestRouter(server, { shards: 2, tables, schema, options: { wire } })
  single = await startTestRouter(server, { shards: 1, tables, schema })
})
afterAll(async () => {
  await sharded[Symbol.asyncDispose]()
  await single[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const execution = (out: WireWriter, text: string, params: (string | null)[] = [], rowsMax = 0): void => {
  writeParse(out, '', text)
  writeBind(out, { portal: '', statement: '', params, resultFormats: [] })
  writeDescribe(out, 'P', '')
  writeExecute(out, '', rowsMax)
}

describe('the beginning of a connection', () => {
  it('greets with what the server says, and negotiates protocol 3.2', async () => {
    await using client = await RawClient.open(single.wirePort, { application_name: 'me' })
    const key = client.messages.find(({ type }) => type === 'K')
    expect(key?.bytes.length).toBe(13)
    const names = client.messages
      .filter(({ type }) => type === 'S')
      .map(({ bytes }) => bytes.toString('latin1', 5))
    expect(names).toContain('application_name\0me\0')
    expect(names.some((name) => name.startsWith('server_version\0'))).toBe(true)
    await using newer = await RawClient.open(single.wirePort, {}, requestCode.protocol32)
    expect(newer.messages.find(({ type }) => type === 'K')?.bytes.length).toBe(5 + 4 + 32)
    expect(typesOf(newer.messages)).not.toContain('v')
    await using newest = await RawClient.open(
      single.wirePort,
      { '_pq_.what': '1' },
      requestCode.protocol30 + 9999,
    )
    const negotiated = newest.messages[0]
    expect(negotiated?.type).toBe('v')
    expect(negotiated?.bytes.readInt32BE(5)).toBe(requestCode.protocol32)
    expect(negotiated?.bytes.toString('latin1', 13)).toBe('_pq_.what\0')
  })

  it.each([
    ['an unknown keyspace', { database: 'nowhere' }, '3D000'],
    ['no user', { user: '' }, '28000'],
    ['an unknown setting', { no_such_setting: '1' }, '42704'],
    ['a wrong value', { statement_timeout: 'soon' }, '22023'],
    ['replication', { replication: 'database' }, '0A000'],
    ['an encoding that the router cannot read', { client_encoding: 'LATIN1' }, '0A000'],
    ['it among the options', { options: '-c client_encoding=LATIN1' }, '0A000'],
    ['options that are none', { options: 'fast' }, '42601'],
  ])('refuses %s', async (_what, parameters, code) => {
    const client = new RawClient(sharded.wirePort)
    client.send((out) => {
      writeStartup(out, { user: 'app', database: 'app', ...parameters })
    })
    await client.closed()
    expect(errorOf(client.messages)).toMatchObject({ severity: 'FATAL', code })
  })

  it('applies settings of the startup message, options among them', async () => {
    const parameters = {
      options: '-c statement_timeout=12345 --search_path=a,\\ public',
      TimeZone: 'Asia/Tokyo',
    }
    await using client = await RawClient.open(sharded.wirePort, parameters)
    expect(rowsOf(await client.query('show statement_timeout'))).toEqual([['12345ms']])
    expect(rowsOf(await client.query('show search_path'))).toEqual([['a, public']])
    await client.query('set search_path = pg_catalog')
    await client.query('reset search_path')
    expect(rowsOf(await client.query('show search_path'))).toEqual([['a, public']])
    expect(rowsOf(await client.query('show timezone'))).toEqual([['Asia/Tokyo']])
  })

  it('answers requests for encryption, and takes TLS by request and directly', async () => {
    const answer = (port: number, write: (out: WireWriter) => void): Promise<string> =>
      new Promise((resolve) => {
        const client = new RawClient(port)
        client.socket.removeAllListeners('data')
        client.socket.once('data', (chunk) => {
          resolve(chunk.toString('latin1'))
          client.socket.destroy()
        })
        client.send(write)
      })
    const gss = (out: WireWriter): void => {
      const offset = out.beginUntyped()
      out.int32(requestCode.gssEncryption)
      out.endUntyped(offset)
    }
    expect(await answer(single.wirePort, writeSslRequest)).toBe('N')
    expect(await answer(single.wirePort, gss)).toBe('N')
    expect(await answer(sharded.wirePort, gss)).toBe('N')
    expect(await answer(sharded.wirePort, writeSslRequest)).toBe('S')
    const pg = await import('pg')
    const client = new pg.default.Client({
      host: '127.0.0.1',
      port: sharded.wirePort,
      user: 'app',
      database: 'app',
      ssl: { ca: certificates.ca, checkServerIdentity: () => undefined },
    })
    await client.connect()
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    await client.end()
    expect(await direct(['postgresql'])).toBe('R')
    expect(await direct(['http/1.1'])).toBe('closed')
  })

  /** A startup over TLS from the first byte: the type of the first answer. */
  const direct = (protocols: string[]): Promise<string> =>
    new Promise((resolve) => {
      const socket = connectTls({
        host: '127.0.0.1',
        port: sharded.wirePort,
        ca: certificates.ca,
        checkServerIdentity: () => undefined,
        ALPNProtocols: protocols,
      })
      socket.on('error', () => undefined)
      socket.once('close', () => {
        resolve('closed')
      })
      socket.once('secureConnect', () => {
        socket.write(startupBytes())
      })
      socket.once('data', (chunk: Buffer) => {
        resolve(chunk.toString('latin1', 0, 1))
        socket.destroy()
      })
    })
  const startupBytes = (): Buffer => {
    const out: Buffer[] = []
    const pairs = ['user', 'app', 'database', 'app', '']
    const body = Buffer.from(`\0\x03\0\0${pairs.join('\0')}\0`, 'latin1')
    const length = Buffer.alloc(4)
    length.writeInt32BE(body.length + 4)
    out.push(length, body)
    return Buffer.concat(out)
  }

  it('does not take bytes in front of the encryption for encrypted ones', async () => {
    const client = new RawClient(sharded.wirePort)
    client.send((out) => {
      writeSslRequest(out)
      writeStartup(out, { user: 'app', database: 'app' })
    })
    await client.closed()
    expect(client.messages.some(({ type }) => type === 'Z')).toBe(false)
  })

  it.each([
    ['a giant length', Buffer.from([0x7f, 0xff, 1, 0, 1])],
    ['a negative length', Buffer.from([0xff, 0xff, 1, 0, 1])],
    ['a startup message that is too long', Buffer.from([0, 0x10, 0, 0, 0, 3, 0, 0])],
    ['one that is too short', Buffer.from([0, 0, 0, 4])],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['the end of what was not begun', Buffer.from('X\0\0\0\x04')],
  ])('has no answer to %s', async (_what, bytes) => {
    await using client = new RawClient(single.wirePort)
    client.socket.write(bytes)
    await client.closed()
    expect(client.messages).toEqual([])
  })

  it.each([
    ['an old protocol', Buffer.from([0, 0, 0, 8, 0, 2, 0, 0])],
    ['parameters without their end', Buffer.from([0, 0, 0, 9, 0, 3, 0, 0, 0x75])],
  ])('refuses %s', async (_what, bytes) => {
    const client = new RawClient(single.wirePort)
    client.socket.write(bytes)
    await client.closed()
    expect(errorOf(client.messages)?.severity).toBe('FATAL')
  })

  it('cuts off a client that does not close its end of a connection that is over', async () => {
    const client = new RawClient(single.wirePort, { halfOpen: true })
    client.socket.write(Buffer.from([0, 0, 0, 8, 0, 2, 0, 0]))
    await client.until('E')
    const before = performance.now()
    client.socket.on('error', () => undefined)
    await client.cutOff()
    expect(performance.now() - before).toBeLessThan(20_000)
  })

  it('takes a startup message byte by byte, and ends logins that take too long', async () => {
    const slow = new RawClient(sharded.wirePort)
    const bytes = startupBytes()
    for (const byte of bytes) slow.socket.write(Buffer.from([byte]))
    await slow.until('Z')
    await slow[Symbol.asyncDispose]()
    const silent = new RawClient(sharded.wirePort)
    await silent.closed()
    expect(errorOf(silent.messages)?.severity).toBe('FATAL')
  })

  it('refuses clients above the limit, and lets others in when some have gone', async () => {
    const clients: RawClient[] = []
    for (let index = 0; index < limits.connectionsPerAddressMax; index += 1)
      clients.push(await RawClient.open(sharded.wirePort))
    const refused = new RawClient(sharded.wirePort)
    refused.send((out) => {
      writeStartup(out, { user: 'app', database: 'app' })
    })
    await refused.closed()
    expect(errorOf(refused.messages)).toMatchObject({ severity: 'FATAL', code: '53300' })
    await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()))
    await expect
      .poll(() => RawClient.open(sharded.wirePort).then((client) => client[Symbol.asyncDispose]()))
      .toBe(undefined)
  })
})

describe('the simple protocol', () => {
  it('answers an empty query, several statements, and an error among them', async () => {
    await using client = await RawClient.open(single.wirePort)
    expect(typesOf(await client.query(''))).toBe('IZ')
    expect(typesOf(await client.query(' -- nothing\n'))).toBe('IZ')
    expect(typesOf(await client.query('select 1; select 2, 3'))).toBe('TDCTDCZ')
    const failed = await client.query("insert into plain values (1, 'gone'); select 1/0; select 2")
    expect(typesOf(failed)).toBe('CEZ')
    expect(errorOf(failed)).toMatchObject({ code: '22012', routine: 'int4div' })
    expect(rowsOf(await client.query('select * from plain'))).toEqual([])
  })

  it('runs several statements on one shard as one transaction, and refuses those of several', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    const one = await client.query(
      "insert into users (user_id) values ('m1'); update users set n = 5 where user_id = 'm1'",
    )
    expect(tagsOf(one)).toEqual(['INSERT 0 1', 'UPDATE 1'])
    const failed = await client.query("update users set n = 6 where user_id = 'm1'; select 1/0")
    expect(errorOf(failed)?.code).toBe('22012')
    expect(rowsOf(await client.query("select n from users where user_id = 'm1'"))).toEqual([['5']])
    const keys = Array.from(
      { length: 30 },
      (_, index) => `update users set n = 1 where user_id = 'k${String(index)}'`,
    )
    expect(errorOf(await client.query(keys.join(';')))).toMatchObject({ code: '0A000' })
  })

  it('refuses an encoding that the router cannot read', async () => {
    await using client = await RawClient.open(single.wirePort)
    for (const text of [
      "set client_encoding = 'LATIN1'",
      "set names 'LATIN1'",
      'set client_encoding to latin1',
    ])
      expect(errorOf(await client.query(text))).toMatchObject({ severity: 'ERROR', code: '0A000' })
    expect(errorOf(await client.query("set client_encoding = 'utf-8'"))).toBe(null)
    expect(rowsOf(await client.query("select 'ä'"))).toEqual([['ä']])
  })

  it.each([
    ['set_config', `select set_config('client_encoding', 'LATIN1', false)`],
    ['DO', `do $$ begin perform set_config('client_encoding', 'LATIN1', false); end $$`],
    ['a function', `select set_config('standard_conforming_strings', 'off', false)`],
    ['a function, hiding from fences,', `select set_config('application_name', 'hidden', false)`],
    ['the same in a transaction', `begin; select set_config('application_name', 'hidden', true)`],
  ])('ends a session in which %s has changed what the router relies on', async (_name, text) => {
    await using client = await RawClient.open(single.wirePort)
    client.send((out) => {
      writeQuery(out, text)
    })
    const messages = await client.until('E')
    expect(errorOf(messages)).toMatchObject({ severity: 'FATAL', code: '0A000' })
    await client.closed()
    for (let round = 0; round < 3; round += 1) {
      await using other = await RawClient.open(single.wirePort)
      expect(rowsOf(await other.query("begin; select 'ä', E'\\n'; commit"))).toEqual([['ä', '\n']])
    }
  })

  it('passes on errors of Postgres with all their fields', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    await client.query("insert into users (user_id) values ('twice')")
    const error = errorOf(await client.query("insert into users (user_id) values ('twice')"))
    expect(error).toMatchObject({
      code: '23505',
      schema: 'public',
      table: 'users',
      constraint: 'users_user_id_key',
    })
    expect(error?.detail).toContain('twice')
    const syntax = errorOf(await client.query('selec 1'))
    expect(syntax).toMatchObject({ code: '42601', position: 1, routine: 'scanner_yyerror' })
    expect(statusOf(await client.query('select 1'))).toBe('I')
  })
})

describe('the extended protocol', () => {
  it('answers each message in its order, and passes over everything after an error up to the Sync', async () => {
    for (const { wirePort } of [single, sharded]) {
      await using client = await RawClient.open(wirePort)
      client.send((out) => {
        execution(out, 'select 1')
        execution(out, 'select 2, $1::text', ['x'])
        writeSync(out)
      })
      const answer = await client.until('Z')
      expect(typesOf(answer)).toBe('12TDC12TDCZ')
      expect(rowsOf(answer)).toEqual([['1'], ['2', 'x']])
      client.send((out) => {
        execution(out, 'select 1')
        execution(out, 'select 1/0')
        execution(out, 'select 3')
        writeSync(out)
        execution(out, 'select 4')
        writeSync(out)
      })
      expect(typesOf(await client.until('Z'))).toMatch(/^12TDC1(2T?)?EZ$/)
      expect(rowsOf(await client.until('Z'))).toEqual([['4']])
    }
  })

  it('keeps named statements for later, on whatever connection, until they are closed', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    client.send((out) => {
      writeParse(out, 'by_key', 'select n from users where user_id = $1')
      writeDescribe(out, 'S', 'by_key')
      writeSync(out)
    })
    expect(typesOf(await client.until('Z'))).toBe('1tTZ')
    for (let index = 0; index < 20; index += 1) {
      client.send((out) => {
        writeBind(out, { portal: '', statement: 'by_key', params: [`s${String(index)}`], resultFormats: [] })
        writeExecute(out, '', 0)
        writeSync(out)
      })
      expect(typesOf(await client.until('Z'))).toBe('2CZ')
    }
    client.send((out) => {
      writeParse(out, 'by_key', 'select 1')
      writeSync(out)
    })
    expect(errorOf(await client.until('Z'))?.code).toBe('42P05')
    client.send((out) => {
      writeClose(out, 'S', 'by_key')
      writeSync(out)
    })
    expect(typesOf(await client.until('Z'))).toBe('3Z')
    client.send((out) => {
      writeBind(out, { portal: '', statement: 'by_key', params: ['x'], resultFormats: [] })
      writeSync(out)
    })
    expect(errorOf(await client.until('Z'))?.code).toBe('26000')
  })

  it('suspends portals with a limit of rows, in a pipeline and over several groups of a transaction', async () => {
    await using client = await RawClient.open(single.wirePort)
    client.send((out) => {
      writeParse(out, '', 'select * from generate_series(1, 5)')
      writeBind(out, { portal: 'p', statement: '', params: [], resultFormats: [] })
      writeExecute(out, 'p', 2)
      writeExecute(out, 'p', 2)
      writeExecute(out, 'p', 2)
      writeSync(out)
    })
    const answer = await client.until('Z')
    expect(typesOf(answer)).toBe('12DDsDDsDCZ')
    await client.query('begin')
    client.send((out) => {
      writeParse(out, '', 'select * from generate_series(1, 3)')
      writeBind(out, { portal: 'q', statement: '', params: [], resultFormats: [] })
      writeExecute(out, 'q', 2)
      writeSync(out)
    })
    expect(typesOf(await client.until('Z'))).toBe('12DDsZ')
    client.send((out) => {
      writeExecute(out, 'q', 2)
      writeSync(out)
    })
    expect(typesOf(await client.until('Z'))).toBe('DCZ')
    await client.query('commit')
    client.send((out) => {
      writeExecute(out, 'q', 2)
      writeSync(out)
    })
    expect(errorOf(await client.until('Z'))?.code).toBe('34000')
  })

  it('answers at a Flush, and takes everything up to the Sync as one transaction', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    client.send((out) => {
      writeParse(out, '', "insert into users (user_id) values ('flushed') returning user_id")
      writeDescribe(out, 'S', '')
      writeFlush(out)
    })
    expect(typesOf(await client.until('T'))).toBe('1tT')
    client.send((out) => {
      writeBind(out, { portal: '', statement: '', params: [], resultFormats: [] })
      writeExecute(out, '', 0)
      writeFlush(out)
    })
    expect(typesOf(await client.until('C'))).toBe('2DC')
    client.send((out) => {
      execution(out, 'select 1/0')
      writeSync(out)
    })
    expect(statusOf(await client.until('Z'))).toBe('I')
    expect(rowsOf(await client.query("select user_id from users where user_id = 'flushed'"))).toEqual([])
    client.send((out) => {
      execution(out, "insert into users (user_id) values ('flushed')")
      writeFlush(out)
    })
    await client.until('C')
    client.send(writeSync)
    expect(typesOf(await client.until('Z'))).toBe('Z')
    expect(rowsOf(await client.query("select user_id from users where user_id = 'flushed'"))).toEqual([
      ['flushed'],
    ])
  })

  it('answers an empty statement, and refuses the function call protocol before several shards', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    client.send((out) => {
      execution(out, '')
      writeSync(out)
    })
    expect(typesOf(await client.until('Z'))).toBe('12nIZ')
    client.send((out) => {
      const offset = out.begin(0x46)
      out.int32(1)
      out.end(offset)
    })
    expect(errorOf(await client.until('Z'))?.code).toBe('0A000')
  })

  it('ends a connection whose messages break the protocol', async () => {
    for (const bytes of [Buffer.from([0x51, 0x7f, 0xff, 1, 0, 1]), Buffer.from([0x01, 0, 0, 0, 4])]) {
      await using client = await RawClient.open(single.wirePort)
      client.socket.write(bytes)
      await client.closed()
      expect(errorOf(client.messages)).toMatchObject({ severity: 'FATAL', code: '08P01' })
    }
  })
})
