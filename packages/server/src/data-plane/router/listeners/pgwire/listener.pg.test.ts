// The Postgres port over real servers, by a real driver.
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'

const schema = `
  create table users (id bigserial primary key, user_id text not null unique, name text, n int default 0);
  create function leaves_state() returns int language plpgsql as $$
    begin perform set_config('app.tenant', 'secret', false); return 1; end $$;
`
const tables = [testTable('public.users')]

describe.each(postgresBuilds())('over $name', (build) => {
  let server: TestPostgres
  let router: TestRouter

  beforeAll(async () => {
    server = await startTestPostgres(build)
    router = await startTestRouter(server, { shards: 2, tables, schema })
  })
  const open = new Set<pg.Client>()
  afterEach(async () => {
    await Promise.all(Array.from(open, (client) => client.end()))
    open.clear()
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
    open.add(client)
    await client.connect()
    return client
  }

  it('writes rows to the shards of their keys and reads them back', async () => {
    const client = await connect()
    for (let index = 0; index < 40; index += 1) {
      const key = `user-${String(index)}`
      await client.query('insert into users (user_id, name) values ($1, $2)', [key, `name ${key}`])
      const { rows } = await client.query('select name from users where user_id = $1', [key])
      expect(rows).toEqual([{ name: `name ${key}` }])
      const simple = await client.query(`select name from users where user_id = '${key}'`)
      expect(simple.rows).toEqual([{ name: `name ${key}` }])
    }
  })

  it('runs transactions on one shard, and refuses to reach a second one', async () => {
    const client = await connect()
    await client.query('begin')
    await client.query("insert into users (user_id) values ('tx-1')")
    await client.query('rollback')
    expect((await client.query("select * from users where user_id = 'tx-1'")).rows).toEqual([])
    await client.query('begin')
    const keys = Array.from({ length: 20 }, (_, index) => `far-${String(index)}`)
    let refused: unknown = null
    for (const key of keys) {
      try {
        await client.query('insert into users (user_id) values ($1)', [key])
      } catch (error) {
        refused = error
        break
      }
    }
    expect(refused).toMatchObject({ code: '0A000' })
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' })
    await client.query('commit')
    expect((await client.query("select * from users where user_id = 'far-0'")).rows).toEqual([])
  })
})
