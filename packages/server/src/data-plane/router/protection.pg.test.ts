// A keyspace under protection on a server whose replicas do not answer: nothing that only the primary has is told as
// done, whatever cuts the wait short, and nobody may ask for less.
import { parseShardId, type KeyspaceSnapshot } from '@fleetshard/core'
import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { exec, query, type ServerConnection } from '@fleetshard/routing/wire'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { testTable } from '@fleetshard/routing/testing'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = 'create table users (user_id text primary key, name text)'
const s0 = parseShardId('s0')
const insert = (key: string) => ({
  query: 'insert into users (user_id, name) values ($1, $1)',
  params: [key],
  shard_key: key,
})

const underProtection = (snapshot: KeyspaceSnapshot): KeyspaceSnapshot => ({
  ...snapshot,
  keyspace: { ...snapshot.keyspace, durability: 'protection' },
})

describe.each(postgresBuilds())('protection on Postgres ($name)', (build) => {
  let server: TestPostgres
  let router: TestRouter
  let direct: ServerConnection

  beforeAll(async () => {
    server = await startTestPostgres(build)
    router = await startTestRouter(server, { shards: 1, tables: [testTable('public.users')], schema })
    await router.replaced(underProtection)
    direct = await server.connect({ database: router.database(s0) })
    await exec(direct, 'set synchronous_commit = local')
  })
  afterAll(async () => {
    await direct.close()
    await router[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const setStandbys = async (names: string): Promise<void> => {
    await exec(direct, `alter system set synchronous_standby_names = '${names}'`)
    await exec(direct, 'select pg_reload_conf()')
    await expect
      .poll(async () => (await query(direct, 'show synchronous_standby_names')).rows[0]?.[0])
      .toBe(names)
  }
  const waiting = async (): Promise<number> =>
    Number(
      (await query(direct, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"))
        .rows[0]?.[0],
    )
  const count = async (key: string): Promise<number> =>
    Number((await query(direct, 'select count(*) from users where user_id = $1', [key])).rows[0]?.[0])
  const execute = ({ options, ...body }: { options?: object; query: string; shard_key: string }) =>
    router.post('/v1/execute', { ...body, options: { keyspace: 'app', ...options } })
  const wire = async (): Promise<Client> => {
    const client = new Client({ host: '127.0.0.1', port: router.wirePort, user: 'app', database: 'app' })
    client.on('error', () => undefined)
    await client.connect()
    return client
  }

  describe('when no replica answers', () => {
    let holder: Client
    beforeEach(async () => {
      // A connection that has shown confirmed commits is there: others need no proof of their own.
      holder = await wire()
      await holder.query('begin')
      await holder.query('select 1')
      await setStandbys('nobody')
    })
    afterEach(async () => {
      await setStandbys('')
      await holder.end()
    })

    it('a write over HTTP whose time is over may have happened', async () => {
      const answer = await execute({ ...insert('h1'), options: { timeout_ms: 500 } })
      expect(answer.body).toMatchObject({ code: 'outcome_unknown', outcome: 'unknown' })
      // The server says that nobody has confirmed the commit before others can see it.
      await expect.poll(() => count('h1')).toBe(1)
    })

    it('so may a transaction', async () => {
      const { query: text, params } = insert('h2')
      const answer = await router.post('/v1/transaction', {
        shard_key: 'h2',
        statements: [{ query: text, params }],
        options: { keyspace: 'app', timeout_ms: 500 },
      })
      expect(answer.body).toMatchObject({ code: 'outcome_unknown', outcome: 'unknown' })
      // Its commit still waits: nobody sees it before a replica has it.
      expect(await count('h2')).toBe(0)
      await setStandbys('')
      await expect.poll(() => count('h2')).toBe(1)
    })

    it.each(['simple', 'extended', 'transaction'])('so may one that its client cancels (%s)', async (way) => {
      const client = await wire()
      const key = `w-${way}`
      const writing = (async () => {
        if (way !== 'transaction') {
          return way === 'simple'
            ? client.query(`insert into users (user_id) values ('${key}')`)
            : client.query('insert into users (user_id) values ($1)', [key])
        }
        await client.query('begin')
        await client.query('insert into users (user_id) values ($1)', [key])
        return client.query('commit')
      })()
      const outcome = writing.then(
        () => 'acknowledged',
        (error: unknown) => (error as { code?: string }).code,
      )
      await expect.poll(waiting).toBe(1)
      const [row] = (await query(direct, "select pid from pg_stat_activity where wait_event = 'SyncRep'"))
        .rows
      await query(direct, 'select pg_cancel_backend($1)', [row?.[0] ?? ''])
      expect(await outcome).toBe('40003')
      await expect.poll(() => count(key)).toBe(1)
      await client.end()
    })

    it('reads go on', async () => {
      expect(await execute({ query: 'select name from users', shard_key: 'x' })).toMatchObject({
        status: 200,
      })
    })
  })

  it('refuses to wait for less, over the wire and HTTP', async () => {
    const client = await wire()
    await expect(client.query('set synchronous_commit = off')).rejects.toThrow(/under protection/)
    await expect(client.query("select set_config($1, 'off', false)", ['synchronous_commit'])).rejects.toThrow(
      /under protection/,
    )
    await client.query('set synchronous_commit = remote_apply')
    await client.end()
    const answer = await execute({
      query: "select set_config('synchronous_commit', 'off', true)",
      shard_key: 'x',
    })
    expect(answer.body).toMatchObject({ code: 'statement_refused' })
    const options = '-c synchronous_commit=off'
    const weak = new Client({
      host: '127.0.0.1',
      port: router.wirePort,
      user: 'app',
      database: 'app',
      options,
    })
    await expect(weak.connect()).rejects.toThrow(/under protection/)
  })

  it('goes by the own default of no role', async () => {
    await exec(direct, `alter database ${router.database(s0)} set synchronous_commit = off`)
    const fresh = await startTestRouter(server, { shards: 1, tables: [], schema: '' })
    try {
      await fresh.onShard(s0, `alter database ${fresh.database(s0)} set synchronous_commit = off`)
      await fresh.replaced(underProtection)
      const answer = await fresh.post('/v1/execute', {
        query: 'select current_setting($1) as is',
        params: ['synchronous_commit'],
        shard_key: 'x',
        options: { keyspace: 'app' },
      })
      expect(answer.body['rows']).toEqual([{ is: 'on' }])
    } finally {
      await fresh[Symbol.asyncDispose]()
    }
  })

  it('shows nothing after a restart before a replica has it', async () => {
    await setStandbys('nobody')
    try {
      await exec(direct, "insert into users (user_id) values ('only here')")
      const fresh = await wireAfterCrash()
      const reading = fresh.query("select user_id from users where user_id = 'only here'")
      await expect.poll(waiting).toBeGreaterThan(0)
      await setStandbys('')
      expect((await reading).rows).toHaveLength(1)
      await fresh.end()
    } finally {
      await setStandbys('')
    }
  })

  /** A backend that is killed makes the postmaster end all others and recover. */
  async function wireAfterCrash(): Promise<Client> {
    const client = await wire()
    const [row] = (await query(direct, 'select pg_backend_pid()')).rows
    process.kill(Number(row?.[0]), 'SIGKILL')
    await direct.closed
    await expect
      .poll(async () => {
        try {
          direct = await server.connect({ database: router.database(s0) })
          await exec(direct, 'set synchronous_commit = local')
          return true
        } catch {
          return false
        }
      })
      .toBe(true)
    return client
  }
})
