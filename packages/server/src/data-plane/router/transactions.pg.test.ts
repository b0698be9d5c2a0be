// Transactions over several requests, over a real server: what they see, how they end, and that nothing stays behind
// whatever their clients, the server, the map or the router do.
import { parseShardId, type KeyspaceSnapshot } from '@fleetshard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exec, query, type ServerConnection } from '@fleetshard/routing/wire'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { testTable } from '@fleetshard/routing/testing'
import { startTestRouter, type TestRouter, type TestRouterOptions } from './testing.ts'

const schema = `
  create table users (user_id text primary key, n int default 0);
  create function leaves_state() returns int language plpgsql as $$
    begin perform set_config('app.tenant', 'secret', false); return 1; end $$;
  create function wait_at_commit() returns trigger language plpgsql as $$
    begin if new.n = 77 then perform pg_sleep(60); end if; return null; end $$;
  create constraint trigger at_commit after insert on users deferrable initially deferred
    for each row execute function wait_at_commit();
`
const keyspace = { keyspace: 'app' }
const s0 = parseShardId('s0')
const wanted: TestRouterOptions = { shards: 1, tables: [testTable('public.users')], schema }
const missing = { status: 404, body: { code: 'transaction_not_found', outcome: 'unknown' } }
const rolledBack = {
  status: 409,
  body: { code: 'transaction_aborted', sqlstate: '25P02', outcome: 'aborted' },
}

/** A client of one router. */
function clientOf(router: TestRouter) {
  const client = {
    begin: (more: Record<string, unknown> = {}, options: Record<string, unknown> = {}) =>
      router.post('/v1/transactions', { ...more, options: { ...keyspace, ...options } }),
    async begun(options: Record<string, unknown> = {}): Promise<string> {
      const answer = await client.begin({}, options)
      expect(answer).toMatchObject({ status: 201, body: { shard_id: 's0', epoch: 7 } })
      return String(answer.body['transaction_id'])
    },
    run: (id: string, text: string, params: unknown[] = []) =>
      router.post(`/v1/transactions/${id}/execute`, { query: text, params }),
    commit: (id: string) => router.post(`/v1/transactions/${id}/commit`, ''),
    rollback: (id: string) => router.post(`/v1/transactions/${id}/rollback`, {}),
    alone: (text: string) => router.post('/v1/execute', { query: text, options: keyspace }),
  }
  return client
}

