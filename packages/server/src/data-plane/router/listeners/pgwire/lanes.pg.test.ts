// Reads that share lanes, clients that read slowly, cancel in a lane, and many idle clients.
import { connect as connectSocket, type Socket } from 'node:net'
import pg from 'pg'
import { parseShardId } from '@fleetshard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writeCancelRequest, writeQuery, writeStartup, WireWriter } from '@fleetshard/routing/pgwire'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { errorOf, RawClient, rowsOf } from './testing.ts'

const schema = `
  create table users (id bigserial primary key, user_id text not null unique, name text, n int default 0);
  create table numbers (user_id text, i int, filler text);
  insert into numbers select 'n', i, repeat('x', 1000) from generate_series(1, 20000) i;
`
const tables = [testTable('public.users'), testTable('public.numbers')]
const [build] = postgresBuilds()

let server: TestPostgres
let router: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  router = await startTestRouter(server, {
    shards: 2,
    tables,
    schema,
    execute: { connectionsPerNodeMax: 10 },
  })
})
afterAll(async () => {
  await router[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const connect = async (more: pg.ClientConfig = {}): Promise<pg.Client> => {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: router.wirePort,
    user: 'app',
    database: 'app',
    ...more,
  })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

const routed = async (way: 'lane' | 'alone'): Promise<number> => {
  const text = await router.metrics()
  return Number(new RegExp(`statements_routed_total\\{role="primary",way="${way}"\\} (\\d+)`).exec(text)?.[1])
}

/** Runs it until the router has learned that it is cheap. */
const warm = async (client: pg.Client, text: string, values: unknown[] = []): Promise<void> => {
  const before = await routed('lane')
  await expect
    .poll(
      async () => {
        for (let round = 0; round < 20; round += 1) await client.query(text, values)
        return (await routed('lane')) - before
      },
      { timeout: 30_000 },
    )
    .toBeGreaterThan(0)
}

describe('lanes', () => {
  it('serve many clients at once, each with its own rows, by both protocols', async () => {
    const clients = await Promise.all(Array.from({ length: 40 }, () => connect()))
    const [first] = clients
    await first?.query("insert into users (user_id, n) values ('lane', 1)")
    const text = 'select $2::int as i, n from users where user_id = $1'
    if (first !== undefined) await warm(first, text, ['lane', 0])
    const before = await routed('lane')
    for (let round = 0; round < 10; round += 1) {
      await Promise.all(
        clients.map(async (client, index) => {
          const { rows } = await client.query(text, ['lane', index])
          expect(rows).toEqual([{ i: index, n: 1 }])
          const simple = await client.query(
            `select ${String(index)} as i, n from users where user_id = 'lane'`,
          )
          expect(simple.rows).toEqual([{ i: index, n: 1 }])
        }),
      )
    }
    expect((await routed('lane')) - before).toBeGreaterThan(0)
    await Promise.all(clients.map((client) => client.end()))
  })

  it('prepare a query that looks rows up once for all its values', async () => {
    const client = await connect()
    const rowOf = async (name: string): Promise<unknown> =>
      (await client.query(`select user_id as found, n from users where user_id = '${name}'`)).rows
    for (const name of ['one', 'two'])
      await client.query(`insert into users (user_id, n) values ('${name}', 1)`)
    await expect
      .poll(
        async () => {
          expect(await rowOf('one')).toEqual([{ found: 'one', n: 1 }])
          expect(await rowOf('two')).toEqual([{ found: 'two', n: 1 }])
          expect(await rowOf('three')).toEqual([])
          return router.rowsIn(
            parseShardId('s0'),
            "select 1 from pg_stat_activity where query like 'select user_id as found%' and query like '%$1%'",
          )
        },
        { timeout: 30_000 },
      )
      .not.toEqual([])
    await client.end()
  })

  it('are of one kind of settings each', async () => {
    const text = "select '2026-01-01 00:00+00'::timestamptz::text as t, n from users where user_id = $1"
    const zones = ['Asia/Tokyo', 'America/New_York', 'UTC']
    const clients = await Promise.all(zones.map((zone) => connect({ options: `-c TimeZone=${zone}` })))
    for (let round = 0; round < 30; round += 1) {
      const answers = await Promise.all(clients.map((client) => client.query<{ t: string }>(text, ['lane'])))
      expect(answers.map(({ rows }) => rows[0]?.t)).toEqual([
        '2026-01-01 09:00:00+09',
        '2025-12-31 19:00:00-05',
        '2026-01-01 00:00:00+00',
      ])
    }
    await Promise.all(clients.map((client) => client.end()))
  })

  it('do not take what writes, locks, or tells sessions apart', async () => {
    const client = await connect()
    const before = await routed('lane')
    for (let round = 0; round < 5; round += 1) {
      await client.query("update users set n = n where user_id = 'lane'")
      await client.query("select n from users where user_id = 'lane' for update")
      await client.query("select nextval('users_id_seq'), user_id from users where user_id = 'lane'")
      await client.query("select pg_backend_pid(), user_id from users where user_id = 'lane'")
    }
    expect(await routed('lane')).toBe(before)
    await client.end()
  })

  it('go on when a client reads slowly: the lane becomes its own, and memory stays flat', async () => {
    const text = "select i, filler from numbers where user_id = 'n' order by i"
    const other = await connect()
    await warm(other, "select n from users where user_id = 'lane'")
    const slow = await slowReader(text)
    // It has begun, and has more to say than the sockets hold.
    await expect.poll(() => slow.bytesRead).toBeGreaterThan(0)
    const resident = process.memoryUsage().rss
    for (let round = 0; round < 50; round += 1) {
      expect((await other.query("select n from users where user_id = 'lane'")).rows).toEqual([{ n: 1 }])
    }
    expect(process.memoryUsage().rss - resident).toBeLessThan(60 * 2 ** 20)
    slow.destroy()
    await expect.poll(lent, { timeout: 10_000 }).toBe(0)
    await other.end()
  })

  /** Connections to the servers that somebody holds. */
  const lent = async (): Promise<number> => {
    await using admin = await RawClient.open(router.wirePort, { database: 'fleetshard' })
    return rowsOf(await admin.query('show pools')).reduce((total, row) => total + Number(row[7]), 0)
  }

  /** Logs in, asks, and reads nothing of the answer but its first bytes. */
  const slowReader = async (text: string): Promise<Socket> => {
    const socket = connectSocket({ host: '127.0.0.1', port: router.wirePort })
    const out = new WireWriter()
    writeStartup(out, { user: 'app', database: 'app' })
    socket.write(Buffer.from(out.bytes()))
    await new Promise<void>((resolve) => {
      const wait = (chunk: Buffer): void => {
        // ReadyForQuery ends the greeting.
        if (chunk.at(-6) !== 0x5a) return
        socket.off('data', wait)
        resolve()
      }
      socket.on('data', wait)
    })
    const query = new WireWriter()
    writeQuery(query, text)
    socket.write(Buffer.from(query.bytes()))
    await new Promise<void>((resolve) => {
      socket.once('data', () => {
        socket.pause()
        resolve()
      })
    })
    return socket
  }

  it('cancel one read without touching those of others', async () => {
    const clients = await Promise.all(Array.from({ length: 8 }, () => RawClient.open(router.wirePort)))
    const keys = clients.map((client) => {
      const key = client.messages.find(({ type }) => type === 'K')
      return {
        processId: key?.bytes.readInt32BE(5) ?? 0,
        secretKey: key?.bytes.subarray(9) ?? Buffer.alloc(4),
      }
    })
    for (let round = 0; round < 20; round += 1) {
      for (const client of clients) {
        client.send((out) => {
          writeQuery(out, "select n from users where user_id = 'lane'")
        })
      }
      const victim = round % clients.length
      const { processId, secretKey } = keys[victim] ?? { processId: 0, secretKey: Buffer.alloc(4) }
      const canceler = new RawClient(router.wirePort)
      canceler.send((out) => {
        writeCancelRequest(out, processId, secretKey)
      })
      const answers = await Promise.all(clients.map((client) => client.until('Z')))
      await canceler.closed()
      for (const [index, answer] of answers.entries()) {
        const error = errorOf(answer)
        if (index === victim && error !== null) expect(error.code).toBe('57014')
        else expect(rowsOf(answer)).toEqual([['1']])
      }
    }
    await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()))
  })
})

