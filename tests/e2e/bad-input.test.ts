// What hostile or clumsy clients send to a running router, and what they get: one clear answer, and a router that
// goes on for everybody else.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ShardMap } from '@fleetshard/core'
import type { Shard } from '@fleetshard/core/contract'
import { insertUser, startCluster, type Cluster } from './harness/cluster.ts'
import { readText, send, type Answer, type Executed } from './harness/http.ts'
import { keyOn, ownerOf, shardMapOf } from './harness/shard-map.ts'
import { until } from './harness/until.ts'

/** Connections to one server, few enough to fill. */
const connectionsMax = 6

let cluster: Cluster
let map: ShardMap
beforeAll(async () => {
  cluster = await startCluster({
    up: [
      '--replicas',
      '0',
      `--router-connections-per-node=${String(connectionsMax)}`,
      '--router-queue-wait-ms=20s',
    ],
  })
  await cluster.makeUsers()
  map = await shardMapOf(cluster)
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

const key = 'user-1'
const execute = (body: unknown): Promise<Answer<Executed>> => cluster.execute(body)

/** Statements with that mark that run on the key's shard now. */
async function running(mark: string, shardKey = key): Promise<number> {
  const query = `SELECT count(*)::int4 AS n FROM pg_stat_activity
    WHERE state <> 'idle' AND pid <> pg_backend_pid() AND query LIKE '%' || $1 || '%'`
  const { body } = await execute({ shard_key: shardKey, query, params: [mark] })
  return Number(body.rows[0]?.['n'])
}

async function noneRuns(mark: string): Promise<void> {
  await until(`no ${mark} runs any more`, async () => (await running(mark)) === 0)
}

describe('requests that are not valid', () => {
  test.each([
    { what: 'malformed JSON', body: '{"query": ', status: 400, code: 'malformed_json' },
    { what: 'an empty body', body: '', status: 400, code: 'malformed_json' },
    { what: 'a number as body', body: '7', status: 400, code: 'invalid_request' },
    {
      what: 'an unknown field',
      body: { query: 'SELECT 1', shrad_key: 'a' },
      code: 'invalid_request',
      says: 'shrad_key',
    },
    {
      what: 'an unknown option',
      body: { query: 'SELECT 1', options: { max_row: 1 } },
      code: 'invalid_request',
      says: 'max_row',
    },
    { what: 'a query that is a number', body: { query: 1 }, code: 'invalid_request', says: 'query' },
    {
      what: 'params that are no list',
      body: { query: 'SELECT 1', params: 'x' },
      code: 'invalid_request',
      says: 'params',
    },
    { what: 'no query', body: { shard_key: key }, code: 'invalid_request', says: 'query' },
    {
      what: 'an unknown consistency',
      body: { shard_key: key, query: 'SELECT 1', consistency: 'weak' },
      code: 'invalid_request',
      says: 'consistency',
    },
    { what: 'an empty key', body: { shard_key: '', query: 'SELECT 1' }, code: 'invalid_shard_key' },
    {
      what: 'a key that is null',
      body: { shard_key: null, query: 'SELECT 1' },
      code: 'invalid_request',
      says: 'shard_key',
    },
    {
      what: 'a row whose key is NULL',
      body: {
        query: 'INSERT INTO users (user_id, name, email) VALUES ($1, $2, $3)',
        params: [null, 'a', 'b'],
      },
      code: 'invalid_shard_key',
    },
    {
      what: 'no key where one is needed',
      body: { query: 'SELECT * FROM users' },
      code: 'shard_key_required',
    },
    {
      what: 'an unknown keyspace',
      body: { query: 'SELECT 1', options: { keyspace: 'nowhere' } },
      status: 404,
      code: 'not_found',
    },
  ])('$what', async ({ body, status = 400, code, says }) => {
    const answer = await execute(body)
    expect(answer).toMatchObject({ status, body: { code } })
    expect(answer.headers.get('content-type')).toContain('application/problem+json')
    if (says !== undefined) expect(answer.body.detail).toContain(says)
  })

  test('a body of 11 MB', async () => {
    const answer = await execute({
      shard_key: key,
      query: 'SELECT $1',
      params: ['x'.repeat(11 * 1024 * 1024)],
    })
    expect(answer).toMatchObject({ status: 413, body: { code: 'request_too_large' } })
  })

  test('another content type', async () => {
    const answer = await cluster.router('POST', '/v1/execute', 'SELECT 1', { 'content-type': 'text/plain' })
    expect(answer).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } })
  })

  test('an unknown path, and a wrong method', async () => {
    expect(await cluster.router('GET', '/v1/nothing')).toMatchObject({
      status: 404,
      body: { code: 'route_not_found' },
    })
    expect(await cluster.router('GET', '/v1/execute')).toMatchObject({
      status: 405,
      body: { code: 'method_not_allowed', hint: 'use POST' },
    })
  })
})

