// Answers as streams of lines, over a real server: rows as they come, slow readers, clients that go away, and errors
// in the middle.
import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { parseShardId } from '@fleetshard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { query, type ServerConnection } from '@fleetshard/routing/wire'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { testTable } from '@fleetshard/routing/testing'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = 'create table users (user_id text primary key, n bigint default 0)'
const keyspace = { keyspace: 'app' }
const slowReaderMs = 1_000

describe('an answer as a stream', () => {
  let server: TestPostgres
  let router: TestRouter
  let direct: ServerConnection

  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
    router = await startTestRouter(server, {
      shards: 1,
      tables: [testTable('public.users')],
      schema,
      query: { resultRowsMax: 10, resultBytesMax: 1_000 },
      endpoint: { slowReaderMs },
    })
    direct = await server.connect({ database: router.database(parseShardId('s0')) })
  })
  afterAll(async () => {
    await direct.close()
    await router[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  const headers = { 'content-type': 'application/json', accept: 'application/x-ndjson' }
  const send = (text: string, options: Record<string, unknown> = {}, url = router.url) =>
    fetch(`${url}/v1/execute`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ query: text, options: { ...keyspace, ...options } }),
    })
  const linesOf = async (text: string, options = {}, url = router.url): Promise<unknown[]> => {
    const body = await (await send(text, options, url)).text()
    return body
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown)
  }
  /** A client that takes the head of the answer and nothing more. */
  const open = async (text: string): Promise<IncomingMessage> => {
    const sent = request(`${router.url}/v1/execute`, { method: 'POST', headers })
    sent.on('error', () => undefined)
    sent.end(JSON.stringify({ query: text, options: keyspace }))
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    response.on('error', () => undefined)
    return response
  }
  const busy = async (): Promise<number> => {
    const { rows } = await query(
      direct,
      `select count(*) from pg_stat_activity where application_name like 'fleetshard/router%' and state <> 'idle'
         and datname = current_database()`,
      [],
    )
    return Number(rows[0]?.[0])
  }
  const wide = (rows: number): string =>
    `select generate_series(1, ${String(rows)}) as i, repeat('x', 1000) as wide`

  it('has a line for the columns, one for each row and one for the end, without a limit of rows', async () => {
    const answer = await send('select i::int8, null as nothing from generate_series(1, 5000) i')
    expect(answer.headers.get('content-type')).toBe('application/x-ndjson')
    const text = await answer.text()
    expect(text.endsWith('}}\n')).toBe(true)
    const lines = text.trimEnd().split('\n')
    expect(JSON.parse(lines[0] ?? '')).toEqual({
      shard_id: 's0',
      node: router.database(parseShardId('s0')),
      epoch: 7,
      columns: [
        { name: 'i', type: 'int8' },
        { name: 'nothing', type: 'text' },
      ],
    })
    expect(lines).toHaveLength(5002)
    expect(lines[5000]).toBe('["5000",null]')
    expect(JSON.parse(lines[5001] ?? '')).toMatchObject({
      end: { row_count: 5000, latency_ms: expect.any(Number) as number },
    })
  })

  it('also answers what has no rows, and limits that are asked for', async () => {
    expect(await linesOf('select 1 where false')).toMatchObject([
      { columns: [{ type: 'int4' }] },
      { end: { row_count: 0 } },
    ])
    expect(await linesOf(`insert into users values ('streamed')`)).toMatchObject([
      { columns: [], shard_id: 's0' },
      { end: { row_count: 1 } },
    ])
    const lines = await linesOf(wide(1_000), { max_rows: 5 })
    expect(lines.at(-1)).toMatchObject({ error: { code: 'result_too_large', outcome: 'aborted' } })
  })

  it('is an ordinary error before the first row, and a last line after it', async () => {
    const refused = await send('select nothing')
    expect([refused.status, await refused.json()]).toMatchObject([
      400,
      { sqlstate: '42703', outcome: 'aborted' },
    ])
    const lines = await linesOf('select 1 / (5000 - i) as q from generate_series(1, 6000) i')
    expect(lines.at(-1)).toMatchObject({
      error: { code: 'sql_error', sqlstate: '22012', outcome: 'aborted' },
    })
    expect(await linesOf('select 1 as one', { idempotency_key: 'read' })).toHaveLength(3)
  })

  it('holds the server back while its client does not read, and goes on afterwards', async () => {
    const rows = 60_000
    const response = await open(wide(rows))
    response.pause()
    await expect
      .poll(async () => {
        const { rows: waiting } = await query(
          direct,
          `select count(*) from pg_stat_activity where wait_event = 'ClientWrite'`,
          [],
        )
        return waiting[0]?.[0]
      })
      .toBe('1')
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(60_000_000)
    let text = ''
    response.setEncoding('utf8')
    for await (const chunk of response) text = (text + String(chunk)).slice(-200)
    expect(text).toContain(`{"end":{"row_count":${String(rows)}`)
    // The connection serves others as before.
    await expect.poll(busy).toBe(0)
    expect(await linesOf('select 1 as one')).toHaveLength(3)
  })

  it('takes longer than a statement may where only the reading does, unless its client names a time', async () => {
    await using hasty = await startTestRouter(server, { shards: 1, query: { statementTimeoutMs: 2_000 } })
    const lines = (text: string, options = {}): Promise<unknown[]> => linesOf(text, options, hasty.url)
    // The first statement also connects and reads the schema.
    await expect
      .poll(async () => (await send('select 1', {}, hasty.url)).status, { timeout: 20_000 })
      .toBe(200)
    expect(await lines('select pg_sleep(30)')).toMatchObject([{ status: 504, code: 'deadline_exceeded' }])
    const rows = `select i, repeat('x', 8000), pg_sleep(0.03) from generate_series(1, 120) i`
    expect((await lines(rows)).at(-1)).toMatchObject({ end: { row_count: 120 } })
    // Where its time is over before the first row it is an ordinary error.
    await expect
      .poll(async () => (await lines(rows, { timeout_ms: 1_500 })).at(-1), { timeout: 30_000 })
      .toMatchObject({ error: { code: 'deadline_exceeded', outcome: 'aborted' } })
  }, 60_000)

  it('is cancelled when its client goes away or reads nothing for too long', async () => {
    const gone = await open(wide(10_000_000))
    await expect.poll(busy).toBe(1)
    gone.destroy()
    await expect.poll(busy, { timeout: 5_000 }).toBe(0)
    const stuck = await open(wide(10_000_000))
    stuck.pause()
    await expect.poll(busy, { timeout: 10_000 }).toBe(0)
    stuck.destroy()
    await expect.poll(() => router.metrics()).toMatch(/node_connections\{[^}]*state="lent"\} 0/)
    expect(await linesOf('select 1 as one')).toHaveLength(3)
  }, 30_000)

  it('tells when the server is lost in the middle, and is not sent again', async () => {
    const response = await open(wide(10_000_000))
    response.pause()
    const { rows } = await query(
      direct,
      `select pg_terminate_backend(pid) from pg_stat_activity where query like '%10000000%'
         and pid <> pg_backend_pid()`,
      [],
    )
    expect(rows).toHaveLength(1)
    let text = ''
    for await (const chunk of response) text = (text + String(chunk)).slice(-2000)
    expect(text).toContain('"code":"shard_unavailable"')
  })
})
