// The router over real servers: what it answers, what it refuses, what it does when things break.
import { parseShardId, type ShardId } from '@fleetshard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { query } from '@fleetshard/routing/wire'
import { testTable } from '@fleetshard/routing/testing'
import { ownedBy } from './testing-hold.ts'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = `
  create table users (id bigserial primary key, user_id varchar(255) not null unique, name text, n int default 0);
  create table plain (a int);
  create function leaves_state() returns int language plpgsql as $$
    begin perform set_config('app.tenant', 'secret', false); return 1; end $$;
`
const tables = [testTable('public.users')]

/** A parameter that JSON can be read from, but not written to. */
function deepBody(more: object): string {
  const query = `insert into users (user_id, name) values ('deep', $1::json::text)`
  const deep = '['.repeat(20_000) + ']'.repeat(20_000)
  return JSON.stringify({ query, params: ['deep'], ...more }).replace('["deep"]', `[${deep}]`)
}

describe.each(postgresBuilds())('over $name', (build) => {
  let server: TestPostgres
  let router: TestRouter

  beforeAll(async () => {
    server = await startTestPostgres(build)
    router = await startTestRouter(server, { shards: 2, tables, schema })
  })
  afterAll(async () => {
    await router[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const options = { keyspace: 'app' }
  const execute = (text: string, params: unknown[] = [], more: Record<string, unknown> = {}) =>
    router.post('/v1/execute', { query: text, params, options, ...more })
  const rowsIn = async (shard: ShardId, text: string): Promise<readonly (readonly (string | null)[])[]> => {
    const connection = await server.connect({ database: router.database(shard) })
    try {
      return (await query(connection, text, [])).rows
    } finally {
      await connection.close()
    }
  }

  it('writes each row to the shard that owns its key and reads it back', async () => {
    const owners = new Map<string, string>()
    for (let index = 0; index < 40; index += 1) {
      const key = `user-${String(index)}`
      const written = await execute('insert into users (user_id, name) values ($1, $2) returning user_id', [
        key,
        'é"\n',
      ])
      expect(written).toMatchObject({ status: 200, body: { rows: [{ user_id: key }], row_count: 1 } })
      owners.set(key, String(written.body['shard_id']))
      const read = await execute('select name, user_id from users where user_id = $1', [key])
      expect(read.body).toMatchObject({
        shard_id: owners.get(key),
        rows: [{ name: 'é"\n', user_id: key }],
        columns: [
          { name: 'name', type: 'text' },
          { name: 'user_id', type: 'varchar' },
        ],
        epoch: 7,
      })
    }
    expect(new Set(owners.values())).toEqual(new Set(['s0', 's1']))
    for (const shard of ['s0', 's1'].map(parseShardId)) {
      const rows = await rowsIn(shard, 'select user_id from users')
      for (const [key] of rows) expect(owners.get(key ?? '')).toBe(shard)
    }
  })

  it('tells where a statement would run, and runs it there', async () => {
    const route = async (text: string, more: Record<string, unknown> = {}) =>
      (await router.post('/v1/route', { query: text, options, ...more })).body
    const text = 'select * from users where user_id = $1'
    const placed = await route(text, { params: ['user-1'] })
    expect(placed).toMatchObject({
      plan: 'single',
      hint: null,
      keys: [{ column: 'user_id', values: ['$1'] }],
    })
    expect(placed['shard_id']).toBe((await execute(text, ['user-1'])).body['shard_id'])
    expect(await route(text)).toMatchObject({ plan: 'single', shard_id: null })
    expect(await route('select * from users')).toMatchObject({ plan: 'unkeyed', shard_ids: [] })
    expect(await route('select 1')).toMatchObject({ plan: 'any' })
    expect(await route('begin')).toMatchObject({ plan: 'session' })
    expect(await route('create table x ()')).toMatchObject({ plan: 'refused' })
    const many = Array.from({ length: 30 }, (_, index) => `'user-${String(index)}'`).join(', ')
    expect(await route(`select * from users where user_id in (${many})`)).toMatchObject({
      plan: 'several',
      shard_ids: expect.arrayContaining(['s0', 's1']) as unknown,
    })
    expect(await route('select')).toMatchObject({ plan: 'any' })
    expect(await route('selec')).toMatchObject({ code: 'sql_syntax' })
  })

  it('sends a statement where its hint says, or refuses it', async () => {
    const [one, other] = ['user-1', 'user-2', 'user-3', 'user-4', 'user-5', 'user-6']
    const shardOf = async (key: string): Promise<unknown> =>
      (await execute('select 1', [], { shard_key: key })).body['shard_id']
    const hinted = (key: string, text: string) => execute(`/* fleetshard: shard_key='${key}' */ ${text}`)
    for (const key of [one, other]) {
      const answer = await hinted(key!, 'select count(*) from users')
      expect(answer).toMatchObject({ status: 200, body: { shard_id: await shardOf(key!) } })
    }
    const onShard = await execute("select count(*) from users -- fleetshard: shard='s1'")
    expect(onShard.body['shard_id']).toBe('s1')
    const elsewhere = (await shardOf(one!)) === 's0' ? 's1' : 's0'
    const refused = await execute(
      `insert into users (user_id) values ('${one!}') /* fleetshard: shard='${elsewhere}' */`,
    )
    expect(refused.body['code']).toBe('cross_shard')
    expect((await execute('select 1 /* fleetshard: shrad=1 */')).body['code']).toBe('invalid_request')
    expect((await execute("select 1 /* fleetshard: shard='none' */")).body['code']).toBe('not_found')
  })

  it('answers many at once over shared lanes, each with its own rows', async () => {
    await execute('insert into users (user_id, n) values ($1, 1)', ['lane'])
    for (let round = 0; round < 5; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, index) =>
          execute('select $2::int as i, n from users where user_id = $1', ['lane', index]),
        ),
      )
      for (const [index, { body }] of answers.entries()) expect(body['rows']).toEqual([{ i: index, n: 1 }])
    }
    expect(await router.metrics()).toMatch(/statements_routed_total\{role="primary",way="lane"\} \d{2,}/)
  })

  it('passes on what Postgres says about an error', async () => {
    const answer = await execute('select * from users where user_id = $1 and nme = 1', ['a'])
    expect(answer).toMatchObject({
      status: 400,
      body: {
        code: 'sql_error',
        sqlstate: '42703',
        position: 44,
        retryable: false,
        shard_id: expect.stringMatching(/^s[01]$/) as string,
      },
    })
    await execute('insert into users (user_id) values ($1)', ['twice'])
    const double = await execute('insert into users (user_id) values ($1)', ['twice'])
    expect(double).toMatchObject({
      status: 409,
      body: { sqlstate: '23505', constraint: 'users_user_id_key' },
    })
    const syntax = await execute('selec 1')
    expect(syntax).toMatchObject({
      status: 400,
      body: { code: 'sql_syntax', sqlstate: '42601', position: 1 },
    })
  })

  it.each([
    ['begin', 'statement_refused'],
    ['set work_mem = 1', 'statement_refused'],
    ['set local work_mem = 1', 'statement_refused'],
    ['listen x', 'statement_refused'],
    ['prepare x as select 1', 'statement_refused'],
    ['create temp table t (a int)', 'statement_refused'],
    ['copy users to stdout', 'statement_refused'],
    ['discard all', 'statement_refused'],
    ['select 1; select 2', 'several_statements'],
    ['', 'invalid_request'],
    [' -- nothing', 'invalid_request'],
    ['select * from users', 'shard_key_required'],
    ['select leaves_state()', 'shard_key_required'],
  ])('refuses %s', async (text, code) => {
    const { status, body } = await execute(text)
    expect({ status, code: body['code'] }).toEqual({ status: 400, code })
    expect(body['hint']).toBeTypeOf('string')
  })

  it('refuses bodies that are not the contract', async () => {
    const cases: [string | object, number, string, RegExp][] = [
      ['{', 400, 'malformed_json', /JSON/],
      [{ query: 'select 1', params: [], querry: 1 }, 400, 'invalid_request', /querry/],
      [{ query: 1 }, 400, 'invalid_request', /query/],
      [{}, 400, 'invalid_request', /query/],
      [{ query: 'select 1', options: { timeout_ms: 'x' } }, 400, 'invalid_request', /timeout_ms/],
      [{ query: 'select 1', shard_key: null }, 400, 'invalid_request', /shard_key/],
      [{ query: 'select 1', shard_key: '', options }, 400, 'invalid_shard_key', /empty/],
      [{ query: 'select 1', options: { keyspace: 'nowhere' } }, 404, 'not_found', /nowhere/],
      [
        { query: 'select $1', params: [], shard_key: 'a', options },
        400,
        'invalid_request',
        /1 parameter, but params has 0/,
      ],
      [
        { query: 'select $1::int', params: [1, 2], shard_key: 'a', options },
        400,
        'invalid_request',
        /1 parameter, but params has 2/,
      ],
      [{ query: 'select $1::int', params: [{}], shard_key: 'a', options }, 400, 'parameter_type', /\$1/],
      [{ query: 'select $1::int8', params: [2 ** 53], options }, 400, 'parameter_type', /exact/],
      [{ query: 'select $1::jsonb', params: [{ a: [2 ** 60] }], options }, 400, 'parameter_type', /exact/],
      [deepBody({ options }), 400, 'parameter_type', /too deeply/],
      [deepBody({ options: { ...options, idempotency_key: 'deep' } }), 400, 'parameter_type', /too deeply/],
      [`"${'x'.repeat(11 * 2 ** 20)}"`, 413, 'request_too_large', /larger/],
    ]
    for (const [body, status, code, detail] of cases) {
      const answer = await router.post('/v1/execute', body)
      expect(answer).toMatchObject({
        status,
        body: { code, detail: expect.stringMatching(detail) as string },
      })
    }
  })

  it('carries parameters of every JSON type', async () => {
    const text = `select $1::int as i, $2::text as t, $3::bool as b, $4::jsonb as j, $5::int[] as a, $6::bytea as y,
      $7::numeric as d, $8::text[] as s, $9::int as z, $10::int8 as l`
    const params = [
      1,
      'é',
      true,
      { a: [1] },
      [1, null],
      'AP8=',
      '1.50',
      ['a"b', 'NULL'],
      null,
      '9007199254740993',
    ]
    const { body } = await execute(text, params, { shard_key: 'x' })
    expect(body['rows']).toEqual([
      {
        i: 1,
        t: 'é',
        b: true,
        j: { a: [1] },
        a: [1, null],
        y: 'AP8=',
        d: '1.50',
        s: ['a"b', 'NULL'],
        z: null,
        l: '9007199254740993',
      },
    ])
  })

  it('refuses a result beyond the limit and goes on with the connection', async () => {
    for (const key of ['a', 'b']) {
      const answer = await execute('select generate_series(1, 1000) as n', [], {
        shard_key: key,
        options: { ...options, max_rows: 10 },
      })
      expect(answer).toMatchObject({ status: 413, body: { code: 'result_too_large' } })
    }
    expect((await execute('select 1 as one', [], { shard_key: 'a' })).body['rows']).toEqual([{ one: 1 }])
  })

  it('gives up at the deadline and cancels in Postgres', async () => {
    const answer = await execute('select pg_sleep(60)', [], {
      shard_key: 'a',
      options: { ...options, timeout_ms: 50 },
    })
    expect(answer).toMatchObject({ status: 504, body: { code: 'deadline_exceeded', retryable: true } })
    await expect.poll(() => active(server, 'pg_sleep(60)')).toBe(0)
  })

  it('cancels in Postgres when the client hangs up', async () => {
    const abort = new AbortController()
    const body = JSON.stringify({ query: 'select pg_sleep(61)', shard_key: 'a', options })
    const sent = fetch(`${router.url}/v1/execute`, {
      method: 'POST',
      body,
      signal: abort.signal,
      headers: { 'content-type': 'application/json' },
    })
    await expect.poll(() => active(server, 'pg_sleep(61)')).toBe(1)
    abort.abort()
    await expect(sent).rejects.toThrow()
    await expect.poll(() => active(server, 'pg_sleep(61)')).toBe(0)
  })

  it('leaves no state of one statement to the next', async () => {
    await execute('select leaves_state()', [], { shard_key: 'a' })
    await execute('select pg_advisory_lock(77)', [], { shard_key: 'a' })
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const { body } = await execute(`select coalesce(current_setting('app.tenant', true), '') as t`, [], {
          shard_key: 'a',
        })
        expect(body['rows']).toEqual([{ t: '' }])
      }),
    )
    await expect
      .poll(async () => {
        const { body } = await execute(
          `select count(*)::int as n from pg_locks where locktype = 'advisory' and objid = 77`,
          [],
          { shard_key: 'a' },
        )
        return body['rows']
      })
      .toEqual([{ n: 0 }])
  })

  it('keeps a transaction whole', async () => {
    const transfer = (second: string) =>
      router.post('/v1/transaction', {
        statements: [
          { query: 'insert into users (user_id, n) values ($1, 1) returning n', params: ['tx'] },
          { query: second, params: ['tx'] },
        ],
        options,
      })
    const failed = await transfer('update users set n = n / 0 where user_id = $1')
    expect(failed).toMatchObject({ status: 400, body: { sqlstate: '22012', statement: 1 } })
    expect((await execute('select n from users where user_id = $1', ['tx'])).body['rows']).toEqual([])
    const done = await transfer('update users set n = n + 1 where user_id = $1 returning n')
    expect(done).toMatchObject({
      status: 200,
      body: { results: [{ rows: [{ n: 1 }] }, { rows: [{ n: 2 }], row_count: 1 }] },
    })
    expect((await execute('select n from users where user_id = $1', ['tx'])).body['rows']).toEqual([{ n: 2 }])
  })

  it('holds a request to its promise to read only', async () => {
    const readOnly = { options: { ...options, read_only: true } }
    const plain = await execute('insert into users (user_id) values ($1)', ['ro'], readOnly)
    expect(plain).toMatchObject({ status: 400, body: { code: 'read_only' } })
    const hidden = await execute(`select nextval('users_id_seq')`, [], { shard_key: 'a', ...readOnly })
    expect(hidden).toMatchObject({ status: 400, body: { sqlstate: '25006' } })
  })

  it('goes on after its connections were ended', async () => {
    await execute('insert into users (user_id) values ($1)', ['ended'])
    let acknowledged = 0
    let unknown = 0
    for (let round = 0; round < 5; round += 1) {
      await endRouterConnections(server)
      const [read, write] = await Promise.all([
        execute('select user_id from users where user_id = $1', ['ended']),
        execute('update users set n = n + 1 where user_id = $1', ['ended']),
      ])
      expect(read.status).toBe(200)
      // A write that meets the very end of its connection may leave no trace of what became of it.
      if (write.status === 200) acknowledged += 1
      else {
        expect(write.body['code']).toBe('outcome_unknown')
        unknown += 1
      }
    }
    const { body } = await execute('select n from users where user_id = $1', ['ended'])
    const [{ n }] = body['rows'] as [{ n: number }]
    expect(n).toBeGreaterThanOrEqual(acknowledged)
    expect(n).toBeLessThanOrEqual(acknowledged + unknown)
  })

  it('refuses a database that is not the shard, for now: it may be that of one that was deleted', async () => {
    await using other = await startTestRouter(server, { shards: 1 })
    await other.onShard(parseShardId('s0'), `update fleetshard.shard_state set shard = 'someone-else'`)
    const answer = await other.post('/v1/execute', { query: 'select 1', options })
    expect(answer).toMatchObject({ status: 503, body: { code: 'wrong_database', retryable: true } })
  })

  it('waits for the map that tells where a shard has gone whose database is not its own any more', async () => {
    await using other = await startTestRouter(server, { shards: 2 })
    const ownerOf = async (key: string): Promise<unknown> => {
      const answer = await fetch(`${other.url}/v1/shard-for-key?key=${key}&keyspace=app`)
      return ((await answer.json()) as { shard_id: string }).shard_id
    }
    let key = 'k0'
    for (let n = 1; (await ownerOf(key)) !== 's0'; n += 1) key = `k${String(n)}`
    // As a shard leaves it that was split and deleted.
    await other.onShard(parseShardId('s0'), 'delete from fleetshard.shard_state')
    const waiting = other.post('/v1/execute', { query: 'select 1 as one', shard_key: key, options })
    await expect.poll(async () => await other.metrics()).toMatch(/retried_total\{reason="stale_map"\} [1-9]/)
    other.replace((snapshot) => ownedBy(snapshot, parseShardId('s1')))
    expect(await waiting).toMatchObject({ status: 200, body: { epoch: 8, rows: [{ one: 1 }] } })
  })

  it('waits for the map that the shard asks for', async () => {
    await using other = await startTestRouter(server, { shards: 1 })
    await other.onShard(parseShardId('s0'), 'update fleetshard.shard_state set epoch_min = 8')
    const waiting = other.post('/v1/execute', { query: 'select 1 as one', options })
    await expect.poll(async () => await other.metrics()).toMatch(/retried_total\{reason="stale_map"\} [1-9]/)
    other.replace((snapshot) => ({ ...snapshot, epoch: (snapshot.epoch + 1) as typeof snapshot.epoch }))
    expect(await waiting).toMatchObject({ status: 200, body: { epoch: 8 } })
  })

  it('tells its maps, and what changes in them', async () => {
    await using other = await startTestRouter(server, { shards: 2, tables })
    const whole = await (await fetch(`${other.url}/v1/topology?keyspace=app&vnodes=false`)).json()
    expect(whole).toMatchObject({
      keyspaces: [
        {
          keyspace: { name: 'app', epoch: 7, shard_count: 2 },
          shards: [{ id: 's0', status: 'active', vnode_count: 16 }, { id: 's1' }],
          tables: [{ name: 'public.users', key_column: 'user_id' }],
        },
      ],
    })
    const abort = new AbortController()
    const answer = await fetch(`${other.url}/v1/topology`, {
      headers: { accept: 'text/event-stream' },
      signal: abort.signal,
    })
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    const readUntil = async (part: string): Promise<void> => {
      while (!text.includes(part)) text += (await reader?.read())?.value ?? ''
    }
    await readUntil('event: snapshot')
    other.replace((snapshot) => ({ ...snapshot, epoch: (snapshot.epoch + 1) as typeof snapshot.epoch }))
    await readUntil('event: keyspace\n')
    expect(text).toContain('"epoch":8')
    abort.abort()
  })

  it('serves a readonly shard for reads only, an inactive one not at all', async () => {
    await using other = await startTestRouter(server, { shards: 1, schema })
    const become = (status: 'readonly' | 'inactive'): void => {
      other.replace((snapshot) => ({
        ...snapshot,
        epoch: (snapshot.epoch + 1) as typeof snapshot.epoch,
        shards: snapshot.shards.map((shard) => ({ ...shard, status, version: shard.version + 1 })),
      }))
    }
    become('readonly')
    await expect
      .poll(
        async () =>
          (await other.post('/v1/execute', { query: 'insert into plain values (1)', options })).body['code'],
        { timeout: 10_000 },
      )
      .toBe('shard_not_serving')
    expect(await other.post('/v1/execute', { query: 'select 1', options })).toMatchObject({ status: 200 })
    become('inactive')
    await expect
      .poll(async () => (await other.post('/v1/execute', { query: 'select 1', options })).status, {
        timeout: 10_000,
      })
      .toBe(503)
  })

  it('refuses at once what does not fit the queue, and answers what does', async () => {
    await using other = await startTestRouter(server, {
      shards: 1,
      execute: { connectionsPerNodeMax: 2, lanesPerNodeMax: 0, queueMax: 3, queueWaitMs: 10_000 },
    })
    await other.post('/v1/execute', { query: 'select 1', options })
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => other.post('/v1/execute', { query: 'select pg_sleep(0.2)', options })),
    )
    const statuses = answers.map(({ status }) => status)
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(4)
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThanOrEqual(1)
    expect(statuses.every((status) => status === 200 || status === 429)).toBe(true)
  })
})

async function active(server: TestPostgres, text: string): Promise<number> {
  const connection = await server.connect()
  try {
    const sql = `select count(*) from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()`
    const { rows } = await query(connection, sql, [`%${text}%`])
    return Number(rows[0]?.[0])
  } finally {
    await connection.close()
  }
}

async function endRouterConnections(server: TestPostgres): Promise<void> {
  const connection = await server.connect()
  try {
    await query(
      connection,
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'fleetshard/router%'`,
      [],
    )
  } finally {
    await connection.close()
  }
}
