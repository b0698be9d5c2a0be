// Streams: rows as they come, bounded memory, connections that come back.
import { parseShardId } from '@fleetshard/core'
import { expect, it } from 'vitest'
import type { ConformanceContext } from '../conformance.ts'
import { failureOf } from '../failure.ts'
import { until } from '../../e2e/harness/until.ts'

/** The cases. */
export function streamCases(context: () => ConformanceContext): void {
  const first = () => {
    const [shard] = context().db.shards()
    if (shard === undefined) throw new Error('there is no shard')
    return shard
  }

  it('gives every row in order, beyond the limit of results', async () => {
    await using db = await context().connect({ rowsMax: 10 })
    let next = 1
    for await (const { n } of db.stream<{ n: number }>(
      'select n from generate_series(1, $1::int) n',
      [20_000],
    )) {
      if (n !== next) throw new Error(`row ${String(next)} is ${String(n)}`)
      next += 1
    }
    expect(next).toBe(20_001)
  })

  it('ends at once when there are no rows', async () => {
    let seen = 0
    for await (const _row of context().db.stream('select 1 as one where false')) seen += 1
    expect(seen).toBe(0)
  })

  it('makes the same values as whole results', async () => {
    const { db } = context()
    const text = `select '\\x00ff'::bytea as b, 12::int8 as i, '{"a":[1]}'::jsonb as j, array['\\x01'::bytea] as l,
      null as nothing, 'NaN'::float8 as f, 1.5::float8 as g, now()::date is not null as d`
    const streamed = []
    for await (const row of db.stream(text)) streamed.push(row)
    expect(streamed).toEqual((await db.query(text)).rows)
  })

  it('runs nothing before the first row is asked for', async () => {
    const { db } = context()
    const key = `stream-${String(process.pid)}`
    db.stream('insert into users (user_id) values ($1) returning user_id', [key])
    await db.sql`select 1`
    expect(await db.sql`select 1 from users where user_id = ${key}`).toEqual([])
  })

  it('refuses what a whole result would refuse, at its first row', async () => {
    const { db } = context()
    expect((await failureOf(db.stream('selekt').next())).code).toBe('sql_syntax')
    expect((await failureOf(db.stream('select 1 as a, 2 as a').next())).code).toBe('statement_refused')
    expect((await failureOf(db.stream('select $1::text', [undefined as never]).next())).code).toBe(
      'parameter_type',
    )
  })

  it('tells of an error in the middle, after the rows before it', async () => {
    const { db } = context()
    const seen: number[] = []
    const read = async (): Promise<void> => {
      for await (const { n } of db.stream<{ n: number }>(
        'select n, 1 / (50001 - n) as x from generate_series(1, 60000) n',
      ))
        seen.push(n)
    }
    expect(await failureOf(read())).toMatchObject({ code: 'sql_error', sqlstate: '22012' })
    expect(seen.length).toBeGreaterThan(0)
    expect(seen).toEqual(seen.map((_, at) => at + 1))
  })

  it('frees its connection when the reader leaves in the middle', async () => {
    await using db = await context().connect({ pool: { connectionsMax: 1 } })
    for (let round = 0; round < 5; round += 1) {
      let seen = 0
      for await (const _row of db.stream(
        `select n, repeat('x', 100) as filler from generate_series(1, 1000000) n /* left */`,
      )) {
        seen += 1
        if (seen === 1_000) break
      }
      expect(seen).toBe(1_000)
    }
    expect(await db.sql`select 1 as one`).toEqual([{ one: 1 }])
    await until('nothing runs any more', async () => !(await runs(context(), '/* left */')))
  })

  it('stops when its signal is aborted', async () => {
    const stop = new AbortController()
    const read = async (): Promise<void> => {
      for await (const _row of context().db.stream(
        `select n, pg_sleep(0.001) from generate_series(1, 1000000) n /* aborted */`,
        [],
        { signal: stop.signal },
      ))
        stop.abort()
    }
    expect((await failureOf(read())).code).toBe('canceled')
    await until('nothing runs any more', async () => !(await runs(context(), '/* aborted */')))
  })

  it('holds the server back while its reader is slow', async () => {
    const stream = first().stream(
      `select n, repeat('x', 1000) as filler from generate_series(1, 500000) n /* slow */`,
    )
    await stream.next()
    await until('the server waits for its client', async () => {
      const rows = await context().router.rowsIn(
        parseShardId(first().id),
        `select 1 from pg_stat_activity where query like '%/* slow */%' and wait_event = 'ClientWrite'
           and pid <> pg_backend_pid()`,
      )
      return rows.length > 0
    })
    await stream.return()
    await until('nothing runs any more', async () => !(await runs(context(), '/* slow */')))
  })
}

/** All shards are on one server. */
async function runs({ db, router }: ConformanceContext, mark: string): Promise<boolean> {
  const rows = await router.rowsIn(
    parseShardId(db.shards()[0]?.id ?? ''),
    `select 1 from pg_stat_activity where state = 'active' and query like '%${mark}%' and pid <> pg_backend_pid()`,
  )
  return rows.length > 0
}
