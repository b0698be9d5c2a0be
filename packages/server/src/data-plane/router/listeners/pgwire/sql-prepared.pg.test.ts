// PREPARE, EXECUTE and DEALLOCATE of SQL in a keyspace with several shards.
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'

let server: TestPostgres
let router: TestRouter
let client: pg.Client
/** Keys that lie on different shards. */
let [one, other] = ['', '']
beforeAll(async () => {
  server = await startTestPostgres(postgresBuilds()[0]!)
  const schema = 'create table users (user_id text not null unique, n int default 0)'
  router = await startTestRouter(server, { shards: 2, tables: [testTable('public.users')], schema })
  client = new pg.Client({ host: '127.0.0.1', port: router.wirePort, user: 'app', database: 'app' })
  await client.connect()
  const shards = new Map<string, string>()
  for (let n = 0; shards.size < 2; n += 1) {
    const answer = await fetch(`${router.url}/v1/shard-for-key?key=k${String(n)}&keyspace=app`)
    const { shard_id: shard } = (await answer.json()) as { shard_id: string }
    if (!shards.has(shard)) shards.set(shard, `k${String(n)}`)
  }
  ;[one = '', other = ''] = shards.values()
})
afterAll(async () => {
  await client.end()
  await router[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

describe("SQL's PREPARE", () => {
  it("is the session's own: each EXECUTE goes where its values lie", async () => {
    await client.query('prepare add (varchar, int) as insert into users (user_id, n) values ($1, $2)')
    await client.query('prepare look as select n, current_database() as name from users where user_id = $1')
    const added = await client.query(`execute add ('${one}', 7)`)
    expect([added.command, added.rowCount, added.rows]).toEqual(['INSERT', 1, []])
    await client.query(`execute add ('${other}', -8)`)
    const [first, second] = [
      await client.query<{ n: number; name: string }>(`execute look ('${one}')`),
      await client.query<{ n: number; name: string }>(`execute look ('${other}')`),
    ]
    expect([first.rows[0]?.n, second.rows[0]?.n]).toEqual([7, -8])
    expect(first.rows[0]?.name).not.toBe(second.rows[0]?.name)

    await client.query('begin')
    await client.query(`execute look ('${one}')`)
    await expect(client.query(`execute look ('${other}')`)).rejects.toMatchObject({ code: '0A000' })
    await client.query('rollback')
  })

  it('refuses what could mean something else than it does on one server', async () => {
    await expect(client.query(`execute look ()`)).rejects.toMatchObject({ code: '42601' })
    await expect(client.query(`execute look ('a', 'b')`)).rejects.toMatchObject({ code: '42601' })
    await expect(client.query(`execute add ('${one}', 1.5)`)).rejects.toMatchObject({ code: '0A000' })
    // What an integer is not assigned to reads other things from its digits.
    for (const type of ['bool', 'json', 'date', 'timestamp', 'bytea', 'uuid']) {
      await client.query(`prepare of_${type} (${type}) as select $1 from users where user_id = '${one}'`)
      await expect(client.query(`execute of_${type} (20240101)`)).rejects.toMatchObject({ code: '0A000' })
    }
    await expect(client.query(`execute look (lower('A'))`)).rejects.toMatchObject({ code: '0A000' })
    await expect(client.query(`execute look (null)`)).rejects.toMatchObject({ code: '22023' })
    await expect(client.query('prepare look as select 1')).rejects.toMatchObject({ code: '42P05' })
    await expect(client.query('prepare bad as select nothing from users')).rejects.toMatchObject({
      code: '42703',
    })
    await expect(client.query('prepare bad as selekt')).rejects.toMatchObject({ code: '42601' })
  })

  it('forgets at DEALLOCATE, and shares its names with the protocol', async () => {
    await client.query('deallocate look')
    await expect(client.query(`execute look ('${one}')`)).rejects.toMatchObject({ code: '26000' })
    await client.query('deallocate all')
    await expect(client.query(`execute add ('a', 1)`)).rejects.toMatchObject({ code: '26000' })
    // One set of names for SQL and the protocol.
    await client.query({ name: 'ours', text: 'select n from users where user_id = $1', values: [one] })
    expect((await client.query(`execute ours ('${one}')`)).rows).toEqual([{ n: 7 }])
  })
})