describe('a transaction over several requests', () => {
  let server: TestPostgres
  let router: TestRouter
  let direct: ServerConnection
  let client: ReturnType<typeof clientOf>

  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
    router = await startTestRouter(server, wanted)
    direct = await server.connect({ database: router.database(s0) })
    client = clientOf(router)
  })
  afterAll(async () => {
    await direct.close()
    await router[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const one = async (sql: string): Promise<string | null | undefined> =>
    (await query(direct, sql, [])).rows[0]?.[0]
  const rowsOf = async (key: string): Promise<number> =>
    Number(await one(`select count(*) from users where user_id = '${key}'`))
  const backends = `pg_stat_activity where application_name like 'fleetshard/router%' and datname = current_database()`
  const inTransaction = (): Promise<string | null | undefined> =>
    one(`select count(*) from ${backends} and state like '%in transaction%'`)
  const pidOf = async (text: string): Promise<number> => {
    const found = `from ${backends} and query like '%${text}%' and pid <> pg_backend_pid()`
    await expect.poll(() => one(`select count(*) ${found}`)).toBe('1')
    return Number(await one(`select pid ${found}`))
  }

  it('sees its own writes, which others see once it is committed', async () => {
    const id = await client.begun()
    const insert = await client.run(id, 'insert into users (user_id) values ($1) returning user_id', ['own'])
    expect(insert).toMatchObject({
      status: 200,
      body: { rows: [{ user_id: 'own' }], row_count: 1, shard_id: 's0' },
    })
    expect(await client.run(id, 'select count(*)::int as n from users')).toMatchObject({
      body: { rows: [{ n: 1 }] },
    })
    expect(await client.alone('select count(*)::int as n from users')).toMatchObject({
      body: { rows: [{ n: 0 }] },
    })
    expect(await client.commit(id)).toMatchObject({ status: 200, body: { shard_id: 's0', epoch: 7 } })
    expect(await rowsOf('own')).toBe(1)
    expect(await client.run(id, 'select 1')).toMatchObject(missing)
    expect(await client.commit(id)).toMatchObject(missing)
  })

  it('leaves nothing when it is rolled back, and no setting for who comes next', async () => {
    const id = await client.begun()
    await client.run(id, `insert into users (user_id) values ('gone')`)
    await client.run(id, `set local work_mem = '8MB'`)
    await client.run(id, 'select leaves_state()')
    expect(await client.rollback(id)).toMatchObject({ status: 200 })
    expect(await rowsOf('gone')).toBe(0)
    for (let round = 0; round < 5; round += 1) {
      const seen = await client.alone(
        `select current_setting('app.tenant', true) as tenant, pg_backend_pid()`,
      )
      expect([null, '']).toContain((seen.body['rows'] as { tenant: unknown }[])[0]?.tenant)
    }
  })

  it('keeps the isolation and the promise to read only that it was begun with', async () => {
    const begun = await client.begin({ isolation: 'repeatable read', read_only: true })
    const id = String(begun.body['transaction_id'])
    const count = { body: { rows: [{ n: await rowsOf('seen') }] } }
    const read = `select count(*)::int as n from users where user_id = 'seen'`
    expect(await client.run(id, read)).toMatchObject(count)
    await exec(direct, `insert into users values ('seen')`)
    expect(await client.run(id, read)).toMatchObject(count)
    expect(await client.run(id, `delete from users`)).toMatchObject({ body: { code: 'read_only' } })
    expect(await client.rollback(id)).toMatchObject({ status: 200 })
  })

  it.each([
    ['select 1 / 0', 'sql_error'],
    ['selec 1', 'sql_syntax'],
    ['commit', 'statement_refused'],
    [`select set_config('client_encoding', 'LATIN1', true)`, 'statement_refused'],
    [`set local application_name = 'hidden'`, 'statement_refused'],
    [`select set_config('application_name', 'hidden', true)`, 'statement_refused'],
  ])('is rolled back at once when %s fails', async (text, code) => {
    const id = await client.begun()
    await client.run(id, `insert into users (user_id) values ('failed')`)
    expect(await client.run(id, text)).toMatchObject({ body: { code, outcome: 'aborted' } })
    // Nobody waits for its locks although its client has not ended it.
    expect(await inTransaction()).toBe('0')
    expect(await client.run(id, 'select 1')).toMatchObject(rolledBack)
    expect(await client.commit(id)).toMatchObject({ ...rolledBack, status: 409 })
    expect(await client.commit(id)).toMatchObject(missing)
    expect(await rowsOf('failed')).toBe(0)
  })

  it('is told apart from a failed one when a deferred check fails at commit', async () => {
    await exec(direct, 'create table child (user_id text references users deferrable initially deferred)')
    const id = await client.begun()
    expect(await client.run(id, `insert into child values ('nobody')`)).toMatchObject({ status: 200 })
    expect(await client.commit(id)).toMatchObject({
      status: 409,
      body: { code: 'sql_error', sqlstate: '23503', outcome: 'aborted' },
    })
    expect(await client.commit(id)).toMatchObject(missing)
  })

  it('takes one request at a time', async () => {
    const id = await client.begun()
    const slow = client.run(id, 'select pg_sleep(0.5)')
    await pidOf('pg_sleep(0.5)')
    expect(await client.run(id, 'select 1')).toMatchObject({
      status: 409,
      body: { code: 'transaction_busy', retryable: true },
    })
    expect(await client.commit(id)).toMatchObject({ body: { code: 'transaction_busy' } })
    expect(await slow).toMatchObject({ status: 200 })
    expect(await client.commit(id)).toMatchObject({ status: 200 })
  })

  it('is rolled back when its client lets it lie', async () => {
    const id = await client.begun({ idle_timeout_ms: 100 })
    await client.run(id, `insert into users (user_id) values ('idle')`)
    await expect.poll(inTransaction).toBe('0')
    expect(await client.commit(id)).toMatchObject(missing)
    expect(await rowsOf('idle')).toBe(0)
  })

  it('is rolled back when its client hangs up in the middle of a statement', async () => {
    const id = await client.begun()
    await client.run(id, `insert into users (user_id) values ('hung up')`)
    const abort = new AbortController()
    const sent = router
      .post(`/v1/transactions/${id}/execute`, { query: 'select pg_sleep(61)' }, { signal: abort.signal })
      .catch(() => null)
    await pidOf('pg_sleep(61)')
    abort.abort()
    await sent
    await expect.poll(inTransaction).toBe('0')
    await expect.poll(() => client.run(id, 'select 1')).toMatchObject(rolledBack)
    expect(await client.rollback(id)).toMatchObject({ status: 200 })
  })

  it('is aborted when its connection dies between two requests or in a statement', async () => {
    const terminate = async (pid: number): Promise<void> => {
      await query(direct, 'select pg_terminate_backend($1::int)', [String(pid)])
    }
    const idle = await client.begun()
    await client.run(idle, 'select 4711')
    await terminate(await pidOf('select 4711'))
    await expect.poll(inTransaction).toBe('0')
    expect(await client.run(idle, 'select 1')).toMatchObject({
      status: 409,
      body: { code: 'transaction_aborted', sqlstate: '40001', outcome: 'aborted', retryable: true },
    })
    expect(await client.run(idle, 'select 1')).toMatchObject(rolledBack)
    expect(await client.commit(idle)).toMatchObject(rolledBack)

    const busy = await client.begun()
    const running = client.run(busy, 'select pg_sleep(62)')
    await terminate(await pidOf('pg_sleep(62)'))
    expect(await running).toMatchObject({
      status: 503,
      body: { code: 'shard_unavailable', outcome: 'aborted' },
    })
    expect(await client.commit(busy)).toMatchObject(rolledBack)

    const committing = await client.begun()
    await client.run(committing, `insert into users values ('at commit', 77)`)
    const commit = client.commit(committing)
    await expect
      .poll(() => one(`select count(*) from ${backends} and state = 'active' and query = 'commit'`))
      .toBe('1')
    await terminate(
      Number(await one(`select pid from ${backends} and query = 'commit' and state = 'active'`)),
    )
    expect(await commit).toMatchObject({ body: { code: 'outcome_unknown', outcome: 'unknown' } })
    expect(await client.commit(committing)).toMatchObject(missing)
  })

  it('is found by its id only', async () => {
    for (const path of ['tx_guess/execute', 'tx_guess/commit', '../x/rollback', '%00/commit'])
      expect((await router.post(`/v1/transactions/${path}`, {})).status).toBe(404)
    const id = await client.begun()
    expect(await router.post(`/v1/transactions/${id}/explode`, {})).toMatchObject({
      body: { code: 'route_not_found' },
    })
    const get = await fetch(`${router.url}/v1/transactions/${id}/commit`)
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST'])
    expect(await client.rollback(id)).toMatchObject({ status: 200 })
  })

  it('leaves half of the connections to others, however many are abandoned', async () => {
    const open = await Promise.all([client.begun(), client.begun(), client.begun()])
    const beginMany = async (count: number, options: Record<string, unknown>): Promise<Set<number>> => {
      const answers = Array.from({ length: count }, () => client.begin({}, options))
      return new Set((await Promise.all(answers)).map(({ status }) => status))
    }
    expect(await beginMany(200, {})).toEqual(new Set([429]))
    expect(await client.alone(`insert into users values ('beside')`)).toMatchObject({ status: 200 })
    expect(await router.metrics()).toMatch(/transactions_open 3\n/)
    for (const id of open) expect(await client.rollback(id)).toMatchObject({ status: 200 })
    let begun = 0
    for (let round = 0; round < 100; round += 1)
      if ((await beginMany(100, { idle_timeout_ms: 5 })).has(201)) begun += 1
    expect(begun).toBeGreaterThan(1)
    await expect.poll(() => router.metrics()).toMatch(/transactions_open 0\n/)
    await expect.poll(inTransaction).toBe('0')
    await expect.poll(() => router.metrics()).toMatch(/node_connections\{[^}]*state="lent"\} 0/)
    expect(await client.begun()).toMatch(/^tx_/)
  }, 60_000)
})

