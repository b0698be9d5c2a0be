// Logging in with SCRAM: against the roles of the shards, or a file, each role on connections of its own.
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseShardId } from '@fleetshard/core'
import { writeStartup } from '@fleetshard/routing/pgwire'
import { query } from '@fleetshard/routing/wire'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  testPassword,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { errorOf, RawClient, rowsOf, tagsOf, typesOf } from './testing.ts'

const schema = `
  create table users (user_id text primary key, n int default 0);
  grant select, insert, update on users to scram;
  create table secret (user_id text primary key);
`
const tables = [testTable('public.users'), testTable('public.secret')]
const [build] = postgresBuilds()
const limits = {
  connectionsMax: 100,
  connectionsPerAddressMax: 100,
  loginTimeoutMs: 10_000,
  messageBytesMax: 2 ** 20,
  failuresPerMinute: 0,
}
const authQuery = 'select rolpassword from pg_catalog.pg_authid where rolname = $1 and rolcanlogin'

let server: TestPostgres
let router: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  const connection = await server.connect()
  await query(connection, `create role owner superuser login password '${testPassword}'`)
  await connection.close()
  router = await startTestRouter(server, {
    shards: 2,
    tables,
    schema,
    options: {
      wire: {
        host: '127.0.0.1',
        port: 0,
        limits,
        statementRates: { perLogin: 0, perAddress: 0 },
        authentication: { kind: 'query', text: authQuery },
        tls: null,
      },
    },
    tcp: true,
  })
})
afterAll(async () => {
  await router[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const connect = async (user: string, password: string, database = 'app'): Promise<pg.Client> => {
  const client = new pg.Client({ host: '127.0.0.1', port: router.wirePort, user, password, database })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

describe('a login', () => {
  it('needs the password, and does not tell who exists', async () => {
    for (const [user, password] of [
      ['scram', 'wrong'],
      ['nobody-at-all', testPassword],
      ['md5', testPassword],
    ] as const) {
      await expect(connect(user, password)).rejects.toMatchObject({
        code: '28P01',
        message: `password authentication failed for user "${user}"`,
      })
    }
    await expect(connect('scram', testPassword, 'nowhere')).rejects.toMatchObject({ code: '3D000' })
  })

  it('collects no large message of a client who has not proved who he is', async () => {
    const client = new RawClient(router.wirePort)
    client.send((out) => {
      writeStartup(out, { user: 'scram', database: 'app' })
    })
    await client.until('R')
    // A password of 64 kB and a byte, of which no more than the length comes.
    client.socket.write(Buffer.from([0x70, 0, 1, 0, 1]))
    await client.closed()
    expect(errorOf(client.messages)).toMatchObject({ severity: 'FATAL', code: '08P01' })
    const known = await connect('scram', testPassword)
    const long = 'x'.repeat(200_000)
    expect((await known.query(`select '${long}' as long`)).rows).toEqual([{ long }])
    await known.end()
  })

  it('gives each role connections of its own, in lanes and alone', async () => {
    const owner = await connect('owner', testPassword)
    const other = await connect('scram', testPassword)
    await other.query("insert into users (user_id) values ('u')")
    for (let round = 0; round < 20; round += 1) {
      const text = 'select user_id, current_user::text as who from users where user_id = $1'
      const [ofOwner, ofOther] = await Promise.all([owner.query(text, ['u']), other.query(text, ['u'])])
      expect(ofOwner.rows).toEqual([{ user_id: 'u', who: 'owner' }])
      expect(ofOther.rows).toEqual([{ user_id: 'u', who: 'scram' }])
      await other.query('update users set n = n + 1 where user_id = $1', ['u'])
      await owner.query('update users set n = n + 1 where user_id = $1', ['u'])
    }
    await expect(other.query("select * from secret where user_id = 'u'")).rejects.toMatchObject({
      code: '42501',
    })
    expect((await owner.query("select * from secret where user_id = 'u'")).rows).toEqual([])
    await Promise.all([owner.end(), other.end()])
  })

  it('that another server would not accept names the reason', async () => {
    // The roles of one server have one secret; a shard with a salt of its own is played by changing it after the login.
    const other = await connect('scram', testPassword)
    await router.onShard(parseShardId('s0'), `alter role scram password '${testPassword}'`)
    const end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'scram'"
    await router.onShard(parseShardId('s0'), end)
    const update = "update users set n = 0 where user_id = 'u'"
    await expect(other.query("select n from users where user_id = 'u'")).rejects.toMatchObject({
      severity: 'FATAL',
      message: expect.stringContaining('SCRAM secret') as string,
    })
    const outcome = async (): Promise<string> => {
      const again = await connect('scram', testPassword)
      return again.query(update).then(
        () => 'done',
        (error: unknown) => String(error),
      )
    }
    await expect.poll(outcome, { timeout: 20_000, interval: 200 }).toBe('done')
  })
})

describe('the admin database', () => {
  it('shows what the router knows to the owner of the shards, in both protocols', async () => {
    await expect(connect('scram', testPassword, 'fleetshard')).rejects.toMatchObject({ code: '42501' })
    const client = await connect('owner', testPassword)
    await client.query("select n from users where user_id = 'u'")
    const admin = await connect('owner', testPassword, 'fleetshard')
    for (const word of ['clients', 'pools', 'lanes', 'shards', 'map', 'stats', 'plans', 'version']) {
      const simple = await admin.query(`SHOW ${word}`)
      const extended = await admin.query({ text: `show ${word};`, values: [] })
      expect(extended.fields.map(({ name }) => name)).toEqual(simple.fields.map(({ name }) => name))
      expect(simple.rows.length).toBeGreaterThan(word === 'lanes' ? -1 : 0)
    }
    const stats = await admin.query<{ statement: string; calls: string }>('show stats')
    expect(stats.rows.map(({ statement }) => statement).join()).not.toContain("'u'")
    expect((await admin.query('show shards')).rows).toMatchObject([{ shard: 's0' }, { shard: 's1' }])
    await expect(admin.query('drop table users')).rejects.toMatchObject({ code: '42601' })
    await expect(admin.query('show everything')).rejects.toMatchObject({ code: '42601' })
    await Promise.all([client.end(), admin.end()])
  })
})

describe('a router that stops', () => {
  it('ends idle clients at once, and the others when their transaction is over', async () => {
    const own = await startTestRouter(server, {
      shards: 1,
      schema: 'create table t (a int)',
      options: { drainMs: 20_000 },
    })
    const idle = await RawClient.open(own.wirePort)
    const busy = await RawClient.open(own.wirePort)
    await busy.query('begin')
    await busy.query('insert into t values (1)')
    const stopping = own[Symbol.asyncDispose]()
    await idle.closed()
    expect(errorOf(idle.messages)).toMatchObject({ severity: 'FATAL', code: '57P01' })
    expect(rowsOf(await busy.query('select a from t'))).toEqual([['1']])
    const committed = await busy.query('commit')
    expect([tagsOf(committed), typesOf(committed)]).toEqual([['COMMIT'], 'CZ'])
    await busy.closed()
    await stopping
  })
})