describe('statements that are refused, with the way out', () => {
  test.each([
    'BEGIN',
    'COMMIT',
    'ROLLBACK',
    'SAVEPOINT a',
    "SET work_mem = '1MB'",
    'LISTEN a',
    'UNLISTEN *',
    'PREPARE a AS SELECT 1',
    'DECLARE c CURSOR FOR SELECT 1',
    'DISCARD ALL',
    'LOCK TABLE users',
    'COPY users TO STDOUT',
    'CREATE TABLE a (b int)',
    'CREATE TEMP TABLE a (b int)',
  ])('%s', async (query) => {
    const { status, body } = await execute({ shard_key: key, query })
    expect({ status, code: body.code }).toEqual({ status: 400, code: 'statement_refused' })
    expect(body.hint).toBeTruthy()
  })

  test('several statements at once', async () => {
    const { status, body } = await execute({ shard_key: key, query: 'SELECT 1; SELECT 2' })
    expect({ status, code: body.code }).toEqual({ status: 400, code: 'several_statements' })
    expect(body.hint).toContain('/v1/transaction')
  })

  test('a SET that is refused leaves nothing behind for others', async () => {
    await execute({ shard_key: key, query: "SELECT set_config('application_name', 'left behind', false)" })
    for (let attempt = 0; attempt < connectionsMax * 2; attempt += 1) {
      const { body } = await execute({
        shard_key: key,
        query: "SELECT current_setting('application_name') AS name",
      })
      expect(body.rows[0]?.['name']).not.toBe('left behind')
    }
  })
})

describe('errors of Postgres are passed on', () => {
  test('a syntax error with its position', async () => {
    const { status, body } = await execute({ shard_key: key, query: 'SELECT 1 FROM WHERE' })
    expect(status).toBe(400)
    expect(body).toMatchObject({ code: 'sql_syntax', sqlstate: '42601', position: 15 })
  })

  test('an unknown column with SQLSTATE, position and shard', async () => {
    const { status, body } = await execute({ shard_key: key, query: 'SELECT nothing FROM users' })
    expect(status).toBe(400)
    expect(body).toMatchObject({ code: 'sql_error', sqlstate: '42703', position: 8 })
    expect(body.shard_id).toMatch(/^shard-0[12]$/)
  })

  test('a broken constraint', async () => {
    await execute(insertUser('twice'))
    const { status, body } = await execute(insertUser('twice'))
    expect(status).toBe(409)
    expect(body).toMatchObject({ code: 'sql_error', sqlstate: '23505' })
  })

  test('a division by zero inside a transaction rolls all of it back', async () => {
    const answer = await cluster.router('POST', '/v1/transaction', {
      shard_key: 'rolled-back',
      statements: [insertUser('rolled-back'), { query: 'SELECT 1/0' }].map(({ query, ...rest }) => ({
        query,
        ...('params' in rest ? { params: rest.params } : {}),
      })),
    })
    expect(answer).toMatchObject({ status: 400, body: { sqlstate: '22012' } })
    const read = { query: 'SELECT 1 FROM users WHERE user_id = $1', params: ['rolled-back'] }
    expect((await execute(read)).body).toMatchObject({ row_count: 0 })
  })
})

