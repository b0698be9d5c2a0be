// Errors: a code, what became of the statement, what to do.
import { ERRORS } from '@fleetshard/core'
import { connect } from '@fleetshard/client'
import { createServer, type AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import type { ConformanceContext } from '../conformance.ts'
import { failureOf } from '../failure.ts'

/** The cases. */
export function errorCases(context: () => ConformanceContext): void {
  it.each([
    ['syntax', 'selekt 1', { code: 'sql_syntax', sqlstate: '42601' }],
    ['two statements', 'select 1; select 2', { code: 'several_statements' }],
    ['an unknown table', `select * from nowhere`, { code: 'shard_key_required' }],
    ['division by zero', 'select 1/0', { code: 'sql_error', sqlstate: '22012' }],
    ['no statement', '  ', { code: 'invalid_request' }],
    ['SET', 'set work_mem = 1000', { code: 'statement_refused' }],
    ['a NUL character', 'select 1 -- \0', { code: 'invalid_request' }],
  ])('tells of %s', async (_name, text, expected) => {
    const error = await failureOf(context().db.query(text))
    expect(error).toMatchObject({ ...expected, outcome: 'aborted' })
    expect(error.hint.length).toBeGreaterThan(0)
    expect(ERRORS).toHaveProperty(error.code)
  })

  it('tells of a wrong number of parameters', async () => {
    const error = await failureOf(context().db.query('select $1::text', []))
    expect(error.code).toBe('invalid_request')
  })

  it('passes on what Postgres says', async () => {
    const { db } = context()
    await db.sql`insert into users (user_id) values ('twice')`
    const error = await failureOf(db.sql`insert into users (user_id) values ('twice')`)
    expect(error).toMatchObject({
      code: 'sql_error',
      sqlstate: '23505',
      outcome: 'aborted',
      retryable: false,
    })
    expect(error.facts['shard_id']).toBe(db.shardFor('twice').shardId)
  })

  it('refuses null as a key', () => {
    const { db } = context()
    for (const key of [null, undefined]) {
      expect(() => db.shard(key as never)).toThrow(expect.objectContaining({ code: 'invalid_shard_key' }))
      expect(() => db.shardFor(key as never)).toThrow(expect.objectContaining({ code: 'invalid_shard_key' }))
    }
  })

  it('refuses NULL as the key of a row, before anything is sent', async () => {
    const { db } = context()
    for (const text of [
      'insert into users (user_id) values ($1)',
      'update users set n = 1 where user_id = $1',
    ]) {
      const error = await failureOf(db.query(text, [null]))
      expect(error).toMatchObject({ code: 'invalid_shard_key', outcome: 'aborted' })
    }
  })

  it('refuses an empty key', async () => {
    const error = await failureOf(context().db.shard('').sql`select 1`)
    expect(error).toMatchObject({ code: 'invalid_shard_key', outcome: 'aborted' })
  })

  it('says that a keyspace does not exist', async () => {
    const error = await failureOf(context().connect({ keyspace: 'nowhere' }))
    expect(error).toMatchObject({ code: 'not_found' })
    expect((await failureOf(context().connect({ keyspace: 'No Name' }))).code).toBe('invalid_id')
  })

  it('refuses results beyond its limit', async () => {
    await using db = await context().connect({ rowsMax: 10 })
    expect((await db.query('select * from generate_series(1, 10) n')).rowCount).toBe(10)
    const error = await failureOf(db.query('select * from generate_series(1, 11) n'))
    expect(error.code).toBe('result_too_large')
    expect(await db.sql`select 1 as one`).toEqual([{ one: 1 }])
  })

  it('refuses calls after its end', async () => {
    const db = await context().connect()
    await db.close()
    await db.close()
    const error = await failureOf(db.query('select 1'))
    expect(error).toMatchObject({ code: 'shutting_down', outcome: 'aborted', retryable: false })
  })
}

/** Those of the way to a router. */
export function routerErrorCases(context: () => ConformanceContext): void {
  it('says that no router can be reached', async () => {
    const url = `http://127.0.0.1:${String(await closedPort())}`
    const error = await failureOf(connect({ url, mode: context().mode }))
    expect(error).toMatchObject({ code: 'server_unreachable', outcome: 'aborted' })
    expect((await failureOf(connect({ mode: context().mode }))).code).toBe('invalid_request')
    expect((await failureOf(connect({ url: 'nonsense', mode: context().mode }))).code).toBe('invalid_request')
  })

  it('does not wait for a router that accepts and never answers', async () => {
    const server = createServer(() => undefined)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const begun = performance.now()
    const url = `http://127.0.0.1:${String(port)}`
    const error = await failureOf(connect({ url, mode: context().mode, connectTimeoutMs: 300 }))
    expect(error.code).toBe('deadline_exceeded')
    expect(performance.now() - begun).toBeLessThan(10_000)
    server.close()
  })

  it('goes on to the next router when the first cannot be reached', async () => {
    const { router } = context()
    await using db = await context().connect({
      url: `http://127.0.0.1:${String(await closedPort())}`,
      urls: [router.url],
    })
    expect(await db.sql`select 1 as one`).toEqual([{ one: 1 }])
  })
}

/** A port on which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
