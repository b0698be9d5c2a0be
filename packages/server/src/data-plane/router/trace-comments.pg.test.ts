// The trace of a statement on its way to the shard: a comment that pg_stat_activity shows, in the text of what is
// recorded and of nothing else; what clients are answered, and what servers keep, is as without it.
import { randomBytes } from 'node:crypto'
import { Client, type QueryConfig } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { ShardId } from '@fleetshard/core'
import { writeBind, writeExecute, writeParse, writeSync } from '@fleetshard/routing/pgwire'
import { testTable } from '@fleetshard/routing/testing'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import type { SpanOptions, TraceSpan, Tracing } from '../../runtime/mod.ts'
import { errorOf, RawClient, rowsOf } from './listeners/pgwire/testing.ts'
import { startTestRouter, type TestRouter } from './testing.ts'

/** Keeps the spans that were begun. */
class Recorder implements Tracing {
  isOn = true
  readonly spans: { name: string; traceparent: string; parent: string | null }[] = []

  begin(name: string, { parent }: SpanOptions & { readonly parent: string | null }): TraceSpan {
    return this.#span(name, parent)
  }

  beginRecorded(name: string, options: SpanOptions & { readonly parent: string | null }): TraceSpan | null {
    const span = this.begin(name, options)
    return span.isRecorded ? span : null
  }

  shutdown(): Promise<void> {
    return Promise.resolve()
  }

  #span(name: string, parent: string | null): TraceSpan {
    const traceId = parent?.split('-')[1] ?? randomBytes(16).toString('hex')
    const isRecorded = parent === null ? this.isOn : parent.endsWith('-01')
    const traceparent = `00-${traceId}-${randomBytes(8).toString('hex')}-${isRecorded ? '01' : '00'}`
    this.spans.push({ name, traceparent, parent })
    const nothing = (): void => undefined
    return {
      traceId,
      traceparent,
      isRecorded,
      child: (child) => this.#span(child, traceparent),
      rename: nothing,
      set: nothing,
      fail: nothing,
      end: nothing,
    }
  }
}