describe('the router', () => {
  it('goes on when its connections to the servers are lost', async () => {
    const client = await connect()
    const text = "select n from users where user_id = 'lane'"
    await warm(client, text)
    const end = 'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()'
    for (const shard of router.snapshot().shards) await router.onShard(shard.id, end)
    expect((await client.query(text)).rows).toEqual([{ n: 1 }])
    await client.query("update users set n = n where user_id = 'lane'")
    await client.query('begin')
    await client.query("update users set n = 99 where user_id = 'lane'")
    for (const shard of router.snapshot().shards) await router.onShard(shard.id, end)
    await expect(client.query("select n from users where user_id = 'lane'")).rejects.toMatchObject({
      code: '40001',
    })
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' })
    await client.query('rollback')
    expect((await client.query(text)).rows).toEqual([{ n: 1 }])
    await client.end()
  })

  it('holds thousands of idle clients in little memory', async () => {
    const idle = await startTestRouter(server, {
      shards: 1,
      options: {
        wire: {
          host: '127.0.0.1',
          port: 0,
          limits: {
            connectionsMax: 6_000,
            connectionsPerAddressMax: 6_000,
            loginTimeoutMs: 60_000,
            messageBytesMax: 2 ** 20,
            failuresPerMinute: 0,
          },
          statementRates: { perLogin: 0, perAddress: 0 },
          authentication: { kind: 'trust' },
          tls: null,
        },
      },
    })
    const wanted = 2_000
    const warmUp = await RawClient.open(idle.wirePort)
    globalThis.gc?.()
    const before = process.memoryUsage().rss
    const sockets: Socket[] = []
    for (let index = 0; index < wanted; index += 100) {
      const opened = await Promise.all(Array.from({ length: 100 }, () => idleClient(idle.wirePort)))
      sockets.push(...opened)
    }
    globalThis.gc?.()
    // Both ends of each connection live in this process.
    const bytes = (process.memoryUsage().rss - before) / wanted
    expect(bytes).toBeLessThan(40 * 1024)
    expect(rowsOf(await warmUp.query('select 1'))).toEqual([['1']])
    for (const socket of sockets) socket.destroy()
    await warmUp[Symbol.asyncDispose]()
    await idle[Symbol.asyncDispose]()
  })

  const idleClient = (port: number): Promise<Socket> =>
    new Promise((resolve) => {
      const socket = connectSocket({ host: '127.0.0.1', port })
      const out = new WireWriter()
      writeStartup(out, { user: 'app', database: 'app' })
      socket.write(Buffer.from(out.bytes()))
      socket.on('error', () => undefined)
      socket.on('data', (chunk: Buffer) => {
        if (chunk.at(-6) === 0x5a) resolve(socket)
      })
    })
})
