// Writes under an idempotency key, over a real server: done once, whatever is repeated, whoever repeats it, and
// whatever dies meanwhile.
import { parseShardId } from '@fleetshard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exec, query, type ServerConnection } from '@fleetshard/routing/wire'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { testTable } from '@fleetshard/routing/testing'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = `
  create table users (user_id text primary key, n int not null default 0, at timestamptz default clock_timestamp());
  create function wait_at_commit() returns trigger language plpgsql as $$
    begin if new.n = 77 then perform pg_advisory_xact_lock(77); end if; return null; end $$;
  create constraint trigger at_commit after insert on users deferrable initially deferred
    for each row execute function wait_at_commit();
`
const s0 = parseShardId('s0')
const keyspace = { keyspace: 'app' }
const insert = 'insert into users (user_id, n) values ($1, 1) returning user_id, n, at'
const expiryMs = 300

describe('a write under an idempotency key', () => {
  let server: TestPostgres
  let router: TestRouter
  let forgetful: TestRouter
  let direct: ServerConnection

  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
    const wanted = {
      shards: 1,
      tables: [testTable('public.users')],
      schema,
      execute: { connectionsPerNodeMax: 8 },
    }
    router = await startTestRouter(server, wanted)
    forgetful = await startTestRouter(server, { ...wanted, query: { idempotencyExpiryMs: expiryMs } })
    direct = await server.connect({ database: router.database(s0) })
  })
  afterAll(async () => {
    await direct.close()
    await router[Symbol.asyncDispose]()
    await forgetful[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const send = (
    key: string,
    text: string,
    params: unknown[] = [],
    { on = router, ...options }: { on?: TestRouter } & Record<string, unknown> = {},
  ) =>
    on.post('/v1/execute', {
      query: text,
      params,
      options: { ...keyspace, idempotency_key: key, ...options },
    })
  const reconnect = async (): Promise<void> => {
    await expect
      .poll(async () => {
        try {
          direct = await server.connect({ database: router.database(s0) })
          return true
        } catch {
          return false
        }
      })
      .toBe(true)
  }
  const count = async (from: string): Promise<number> =>
    Number((await query(direct, `select count(*) from ${from}`, [])).rows[0]?.[0])
  const records = (key: string): Promise<number> => count(`fleetshard.idempotency where key = '${key}'`)

  it('answers a repetition with what the first one got, in the form that is asked for', async () => {
    const first = await send('once', insert, ['once'])
    expect(first).toMatchObject({ status: 200, body: { rows: [{ user_id: 'once', n: 1 }], row_count: 1 } })
    expect(first.body['replayed']).toBeUndefined()
    await exec(direct, `update users set n = 5 where user_id = 'once'`)
    const again = await send('once', insert, ['once'])
    const { rows, columns } = first.body
    expect(again).toMatchObject({ status: 200, body: { rows, columns, row_count: 1, replayed: true } })
    const asArrays = await send('once', insert, ['once'], { row_format: 'array' })
    expect(asArrays.body['rows']).toEqual([Object.values((rows as object[])[0]!)])
    const byHeader = await fetch(`${router.url}/v1/execute`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': 'once' },
      body: JSON.stringify({ query: insert, params: ['once'], options: keyspace }),
    })
    expect(byHeader.headers.get('idempotency-replayed')).toBe('true')
    expect(await byHeader.json()).toMatchObject({ rows, replayed: true })
    expect(await count(`fleetshard.idempotency where key = 'once' and shard_hash between 0 and 2^64`)).toBe(1)
  })

  it('refuses the key for anything else', async () => {
    await send('other', insert, ['other'])
    const mismatch = { status: 422, body: { code: 'idempotency_mismatch', outcome: 'aborted' } }
    expect(await send('other', insert, ['another'])).toMatchObject(mismatch)
    expect(await send('other', `delete from users where user_id = $1`, ['other'])).toMatchObject(mismatch)
    expect(await send('', insert, ['empty'])).toMatchObject({ status: 400 })
    expect(await send('\n', insert, ['empty'])).toMatchObject({ status: 400 })
    const twice = await fetch(`${router.url}/v1/execute`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': 'one' },
      body: JSON.stringify({
        query: insert,
        params: ['x'],
        options: { ...keyspace, idempotency_key: 'two' },
      }),
    })
    expect(await twice.json()).toMatchObject({ code: 'invalid_request' })
    expect(await count(`users where user_id in ('another', 'empty', 'x')`)).toBe(0)
  })

  it('is done once when it is sent many times at once', async () => {
    await exec(direct, `insert into users (user_id) values ('busy')`)
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        send(`busy-${String(index % 4)}`, `update users set n = n + 1 where user_id = $1 returning n`, [
          'busy',
        ]),
      ),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(await count(`users where user_id = 'busy' and n = 4`)).toBe(1)
    const seen = answers.map(({ body }) => (body['rows'] as { n: number }[])[0]?.n)
    for (let key = 0; key < 4; key += 1)
      expect(new Set(seen.filter((_, index) => index % 4 === key)).size).toBe(1)
    expect(answers.filter(({ body }) => body['replayed'] !== true)).toHaveLength(4)
  })

  it('waits for the one under way no longer than its deadline', async () => {
    await exec(direct, 'select pg_advisory_lock(77)')
    const text = `insert into users (user_id, n) values ($1, 77)`
    const first = send('slow', text, ['slow'])
    const late = `pg_stat_activity where query = 'commit' and state = 'active' and datname = current_database()`
    await expect.poll(() => count(late)).toBe(1)
    expect(await send('slow', text, ['slow'], { timeout_ms: 200 })).toMatchObject({
      status: 504,
      body: { code: 'deadline_exceeded', outcome: 'aborted' },
    })
    const second = send('slow', text, ['slow'])
    await exec(direct, 'select pg_advisory_unlock(77)')
    expect(await first).toMatchObject({ status: 200 })
    expect(await second).toMatchObject({ status: 200, body: { replayed: true } })
  })

  it('leaves no record when it fails', async () => {
    const taken = `insert into users (user_id) values ('once')`
    expect(await send('fails', taken)).toMatchObject({
      status: 409,
      body: { sqlstate: '23505', outcome: 'aborted' },
    })
    expect(await records('fails')).toBe(0)
    expect(await send('fails', insert, ['works'])).toMatchObject({ status: 200 })
    expect(await send('large', insert, ['large'], { max_rows: 0 })).toMatchObject({ status: 413 })
    expect([await records('large'), await count(`users where user_id = 'large'`)]).toEqual([0, 0])
  })

  it('keeps no record of what only reads', async () => {
    expect(await send('read', 'select 1 as one')).toMatchObject({ status: 200 })
    expect(await send('read', 'select 2 as two')).toMatchObject({ status: 200, body: { rows: [{ two: 2 }] } })
    const volatile = 'select clock_timestamp() as at, pg_notify($1, $1)'
    expect(await send('read', volatile, ['x'], { read_only: true })).toMatchObject({ status: 200 })
    const statements = [{ query: 'select 1 as one' }]
    const reading = { ...keyspace, idempotency_key: 'read', read_only: true }
    expect(await router.post('/v1/transaction', { statements, options: reading })).toMatchObject({
      status: 200,
    })
    expect(await records('read')).toBe(0)
  })

  it('says that it was done where its rows were too many to be kept', async () => {
    const text = `insert into users (user_id) select 'many-' || i from generate_series(1, 3000) i returning *`
    expect(await send('many', text)).toMatchObject({ status: 200, body: { row_count: 3000 } })
    expect(await send('many', text)).toMatchObject({
      status: 409,
      body: { code: 'replay_without_rows', outcome: 'committed', row_count: 3000 },
    })
  })

  it('covers all statements of a transaction', async () => {
    const body = (key: string) => ({
      statements: [
        { query: 'insert into users (user_id) values ($1)', params: [key] },
        { query: 'select n from users where user_id = $1', params: [key] },
        { query: 'update users set n = n + 1 where user_id = $1 returning n', params: [key] },
      ],
      options: { ...keyspace, idempotency_key: 'all' },
    })
    const first = await router.post('/v1/transaction', body('tx'))
    expect(first).toMatchObject({
      status: 200,
      body: { results: [{}, { rows: [{ n: 0 }] }, { rows: [{ n: 1 }] }] },
    })
    const again = await router.post('/v1/transaction', body('tx'))
    expect(again).toMatchObject({ status: 200, body: { results: first.body['results'], replayed: true } })
    expect(await router.post('/v1/transaction', body('ty'))).toMatchObject({ status: 422 })
    const failing = body('tz')
    failing.statements.push({ query: 'select $1::int / 0', params: ['1'] })
    failing.options.idempotency_key = 'failing'
    expect(await router.post('/v1/transaction', failing)).toMatchObject({
      status: 400,
      body: { statement: 3 },
    })
    expect([await records('failing'), await count(`users where user_id = 'tz'`)]).toEqual([0, 0])
  })

  it('is forgotten after its time, and old records are removed', async () => {
    const touch = `insert into users (user_id) values ($1) on conflict (user_id) do update set n = users.n + 1`
    const own = await server.connect({ database: forgetful.database(s0) })
    const n = async (sql: string): Promise<unknown> => (await query(own, sql, [])).rows[0]?.[0]
    const keep = (key: string, by: string) => send(key, touch, [by], { on: forgetful })
    expect(await keep('old', 'a')).toMatchObject({ status: 200 })
    const reused = async (): Promise<unknown> => (await keep('old', 'b')).status
    expect(await reused()).toBe(422)
    await expect.poll(reused).toBe(200)
    await expect
      .poll(async () => {
        await keep('sweeps', 'c')
        return n(`select count(*) from fleetshard.idempotency where key = 'old'`)
      })
      .toBe('0')
    await own.close()
  })

  it('works on a shard that has had no key yet, several at once', async () => {
    await exec(direct, 'drop table fleetshard.idempotency')
    const answers = await Promise.all(
      ['p', 'q', 'r', 's'].map((key) => send(`upgrade-${key}`, insert, [`upgrade-${key}`])),
    )
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    expect(await send('upgrade-p', insert, ['upgrade-p'])).toMatchObject({ body: { replayed: true } })
  })

  it('is tried again when its connection dies between the statement and the commit', async () => {
    await exec(direct, 'select pg_advisory_lock(77)')
    const answer = send('dies', `insert into users (user_id, n) values ('dies', 77) returning user_id`)
    const waiting = `from pg_stat_activity where query = 'commit' and state = 'active' and datname = current_database()`
    const pid = async (): Promise<unknown> => (await query(direct, `select pid ${waiting}`, [])).rows[0]?.[0]
    await expect.poll(pid).toEqual(expect.any(String))
    const killed = await pid()
    await query(direct, 'select pg_terminate_backend($1::int)', [String(killed)])
    await expect.poll(pid).not.toBe(killed)
    await exec(direct, 'select pg_advisory_unlock(77)')
    expect(await answer).toMatchObject({ status: 200, body: { rows: [{ user_id: 'dies' }] } })
    expect(await count(`users where user_id = 'dies'`)).toBe(1)
    expect(await router.metrics()).toMatch(/statements_retried_total\{reason="lost"\} [1-9]/)
  })

  it('is done exactly once while the server is killed again and again', async () => {
    await exec(direct, `insert into users (user_id) values ('killed')`)
    const clients = 8
    const each = 25
    let done = 0
    const client = async (name: number): Promise<void> => {
      for (let index = 0; index < each; index += 1) {
        const key = `killed-${String(name)}-${String(index)}`
        for (;;) {
          const { status, body } = await send(key, `update users set n = n + 1 where user_id = 'killed'`)
          if (status === 200) break
          expect(body).toMatchObject({ retryable: true })
        }
        done += 1
      }
    }
    const all = Promise.all(Array.from({ length: clients }, (_, name) => client(name)))
    for (const share of [0.2, 0.4, 0.6, 0.8]) {
      await expect.poll(() => done >= clients * each * share, { timeout: 20_000 }).toBe(true)
      // After the crash of one process the server restarts as a whole; a new connection may still fall to that.
      if (direct.state !== 'open') await reconnect()
      process.kill(direct.processId, 'SIGKILL')
      await direct.closed
      await reconnect()
    }
    await all
    if (direct.state !== 'open') await reconnect()
    expect((await query(direct, `select n from users where user_id = 'killed'`, [])).rows).toEqual([
      [String(clients * each)],
    ])
  }, 60_000)
})