const recorder = new Recorder()
let server: TestPostgres
let router: TestRouter
let client: Client
let shard: ShardId
beforeAll(async () => {
  server = await startTestPostgres(postgresBuilds()[0]!)
  router = await startTestRouter(server, {
    shards: 1,
    tables: [testTable('public.users')],
    schema: 'create table users (user_id text primary key, n int default 0); create table copied (a text)',
    tracing: recorder,
  })
  shard = router.snapshot().shards[0]!.id
  client = new Client({ host: '127.0.0.1', port: router.wirePort, user: 'me', database: 'app' })
  await client.connect()
})
afterAll(async () => {
  await client.end()
  await router[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})
afterEach(() => {
  recorder.isOn = true
  recorder.spans.length = 0
})

/** What connections of the router have run last, as far as it has that word in it. */
async function seen(word: string): Promise<(string | null)[]> {
  const sql = `select query from pg_stat_activity
    where pid <> pg_backend_pid() and datname = current_database() and query like '%${word}%'`
  return (await router.rowsIn(shard, sql)).map(([query]) => query ?? null)
}

/** The comment of the span that waits for the shard. */
const ofShard = (): string =>
  `/*traceparent='${recorder.spans.findLast(({ name }) => name === 'shard')?.traceparent ?? ''}'*/`

const execute = (query: string, more: Record<string, unknown> = {}): ReturnType<TestRouter['post']> =>
  router.post('/v1/execute', { query, shard_key: 'u1', options: { keyspace: 'app' }, ...more })

const theirs = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

describe('on the Postgres port', () => {
  const named: QueryConfig = { name: 'kept', text: 'select $1::text as kept_one', values: ['x'] }
  it.each<[string, string | QueryConfig, string, string?]>([
    ['a query', `select 'plain_one'`, 'plain_one'],
    ['a query for one row', `select n from users where user_id = 'lookup_one'`, 'lookup_one'],
    ['a query that ends in a comment', `select 'line_one' -- so`, 'line_one', '\n'],
    ['several statements', `select 'many_one'; select 2;`, 'many_one'],
    [
      'a statement that is prepared for once',
      { text: `select $1::text as once_one`, values: ['x'] },
      'once_one',
    ],
    ['one that is kept', named, 'kept_one'],
    ['the same again', named, 'kept_one'],
    ['a write', `insert into users (user_id) values ('write_one') on conflict do nothing`, 'write_one'],
    ['a COPY', `copy (select 'copy_one') to stdout`, 'copy_one'],
  ])('%s goes to the shard with the trace', async (_what, asked, word, gap = ' ') => {
    // From the third use on a Query may be one that the lane has prepared.
    for (let count = 0; count < 4; count += 1) await client.query(asked as string).catch(noCopy)
    const text = typeof asked === 'string' ? asked : asked.text
    expect(await seen(word)).toContain(`${text}${gap}${ofShard()}`)
  })

  it('in place of the span that the client names', async () => {
    await client.query(`select 'theirs_one' /*app='x',traceparent='${theirs}'*/`)
    expect(recorder.spans[0]?.parent).toBe(theirs)
    const [ours] = ofShard().match(/traceparent='.*'/) ?? ['']
    expect(ours).toContain('0af7651916cd43dd8448eb211c80319c')
    expect(await seen('theirs_one')).toEqual([`select 'theirs_one' /*app='x',${ours}*/`])
  })

  it('as it was where nobody records it', async () => {
    recorder.isOn = false
    await client.query(`select 'quiet_one'`)
    await client.query({ text: `select $1::text as quiet_one`, values: ['x'] })
    const notSampled = `select 'quiet_one' /*traceparent='${theirs.replace(/01$/, '00')}'*/`
    await client.query(notSampled)
    const all = await seen('quiet_one')
    expect(all.length).toBeGreaterThan(0)
    for (const text of all) expect(text === notSampled || !text?.includes('traceparent')).toBe(true)
  })

  it('in transactions and by SQL’s own PREPARE, with the answers of always', async () => {
    await client.query('begin')
    await client.query(`insert into users (user_id, n) values ('in_one', 5)`)
    const { rows } = await client.query<{ n: number }>(`select n from users where user_id = 'in_one'`)
    await client.query('rollback')
    expect(rows).toEqual([{ n: 5 }])
    await client.query('prepare asked (text) as select $1 || user_id as prepared_one from users limit 0')
    const { fields } = await client.query(`execute asked ('x')`)
    expect(fields.map(({ name }) => name)).toEqual(['prepared_one'])
    await client.query('deallocate asked')
  })

  it('errors tell the place in the text of the client', async () => {
    const text = `select user_id,\n  nowhere from users where user_id = 'u1'`
    for (const asked of [text, { text }, { name: 'wrong', text }])
      await expect(client.query(asked as string)).rejects.toMatchObject({ code: '42703', position: '19' })
  })

  it('errors name the statement of the client, and portals may have names', async () => {
    await using raw = await RawClient.open(router.wirePort)
    const send = (portal: string, params: readonly string[]): ReturnType<RawClient['until']> => {
      raw.send((out) => {
        writeBind(out, { portal, statement: 'pair', params, resultFormats: [] })
        writeExecute(out, portal, 0)
        writeSync(out)
      })
      return raw.until('Z')
    }
    raw.send((out) => {
      writeParse(out, 'pair', 'select $1::int + $2::int')
      writeSync(out)
    })
    await raw.until('Z')
    for (const portal of ['', 'own', 'own']) {
      expect(rowsOf(await send(portal, ['1', '2']))).toEqual([['3']])
      expect(errorOf(await send(portal, ['1']))?.message).toContain('prepared statement "pair" requires 2')
    }
  })

  it('one that does not fit its tables any more is refused as always', async () => {
    const asked = { name: 'fits', text: `select * from users where user_id = 'fits_one'` }
    const before = [await client.query(asked), await client.query(asked), await client.query(asked)]
    expect(before.map(({ fields }) => fields.length)).toEqual([2, 2, 2])
    await router.onShard(shard, 'alter table users add column more int')
    try {
      await expect(client.query(asked)).rejects.toMatchObject({
        code: '0A000',
        message: 'cached plan must not change result type',
      })
    } finally {
      await router.onShard(shard, 'alter table users drop column more')
    }
  })
})

describe('over HTTP', () => {
  it.each([
    ['a read', `select $1::text as http_read`, 'http_read'],
    ['a write', `update users set n = 1 where user_id = $1 /* http_write */`, 'http_write'],
  ])('%s goes to the shard with the trace', async (_what, query, word) => {
    for (let count = 0; count < 3; count += 1) {
      expect(await execute(query, { params: ['u1'] })).toMatchObject({ status: 200 })
      expect(await seen(word)).toContain(`${query} ${ofShard()}`)
    }
  })

  it('and so do writes under a key, and statements of transactions', async () => {
    const options = { keyspace: 'app', idempotency_key: 'k1' }
    const query = `insert into users (user_id) values ('keyed_one') returning (select query from pg_stat_activity
      where pid = pg_backend_pid()) as sent`
    const first = await execute(query, { options })
    expect(first.body['rows']).toEqual([{ sent: `${query} ${ofShard()}` }])
    // Another trace, and the same write.
    expect((await execute(query, { options })).body).toMatchObject({
      replayed: true,
      rows: first.body['rows'],
    })
    const own = 'select query as sent from pg_stat_activity where pid = pg_backend_pid()'
    const statements = [{ query: own }, { query: own }]
    const together = await router.post('/v1/transaction', {
      shard_key: 'u1',
      statements,
      options: { keyspace: 'app' },
    })
    const row = { sent: `${own} ${ofShard()}` }
    expect(together.body['results']).toMatchObject([{ rows: [row] }, { rows: [row] }])
    const begun = await router.post('/v1/transactions', { shard_key: 'u1', options: { keyspace: 'app' } })
    const at = `/v1/transactions/${String(begun.body['transaction_id'])}`
    expect((await router.post(`${at}/execute`, { query: own })).body['rows']).toEqual([
      { sent: `${own} ${ofShard()}` },
    ])
    await router.post(`${at}/rollback`, {})
  })

  it('as it was where nobody records it', async () => {
    recorder.isOn = false
    await execute(`select 'http_quiet'`)
    expect(await seen('http_quiet')).toEqual([`select 'http_quiet'`])
  })

  it('servers keep no text with a trace', async () => {
    const query = 'select count(*)::int as n from pg_prepared_statements where statement like $1'
    for (const like of ['%traceparent=%', '%traceparent=%', '%traceparent=%']) {
      const { body } = await execute(query, { params: [like] })
      expect(body['rows']).toEqual([{ n: 0 }])
      const { rows } = await client.query(query, [like])
      expect(rows).toEqual([{ n: 0 }])
    }
  })

  it('a column of another type since is no error', async () => {
    const query = 'select n from users where n = $1'
    for (let count = 0; count < 4; count += 1)
      expect((await execute(query, { params: [7] })).status).toBe(200)
    await router.onShard(shard, 'alter table users alter column n type text using n::text')
    try {
      for (let count = 0; count < 4; count += 1)
        expect(await execute(query, { params: ['8'] })).toMatchObject({ status: 200 })
    } finally {
      await router.onShard(shard, 'alter table users alter column n type int using n::int')
    }
  })
})

/** The driver takes no COPY; the server has run it. */
const noCopy = (error: Error): void => {
  if (!error.message.includes('COPY')) throw error
}
