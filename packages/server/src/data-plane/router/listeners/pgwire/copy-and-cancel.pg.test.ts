// COPY and CancelRequest against real servers, message by message.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  writeBind,
  writeCancelRequest,
  writeCopyData,
  writeCopyDone,
  writeCopyFail,
  writeExecute,
  writeFlush,
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
import { errorOf, RawClient, rowsOf, statusOf, tagsOf, typesOf } from './testing.ts'

const schema = `
  create table users (id bigserial primary key, user_id text not null unique, name text, n int default 0);
  create table plain (a int, b text);
`
const tables = [testTable('public.users')]
const [build] = postgresBuilds()

let server: TestPostgres
/** Two shards. */
let sharded: TestRouter
/** One shard: everything passes through. */
let single: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  sharded = await startTestRouter(server, { shards: 2, tables, schema })
  single = await startTestRouter(server, { shards: 1, tables, schema })
})
afterAll(async () => {
  await sharded[Symbol.asyncDispose]()
  await single[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

describe('COPY', () => {
  it('takes rows in both protocols, in any parts, and gives them out', async () => {
    await using client = await RawClient.open(single.wirePort)
    client.send((out) => {
      writeQuery(out, 'copy plain from stdin')
    })
    await client.until('G')
    client.send((out) => {
      writeCopyData(out, Buffer.from('1\ton'))
      writeCopyData(out, Buffer.from('e\n2\ttwo\n'))
      writeCopyDone(out)
    })
    expect(tagsOf(await client.until('Z'))).toEqual(['COPY 2'])
    client.send((out) => {
      writeParse(out, '', 'copy plain from stdin')
      writeBind(out, { portal: '', statement: '', params: [], resultFormats: [] })
      writeExecute(out, '', 0)
      writeSync(out)
    })
    await client.until('G')
    const large = Buffer.alloc(3_000_000, 'x')
    client.send((out) => {
      writeCopyData(out, Buffer.concat([Buffer.from('3\t'), large, Buffer.from('\n')]))
      writeCopyDone(out)
      writeSync(out)
    })
    expect(tagsOf(await client.until('Z'))).toEqual(['COPY 1'])
    const out = await client.query('copy plain (a) to stdout')
    expect(out.filter(({ type }) => type === 'd').map(({ bytes }) => bytes.toString('latin1', 5))).toEqual([
      '1\n',
      '2\n',
      '3\n',
    ])
    client.send((write) => {
      writeQuery(write, 'copy plain from stdin')
    })
    await client.until('G')
    client.send((write) => {
      writeCopyFail(write, 'no more')
    })
    expect(errorOf(await client.until('Z'))?.code).toBe('57014')
    client.send((write) => {
      writeQuery(write, 'copy plain from stdin')
    })
    await client.until('G')
    client.send((write) => {
      writeCopyData(write, Buffer.from('not a number\n'))
      writeCopyDone(write)
    })
    expect(errorOf(await client.until('Z'))?.code).toBe('22P02')
    expect(rowsOf(await client.query('select count(*) from plain'))).toEqual([['3']])
    await client.query('truncate plain')
  })

  it('refuses to copy rows of several shards into one', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    await client.query("set fleetshard.shard = 's0'")
    expect(errorOf(await client.query('copy users from stdin'))).toMatchObject({ code: '0A000' })
    expect(typesOf(await client.query('copy users to stdout'))).toMatch(/^Hd*cCZ$/)
  })

  it('passes over Flush and Sync among the rows, as Postgres does', async () => {
    await using client = await RawClient.open(single.wirePort)
    client.send((out) => {
      writeQuery(out, 'copy plain from stdin')
    })
    await client.until('G')
    client.send((out) => {
      writeCopyData(out, Buffer.from('1\ta\n'))
      writeSync(out)
      writeFlush(out)
      writeCopyData(out, Buffer.from('2\tb\n'))
      writeCopyDone(out)
    })
    expect(tagsOf(await client.until('Z'))).toEqual(['COPY 2'])
    for (const ask of [writeSync, writeFlush]) {
      client.send((out) => {
        writeParse(out, '', 'copy plain from stdin')
        writeBind(out, { portal: '', statement: '', params: [], resultFormats: [] })
        writeExecute(out, '', 0)
        ask(out)
      })
      await client.until('G')
      client.send((out) => {
        writeSync(out)
        writeCopyData(out, Buffer.from('3\tc\n'))
        writeSync(out)
        writeCopyData(out, Buffer.from('4\td\n'))
        writeCopyDone(out)
        writeSync(out)
      })
      const said = await client.until('Z')
      expect(tagsOf(said)).toEqual(['COPY 2'])
      expect(statusOf(said)).toBe('I')
    }
    expect(rowsOf(await client.query('select count(*) from plain'))).toEqual([['6']])
    await client.query('truncate plain')
  })

  it('leaves no COPY behind on the server, wherever in it the client goes', async () => {
    const partial = Buffer.concat([Buffer.from([0x64]), Buffer.alloc(4), Buffer.alloc(100_000, 'x')])
    partial.writeInt32BE(500_000, 1)
    const parts: ((out: WireWriter) => void)[] = [
      writeSync,
      (out) => {
        writeCopyData(out, Buffer.from('9\tnine\n'))
        writeSync(out)
      },
      (out) => {
        out.raw(partial)
      },
    ]
    for (const isQuery of [true, false]) {
      for (const part of parts) {
        const client = await RawClient.open(single.wirePort)
        client.send((out) => {
          if (isQuery) writeQuery(out, 'copy plain from stdin')
          else {
            writeParse(out, '', 'copy plain from stdin')
            writeBind(out, { portal: '', statement: '', params: [], resultFormats: [] })
            writeExecute(out, '', 0)
            writeSync(out)
          }
        })
        await client.until('G')
        client.send(part)
        await client.sent()
        await client[Symbol.asyncDispose]()
        await using other = await RawClient.open(single.wirePort)
        // It waits for the lock of the COPY.
        expect(errorOf(await other.query('truncate plain'))).toBe(null)
        await expect.poll(async () => (await pool(single)).lent).toBe(0)
      }
    }
  })

  it('gives the connection back clean when the client goes in the middle of a COPY', async () => {
    const client = await RawClient.open(single.wirePort)
    client.send((out) => {
      writeQuery(out, 'copy plain from stdin')
    })
    await client.until('G')
    client.send((out) => {
      writeCopyData(out, Buffer.from('9\tnine\n'))
    })
    await client[Symbol.asyncDispose]()
    await using other = await RawClient.open(single.wirePort)
    await expect.poll(async () => (await pool(single)).lent).toBe(0)
    expect(rowsOf(await other.query('select * from plain'))).toEqual([])
  })
})

async function pool(router: TestRouter): Promise<{ lent: number; idle: number; lanes: number }> {
  await using admin = await RawClient.open(router.wirePort, { database: 'fleetshard' })
  const rows = rowsOf(await admin.query('show pools'))
  const sum = (column: number): number => rows.reduce((total, row) => total + Number(row[column]), 0)
  return { lanes: sum(5), idle: sum(6), lent: sum(7) }
}

describe('cancelling', () => {
  const cancel = async (port: number, processId: number, secretKey: Buffer): Promise<void> => {
    const client = new RawClient(port)
    client.send((out) => {
      writeCancelRequest(out, processId, secretKey)
    })
    await client.closed()
  }
  const keyOf = (client: RawClient): { processId: number; secretKey: Buffer } => {
    const key = client.messages.find(({ type }) => type === 'K')
    if (key === undefined) throw new Error('no key')
    return { processId: key.bytes.readInt32BE(5), secretKey: key.bytes.subarray(9) }
  }

  it("ends the statement that its owner runs, and nobody else's", async () => {
    await using one = await RawClient.open(single.wirePort)
    await using other = await RawClient.open(single.wirePort)
    one.send((out) => {
      writeQuery(out, 'select pg_sleep(30)')
    })
    other.send((out) => {
      writeQuery(out, 'select pg_sleep(1.5)')
    })
    await expect.poll(async () => (await pool(single)).lent).toBe(2)
    const { processId, secretKey } = keyOf(one)
    await cancel(single.wirePort, processId, Buffer.from([9, 9, 9, 9]))
    await cancel(single.wirePort, processId, secretKey)
    expect(errorOf(await one.until('Z'))).toMatchObject({ code: '57014' })
    expect(errorOf(await other.until('Z'))).toBe(null)
    expect(rowsOf(await one.query('select 1'))).toEqual([['1']])
  })
})