describe('open transactions', () => {
  let server: TestPostgres
  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
  })

  it('keep to their shard when the map changes under them', async () => {
    await using router = await startTestRouter(server, { ...wanted, shards: 2 })
    const client = clientOf(router)
    expect(await client.begin()).toMatchObject({ status: 400, body: { code: 'shard_key_required' } })
    const begun = await client.begin({ shard_key: 'ann' })
    const id = String(begun.body['transaction_id'])
    const insert = 'insert into users (user_id) values ($1)'
    expect(await client.run(id, insert, ['ann'])).toMatchObject({ status: 200 })
    const swapped = (snapshot: KeyspaceSnapshot): KeyspaceSnapshot => {
      const [first, second] = snapshot.shards
      if (first === undefined || second === undefined) throw new Error('two shards are needed')
      return {
        ...snapshot,
        epoch: (snapshot.epoch + 1) as typeof snapshot.epoch,
        shards: [
          { ...first, vnodes: second.vnodes },
          { ...second, vnodes: first.vnodes },
        ],
      }
    }
    await router.replaced(swapped)
    expect(await client.run(id, insert, ['ann'])).toMatchObject({ body: { code: 'cross_shard' } })
    expect(await client.commit(id)).toMatchObject(rolledBack)

    // A node that has moved ends what was begun on it.
    const moved = String((await client.begin({ shard_key: 'ann' })).body['transaction_id'])
    expect(await client.run(moved, 'select 1')).toMatchObject({ status: 200 })
    router.replace((snapshot) => ({
      ...snapshot,
      epoch: (snapshot.epoch + 1) as typeof snapshot.epoch,
      shards: snapshot.shards.map((shard) => ({
        ...shard,
        nodes: shard.nodes.map((node) => ({ ...node, host: '127.0.0.1', port: 1 })),
      })),
    }))
    await expect.poll(() => client.run(moved, 'select 1')).toMatchObject(rolledBack)
  })

  it('may be ended while the router stops, and are rolled back when its time is over', async () => {
    const router = await startTestRouter(server, { ...wanted, options: { drainMs: 1_500 } })
    const client = clientOf(router)
    const finished = await client.begun()
    const left = await client.begun()
    await client.run(finished, `insert into users (user_id) values ('finished')`)
    await client.run(left, `insert into users (user_id) values ('left')`)
    const stopped = router[Symbol.asyncDispose]()
    await expect.poll(() => client.begin()).toMatchObject({ status: 503, body: { code: 'shutting_down' } })
    expect(await client.run(finished, 'select 1 as one')).toMatchObject({ body: { rows: [{ one: 1 }] } })
    expect(await client.commit(finished)).toMatchObject({ status: 200 })
    await stopped
    const direct = await server.connect({ database: router.database(s0) })
    const { rows } = await query(direct, 'select user_id from users', [])
    await direct.close()
    expect(rows).toEqual([['finished']])
  })
})
