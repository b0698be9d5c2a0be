// Statements: where they run, what they give, and how they are given up.
import { parseShardId } from '@fleetshard/core'
import { expect, it } from 'vitest'
import type { ConformanceContext } from '../conformance.ts'
import { failureOf } from '../failure.ts'
import { until } from '../../e2e/harness/until.ts'

let keys = 0
const newKey = (): string => `s-${String((keys += 1))}-${String(process.pid)}`

/** The cases. */
export function statementCases(context: () => ConformanceContext): void {
  it('writes to the shard of the key and reads it back, by key and by the statement alone', async () => {
    const { db } = context()
    for (let index = 0; index < 20; index += 1) {
      const key = newKey()
      const written = await db
        .shard(key)
        .query('insert into users (user_id, name) values ($1, $2)', [key, 'a'])
      expect(written).toMatchObject({ rowCount: 1, rows: [], shardId: db.shardFor(key).shardId })
      const [row] = await db.shard(key).sql<{ name: string }>`select name from users where user_id = ${key}`
      expect(row).toEqual({ name: 'a' })
      const planned = await db.sql`select name from users where user_id = ${key}`.result()
      expect(planned).toMatchObject({ rows: [{ name: 'a' }], rowCount: 1, shardId: written.shardId })
    }
    expect(new Set(Array.from({ length: 50 }, (_, at) => db.shardFor(`k${String(at)}`).shardId)).size).toBe(2)
  })

  it('gives the row count of writes, and the rows of RETURNING', async () => {
    const { db } = context()
    const key = newKey()
    const { rows } = await db.query('insert into users (user_id) values ($1) returning user_id, n', [key])
    expect(rows).toEqual([{ user_id: key, n: 0 }])
    expect(await db.shard(key).sql`update users set n = 5 where user_id = ${key}`.result()).toMatchObject({
      rowCount: 1,
      rows: [],
    })
  })

  it('runs a template once, however often its result is asked for', async () => {
    const { db } = context()
    const key = newKey()
    await db.sql`insert into users (user_id) values (${key})`
    const query = db.shard(key).sql`update users set n = n + 1 where user_id = ${key} returning n`
    expect(await query).toEqual([{ n: 1 }])
    expect(await query).toEqual([{ n: 1 }])
    expect((await query.result()).rows).toEqual([{ n: 1 }])
  })

  it('keeps a value apart from what follows it', async () => {
    expect(await context().db.sql`select ${'1'}::int + ${'2'}::int as sum`).toEqual([{ sum: 3 }])
    const error = await failureOf(context().db.sql`select ${'1'}0`)
    expect(error.code).toBe('sql_syntax')
  })

  it('refuses a statement that does not say which shard it is about', async () => {
    const error = await failureOf(context().db.query('select * from users'))
    expect(error).toMatchObject({ code: 'shard_key_required', outcome: 'aborted', retryable: false })
    expect(error.hint).not.toBe('')
  })

  it('refuses a key that lies on another shard than the one named', async () => {
    const { db } = context()
    const { shardId } = db.shardFor('a')
    const other = Array.from({ length: 100 }, (_, at) => `o${String(at)}`).find(
      (key) => db.shardFor(key).shardId !== shardId,
    )
    const error = await failureOf(db.shard('a').sql`select * from users where user_id = ${other ?? ''}`)
    expect(error.code).toBe('cross_shard')
  })

  it('has a handle for each shard, which answers its own part of anything', async () => {
    const { db, router } = context()
    const key = newKey()
    await db.sql`insert into users (user_id) values (${key})`
    for (const shard of db.shards()) {
      const answer = await shard.query<{ n: string }>('select count(*) as n from users')
      expect(answer.shardId).toBe(shard.id)
      const past = await router.rowsIn(parseShardId(shard.id), 'select count(*) from users')
      expect(answer.rows[0]?.n).toBe(past[0]?.[0])
    }
  })

  it('runs many at once', async () => {
    const { db } = context()
    const made = Array.from({ length: 300 }, () => newKey())
    await Promise.all(made.map((key) => db.sql`insert into users (user_id, name) values (${key}, ${key})`))
    const read = await Promise.all(made.map((key) => db.sql`select name from users where user_id = ${key}`))
    expect(read).toEqual(made.map((key) => [{ name: key }]))
  })

  it('gives up what has not begun, when the signal is aborted before', async () => {
    const { db } = context()
    const key = newKey()
    const error = await failureOf(
      db.query('insert into users (user_id) values ($1)', [key], { signal: AbortSignal.abort() }),
    )
    expect(error.code).toBe('canceled')
    expect(await db.sql`select 1 as one from users where user_id = ${key}`).toEqual([])
  })

  it('cancels what runs, and the next statement is not hit', async () => {
    const { db, router, mode } = context()
    const key = newKey()
    await db.sql`insert into users (user_id) values (${key})`
    const stop = new AbortController()
    const running = failureOf(
      db.shard(key).query('select slow_write($1, 60)', [key], { signal: stop.signal }),
    )
    await until('the statement runs', () => isRunning(context(), key))
    stop.abort()
    const error = await running
    expect(error.code).toBe('canceled')
    // Over HTTP nobody is left to hear how it ended.
    expect(error.outcome).toBe(mode === 'direct' ? 'aborted' : 'unknown')
    await until('the server has stopped it', async () => !(await isRunning(context(), key)))
    for (let index = 0; index < 20; index += 1) {
      expect(await db.shard(key).sql`select n from users where user_id = ${key}`).toEqual([{ n: 0 }])
    }
    expect(router.url).not.toBe('')
  })

  it('takes no notice of a signal that is aborted after the answer', async () => {
    const { db } = context()
    const stop = new AbortController()
    const { rows } = await db.query('select 1 as one', [], { signal: stop.signal })
    stop.abort()
    expect(rows).toEqual([{ one: 1 }])
    expect(await db.query('select 2 as two')).toMatchObject({ rows: [{ two: 2 }] })
  })

  it('ends a statement that takes too long, and says so', async () => {
    const { db } = context()
    const key = newKey()
    await db.sql`insert into users (user_id) values (${key})`
    const error = await failureOf(db.shard(key).query('select slow_write($1, 60)', [key], { timeoutMs: 300 }))
    expect(error).toMatchObject({ code: 'deadline_exceeded', outcome: 'aborted', retryable: true })
    expect(await db.shard(key).sql`select n from users where user_id = ${key}`).toEqual([{ n: 0 }])
  })

  it('holds a statement to reading when it is told so', async () => {
    const { db } = context()
    const key = newKey()
    const error = await failureOf(
      db.query('insert into users (user_id) values ($1)', [key], { readOnly: true }),
    )
    expect(error).toMatchObject({ code: 'read_only', outcome: 'aborted' })
  })

  it('takes options with a handle', async () => {
    const { db } = context()
    const error = await failureOf(
      db.shard('a').with({ readOnly: true }).sql`delete from users where user_id = 'a'`,
    )
    expect(error.code).toBe('read_only')
    expect(await db.shard('a').with({ consistency: 'eventual' }).sql`select 1 as one`).toEqual([{ one: 1 }])
  })
}

async function isRunning({ router, db }: ConformanceContext, key: string): Promise<boolean> {
  const { shardId } = db.shardFor(key)
  const rows = await router.rowsIn(
    parseShardId(shardId),
    `select 1 from pg_stat_activity where state = 'active' and query like 'select slow_write%' and datname = current_database()`,
  )
  return rows.length > 0
}
