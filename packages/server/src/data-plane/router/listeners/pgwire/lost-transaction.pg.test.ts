// Transactions whose server connection ends before they are committed, as in a cutover: what their clients are told.
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'

const tables = [testTable('public.users')]
const schema = 'create table users (user_id text primary key)'
let server: TestPostgres
let single: TestRouter
let several: TestRouter
const clients = new Set<pg.Client>()
beforeAll(async () => {
  server = await startTestPostgres(postgresBuilds()[0]!)
  single = await startTestRouter(server, { shards: 1, tables, schema })
  several = await startTestRouter(server, { shards: 2, tables, schema })
})
afterEach(async () => {
  await Promise.all(Array.from(clients, (client) => client.end()))
  clients.clear()
})
afterAll(async () => {
  await single[Symbol.asyncDispose]()
  await several[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const connect = async (router: TestRouter): Promise<pg.Client> => {
  const client = new pg.Client({ host: '127.0.0.1', port: router.wirePort, user: 'app', database: 'app' })
  client.on('error', () => undefined)
  clients.add(client)
  await client.connect()
  return client
}

describe('a transaction whose server connection ends, as in a cutover', () => {
  /** Ends the connection of the one transaction that is open, and waits until it is gone. */
  async function endBackend(): Promise<void> {
    const other = await connect(single)
    const open = async (): Promise<readonly number[]> => {
      const { rows } = await other.query<{ pid: number }>(
        `select pid from pg_stat_activity where state = 'idle in transaction'`,
      )
      return rows.map(({ pid }) => pid)
    }
    // What the router was in the midst of by itself has ended by then.
    await expect.poll(async () => (await open()).length).toBe(1)
    const [pid] = await open()
    await other.query('select pg_terminate_backend($1)', [pid])
    await expect
      .poll(async () => (await other.query('select from pg_stat_activity where pid = $1', [pid])).rowCount)
      .toBe(0)
  }

  it.each([
    { what: 'a statement', text: 'select 1', values: undefined },
    { what: 'one with parameters', text: 'select $1::int as n', values: [1] },
    { what: 'COMMIT', text: 'commit', values: undefined },
  ])('is told so by 40001 at $what, and by 25P02 only afterwards', async ({ what, text, values }) => {
    const client = await connect(single)
    await client.query('begin')
    await client.query(`insert into users (user_id) values ('never')`)
    await endBackend()
    await expect(client.query(text, values)).rejects.toMatchObject({ code: '40001' })
    if (what !== 'COMMIT') {
      await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' })
      await client.query('rollback')
    }
    expect((await client.query(`select from users where user_id = 'never'`)).rowCount).toBe(0)
  })
  it.each([
    { way: 'alone', queryMode: undefined },
    { way: 'extended', queryMode: 'extended' },
  ])('has ended as its client wants, where that is ROLLBACK ($way)', async ({ queryMode }) => {
    const client = await connect(single)
    await client.query('begin')
    await client.query(`insert into users (user_id) values ('never')`)
    await endBackend()
    const rollback = { text: 'rollback', queryMode } as pg.QueryConfig
    expect((await client.query(rollback)).command).toBe('ROLLBACK')
    await client.query('begin')
    await client.query(`insert into users (user_id) values ('never')`)
    await endBackend()
    expect((await client.query({ ...rollback, text: 'rollback and chain' })).command).toBe('ROLLBACK')
    await expect(client.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' })
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' })
    await client.query('rollback')
    expect((await client.query(`select from users where user_id = 'never'`)).rowCount).toBe(0)
  })
  // Which shard it belongs to is only known when a server has told the types of its parameters.
  const unknown = { text: 'insert into users (user_id) values ($1)', values: ['new'] }

  it('is told so by a statement of which a server must be asked first', async () => {
    const client = await connect(several)
    await client.query('begin')
    await client.query(`insert into users (user_id) values ('never')`)
    await endBackend()
    await expect(client.query(unknown)).rejects.toMatchObject({ code: '40001' })
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' })
    await client.query('rollback')
  })

  it('goes on elsewhere when it has done nothing', async () => {
    const client = await connect(several)
    await client.query('begin isolation level serializable')
    await client.query('show datestyle')
    await endBackend()
    await client.query({ ...unknown, text: `${unknown.text} returning user_id` })
    const { rows } = await client.query('show transaction_isolation')
    expect(rows).toEqual([{ transaction_isolation: 'serializable' }])
    await client.query('commit')
    expect((await client.query(`select from users where user_id = 'new'`)).rowCount).toBe(1)
  })
})
