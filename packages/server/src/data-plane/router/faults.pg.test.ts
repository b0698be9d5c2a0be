// The router when things go wrong at the worst moment: locks, lost connections, cancels and deadlines at every stage.
// What counts is that nothing is written twice or lost, and that nobody waits or pays for another.
import { parseShardId } from '@fleetshard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exec, query, type ServerConnection } from '@fleetshard/routing/wire'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { testTable } from '@fleetshard/routing/testing'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = `
  create table users (user_id varchar(5) primary key, name text, n int default 0);
  create table calls (at serial);
  create view all_users as select * from users;
  create function note_call(wait float8) returns int language plpgsql as $$
    begin insert into calls default values; perform pg_sleep(wait); return 1; end $$;
  create procedure commits_then_fails() language plpgsql as $$
    begin insert into calls default values; commit; raise exception 'busy' using errcode = '55P03'; end $$;
`
const s0 = parseShardId('s0')
const options = { keyspace: 'app' }

describe('a router in trouble', () => {
  let server: TestPostgres
  let router: TestRouter
  let direct: ServerConnection

  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
    router = await startTestRouter(server, { shards: 1, tables: [testTable('public.users')], schema })
    direct = await server.connect({ database: router.database(s0) })
  })
  afterAll(async () => {
    await direct.close()
    await router[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const execute = (text: string, params: unknown[] = [], more: Record<string, unknown> = {}) =>
    router.post('/v1/execute', { query: text, params, options, ...more })
  const within = (ms: number) => ({ options: { ...options, timeout_ms: ms } })
  const countOf = async (sql: string): Promise<number> =>
    Number((await query(direct, `select count(*) from ${sql}`, [])).rows[0]?.[0])
  const backends = `pg_stat_activity where application_name like 'fleetshard/router%' and datname = current_database()`
  const running = (text: string): Promise<number> =>
    countOf(`${backends} and state = 'active' and query like '%${text}%'`)

  it('keeps its deadline while a lock keeps Postgres from parsing', async () => {
    await exec(direct, 'begin; lock table users in access exclusive mode')
    try {
      const answers = await Promise.all([
        execute('select name, $1::text from users', ['x'], within(100)),
        router.post('/v1/transaction', {
          statements: [{ query: 'update users set name = $1 where n = 77', params: ['x'] }],
          ...within(100),
        }),
      ])
      for (const answer of answers)
        expect(answer).toMatchObject({ status: 504, body: { code: 'deadline_exceeded' } })
    } finally {
      await exec(direct, 'rollback')
    }
    expect(await execute('select name, $1::text from users', ['x'])).toMatchObject({ status: 200 })
  })

  it('does not call a volatile function twice', async () => {
    const before = await countOf('calls')
    const answer = execute('select note_call(60)')
    await expect.poll(() => running('note_call(60)')).toBe(1)
    const [{ pid } = { pid: null }] = (
      await query(direct, `select pid from ${backends} and query like '%note_call(60)%'`, [])
    ).rows.map(([found]) => ({ pid: found ?? null }))
    process.kill(Number(pid), 'SIGKILL')
    expect(await answer).toMatchObject({ body: { code: 'outcome_unknown' } })
    await direct.closed
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
    expect(await countOf('calls')).toBe(before)
  })

  it('goes on by itself after the server has restarted, without an error to a write', async () => {
    // After a crash as above the server restarts; whoever asks meanwhile waits.
    const pid = direct.processId
    await execute(`insert into users (user_id) values ('wait')`)
    process.kill(pid, 'SIGKILL')
    await direct.closed
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => execute(`update users set n = n + 1 where user_id = 'wait'`)),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    direct = await server.connect({ database: router.database(s0) })
    expect((await query(direct, `select n from users where user_id = 'wait'`, [])).rows).toEqual([['20']])
  })

  it('does not repeat a procedure that has committed part of its work', async () => {
    const before = await countOf('calls')
    expect(await execute('call commits_then_fails()')).toMatchObject({ body: { sqlstate: '55P03' } })
    expect(await countOf('calls')).toBe(before + 1)
  })

  it('refuses a result with two columns of a name before a write has happened', async () => {
    const answer = await execute(`insert into users (user_id) values ('two') returning n, n`)
    expect(answer).toMatchObject({ status: 400, body: { code: 'statement_refused' } })
    expect(await countOf(`users where user_id = 'two'`)).toBe(0)
  })

  it('never lets a cancel hit the statement of another', async () => {
    const calls = Array.from({ length: 150 }, async (_, index) => {
      if (index % 3 === 0)
        await execute('select pg_sleep(0.004 + random() * 0.004)', [], within(1 + (index % 7)))
      const answer = await execute('select $1::int as i, pg_sleep(0.002)', [index])
      // Only its own deadline may end a statement; the queue is long here.
      expect(answer.body['rows'] ?? answer.body).toEqual([{ i: index, pg_sleep: '' }])
    })
    await Promise.all(calls)
  })

  it('survives clients that hang up at any moment', async () => {
    const bodies = [
      { query: 'select pg_sleep(0.02)', options },
      { query: `update users set n = n + 1 where user_id = 'wait'`, options },
      { query: 'select n from users where user_id = $1', params: ['wait'], options },
    ]
    await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const abort = new AbortController()
        const sent = fetch(`${router.url}/v1/execute`, {
          method: 'POST',
          body: JSON.stringify(bodies[index % bodies.length]),
          signal: abort.signal,
          headers: { 'content-type': 'application/json' },
        }).catch(() => null)
        for (let turn = 0; turn < index % 40; turn += 1) await new Promise((resolve) => setImmediate(resolve))
        abort.abort()
        await sent
      }),
    )
    await expect.poll(() => countOf(`${backends} and state <> 'idle'`)).toBe(0)
    // The servers are idle for an instant between two statements, too: the router may still have some to send.
    await expect.poll(() => router.metrics()).toMatch(/node_connections\{[^}]*state="waiting"\} 0/)
    await expect.poll(() => router.metrics()).toMatch(/node_connections\{[^}]*state="lent"\} 0/)
    expect(await execute('select 1 as one')).toMatchObject({ body: { rows: [{ one: 1 }] } })
  })

  it('keeps a transaction from changing how texts are read', async () => {
    for (const change of [
      `select set_config('standard_conforming_strings', 'off', true)`,
      `select set_config('client_encoding', 'LATIN1', true)`,
    ]) {
      const answer = await router.post('/v1/transaction', {
        statements: [{ query: change }, { query: `insert into users (user_id) values ('set')` }],
        options,
      })
      expect(answer).toMatchObject({ status: 400, body: { code: 'statement_refused' } })
    }
    const refused = await router.post('/v1/transaction', {
      statements: [{ query: 'set local bytea_output = escape' }],
      options,
    })
    expect(refused).toMatchObject({ status: 400, body: { code: 'statement_refused' } })
    expect(await countOf(`users where user_id = 'set'`)).toBe(0)
  })

  it('refuses texts that Postgres would read differently', async () => {
    for (const text of ['select 1\0; drop table users', `select '\ud800'`])
      expect(await execute(text)).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    expect(await execute('select $1::text', ['\ud800'])).toMatchObject({ body: { code: 'parameter_type' } })
    const bytes = Buffer.from(
      JSON.stringify({ query: `select 'x'`, options }).replace('x', '\u00ff'),
      'latin1',
    )
    const answer = await fetch(`${router.url}/v1/execute`, {
      method: 'POST',
      body: bytes,
      headers: { 'content-type': 'application/json' },
    })
    expect(await answer.json()).toMatchObject({ code: 'malformed_json' })
  })

  it('limits all results of a transaction together', async () => {
    const statements = Array.from({ length: 10 }, () => ({ query: `select repeat('x', 1000) as x` }))
    const answer = await router.post('/v1/transaction', {
      statements,
      options: { ...options, max_bytes: 5_000 },
    })
    expect(answer).toMatchObject({ status: 413, body: { code: 'result_too_large' } })
  })

  it('leaves no listener behind on a connection that is used again and again', async () => {
    const warnings: string[] = []
    const onWarning = (warning: Error): void => {
      warnings.push(warning.name)
    }
    process.on('warning', onWarning)
    try {
      for (let round = 0; round < 15; round += 1) await execute(`select repeat('x', 2000000) as x`)
    } finally {
      process.off('warning', onWarning)
    }
    expect(warnings).toEqual([])
  })
})

describe('a router that stops under load', () => {
  it('has written what it acknowledged, and ends', async () => {
    await using server = await startTestPostgres(postgresBuilds()[0]!)
    const router = await startTestRouter(server, { shards: 1, tables: [testTable('public.users')], schema })
    const acknowledged: string[] = []
    const enough = Promise.withResolvers<void>()
    const clients = Array.from({ length: 16 }, async (_, client) => {
      for (let index = 0; ; index += 1) {
        const key = `${String(client)}-${String(index)}`.slice(0, 5)
        const body = {
          query: 'insert into users (user_id) values ($1) on conflict do nothing',
          params: [key],
          options,
        }
        const answer = await router.post('/v1/execute', body).catch(() => null)
        if (answer?.status !== 200) return
        acknowledged.push(key)
        if (acknowledged.length > 200) enough.resolve()
      }
    })
    await enough.promise
    await router[Symbol.asyncDispose]()
    await Promise.all(clients)
    const direct = await server.connect({ database: router.database(s0) })
    const { rows } = await query(direct, 'select user_id from users', [])
    await direct.close()
    const stored = new Set(rows.map(([key]) => key))
    expect(acknowledged.filter((key) => !stored.has(key))).toEqual([])
  })
})

describe('keys that a database would change', () => {
  it('are refused, and functions and views do not get around the shards', async () => {
    await using server = await startTestPostgres(postgresBuilds()[0]!)
    const tables = [testTable('public.users')]
    await using router = await startTestRouter(server, { shards: 2, tables, schema })
    const code = async (text: string, params: unknown[] = [], more = {}): Promise<unknown> =>
      (await router.post('/v1/execute', { query: text, params, options, ...more })).body['code']
    expect(await code('insert into users (user_id) values ($1)', ['abcde  '])).toBe('invalid_shard_key')
    expect(await code('insert into users (user_id) values ($1)', ['abc  '])).toBeUndefined()
    expect(await code('insert into users (n, user_id) values ($1::int, $1)', ['042'])).toBe(
      'statement_refused',
    )
    expect(await code('select *, note_call(0) from users where user_id = $1', ['a'])).toBe(
      'shard_key_required',
    )
    expect(await code(`select query_to_xml('table users', true, true, '')`)).toBe('shard_key_required')
    const byKey = { shard_key: 'a' }
    expect(await code('insert into all_users (user_id) values ($1)', ['b'], byKey)).toBe('statement_refused')
    expect(await code('select * from all_users', [], byKey)).toBeUndefined()
  })
})