describe('bounds', () => {
  test('a result of too many rows is an error, never cut', async () => {
    const query = 'SELECT n FROM generate_series(1, 11) AS n'
    const over = await execute({ shard_key: key, query, options: { max_rows: 10 } })
    expect(over).toMatchObject({ status: 413, body: { code: 'result_too_large' } })
    const within = await execute({ shard_key: key, query, options: { max_rows: 11 } })
    expect(within.body).toMatchObject({ row_count: 11 })
  })

  test('a result of too many bytes', async () => {
    const query = "SELECT repeat('x', 100000) AS x FROM generate_series(1, 100)"
    const over = await execute({ shard_key: key, query, options: { max_bytes: 1_000_000 } })
    expect(over).toMatchObject({ status: 413, body: { code: 'result_too_large' } })
    await noneRuns("repeat('x', 100000)")
  })

  test('a deadline that passes in the database: cancelled there', async () => {
    const query = 'SELECT pg_sleep(60) /* slow-one */'
    const late = await execute({ shard_key: key, query, options: { timeout_ms: 300 } })
    expect(late).toMatchObject({ status: 504, body: { code: 'deadline_exceeded', sqlstate: '57014' } })
    await noneRuns('slow-one')
  })

  test('a deadline that passes in the queue: never sent', async () => {
    const stop = new AbortController()
    const holders = Array.from({ length: connectionsMax * 2 }, () =>
      fetch(`${cluster.state.urls.router}/v1/execute`, {
        method: 'POST',
        signal: stop.signal,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ shard_key: key, query: 'SELECT pg_sleep(60) /* holder */' }),
      }).catch(() => null),
    )
    const other = keyOn(map, otherShard(), 'other')
    await until('statements wait for a connection', async () => (await waiting()) > 0)
    const insert = { ...insertUser(key), options: { timeout_ms: 300 } }
    const late = await execute(insert)
    expect(late).toMatchObject({ status: 504, body: { code: 'deadline_exceeded' } })
    expect((await execute({ shard_key: other, query: 'SELECT 1' })).status).toBe(200)
    stop.abort()
    await Promise.all(holders)
    await noneRuns('holder')
    const read = { query: 'SELECT 1 FROM users WHERE user_id = $1', params: [key] }
    expect((await execute(read)).body).toMatchObject({ row_count: 0 })
  })

  test('a client that hangs up: its statement is cancelled in Postgres', async () => {
    const stop = new AbortController()
    const asked = fetch(`${cluster.state.urls.router}/v1/execute`, {
      method: 'POST',
      signal: stop.signal,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ shard_key: key, query: 'SELECT pg_sleep(60) /* hung-up */' }),
    })
    await until('it runs', async () => (await running('hung-up')) === 1)
    stop.abort()
    await expect(asked).rejects.toThrow()
    await noneRuns('hung-up')
  })
})

/** The shard that does not own `key`. */
function otherShard(): string {
  const own = ownerOf(map, key)
  return map.owners.find(({ id }) => id !== own)?.id ?? own
}

/** Statements that wait for a connection, over all servers, by the router's own metrics. */
async function waiting(): Promise<number> {
  const metrics = await readText(`${cluster.state.urls.routerMetrics}/metrics`)
  const lines = metrics.matchAll(/^fleetshard_node_connections\{[^}]*state="waiting"[^}]*\} (\d+)$/gm)
  return [...lines].reduce((sum, [, count]) => sum + Number(count), 0)
}

describe('shards that don’t serve', () => {
  test('a dead shard: its keys are refused quickly, others go on, and it is back when its server is', async () => {
    const [dead, alive] = map.owners.map(({ id }) => id)
    const { body } = await cluster.manager<Shard>('GET', `/api/v1/shards/${dead ?? ''}`)
    const node = body.nodes[0]?.id ?? ''
    await agent('POST', `/v1/servers/${node}/stop`, { mode: 'immediate' })
    const refused = await execute({ shard_key: keyOn(map, dead ?? ''), query: 'SELECT 1' })
    expect(refused).toMatchObject({ status: 503, body: { code: 'shard_unavailable', retryable: true } })
    expect((await execute({ shard_key: keyOn(map, alive ?? ''), query: 'SELECT 1' })).status).toBe(200)
    await agent('POST', `/v1/servers/${node}/start`, {})
    await until('the shard serves again', async () => {
      return (await execute({ shard_key: keyOn(map, dead ?? ''), query: 'SELECT 1' })).status === 200
    })
  })

  test('a readonly shard reads and does not write; an inactive one does neither', async () => {
    const [shard] = map.owners
    const user = keyOn(map, shard?.id ?? '', 'states')
    const read = { query: 'SELECT 1 FROM users WHERE user_id = $1', params: [user] }
    const write = { query: 'UPDATE users SET name = $2 WHERE user_id = $1', params: [user, 'another'] }
    const statusOf = async (body: unknown): Promise<number> => (await execute(body)).status
    await setStatus(shard?.id ?? '', 'readonly')
    await until('writes are refused', async () => (await statusOf(write)) === 503)
    expect((await execute(write)).body).toMatchObject({ code: 'shard_not_serving' })
    expect(await statusOf(read)).toBe(200)
    await setStatus(shard?.id ?? '', 'inactive')
    await until('reads are refused', async () => (await statusOf(read)) === 503)
    await setStatus(shard?.id ?? '', 'active')
    await until('writes are taken', async () => (await statusOf(write)) === 200)
  })
})

async function setStatus(shard: string, status: string): Promise<void> {
  const answer = await cluster.manager('PATCH', `/api/v1/shards/${shard}`, { status })
  expect(answer).toMatchObject({ status: 200, body: { status } })
}

async function agent(method: string, path: string, body: unknown): Promise<void> {
  const token = readFileSync(join(cluster.dataDir, 'agent.token'), 'utf8').trim()
  const answer = await send(method, `${cluster.state.urls.agent}${path}`, body, {
    authorization: `Bearer ${token}`,
  })
  expect(answer.status).toBe(200)
}
