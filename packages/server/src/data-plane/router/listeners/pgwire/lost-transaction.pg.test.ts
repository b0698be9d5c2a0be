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
const clients = new Set<pg.Client>()
beforeAll(async () => {
  server = await startTestPostgres(postgresBuilds()[0]!)
  single = await startTestRouter(server, { shards: 1, tables, schema })
})
afterEach(async () => {
  await Promise.all(Array.from(clients, (client) => client.end()))
  clients.clear()
})
afterAll(async () => {
  await single[Symbol.asyncDispose]()
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
  /** Ends the connection of the transaction, and waits until it is gone. */
  async function endBackendOf(client: pg.Client): Promise<void> {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
    const pid = rows[0]?.pid ?? 0
    const other = await connect(single)
    await other.query(`select pg_terminate_backend(${String(pid)})`)
    await expect
      .poll(
        async () => (await other.query(`select from pg_stat_activity where pid = ${String(pid)}`)).rowCount,
      )
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
    await endBackendOf(client)
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
    await endBackendOf(client)
    const rollback = { text: 'rollback', queryMode } as pg.QueryConfig
    expect((await client.query(rollback)).command).toBe('ROLLBACK')
    await client.query('begin')
    await client.query(`insert into users (user_id) values ('never')`)
    await endBackendOf(client)
    expect((await client.query({ ...rollback, text: 'rollback and chain' })).command).toBe('ROLLBACK')
    await expect(client.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' })
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' })
    await client.query('rollback')
    expect((await client.query(`select from users where user_id = 'never'`)).rowCount).toBe(0)
  })
})
