// Statements over all shards: what may be put together is, everything else is refused.
import { beforeAll, expect, it } from 'vitest'
import type { ConformanceContext } from '../conformance.ts'
import { failureOf } from '../failure.ts'

const rowCount = 300

/** The cases. */
export function allShardsCases(context: () => ConformanceContext): void {
  beforeAll(async () => {
    const { db } = context()
    await Promise.all(
      Array.from({ length: rowCount }, (_, at) => {
        const key = `all-${String(at)}`
        return db.sql`insert into notes (user_id, body) values (${key}, ${String(at)})`
      }),
    )
  })

  it('gives the rows of every shard once', async () => {
    const { db } = context()
    const { rows, columns } = await db
      .all()
      .query<{ user_id: string }>('select user_id from notes where body is not null')
    expect(new Set(rows.map((row) => row.user_id)).size).toBe(rows.length)
    expect(rows.filter((row) => row.user_id.startsWith('all-'))).toHaveLength(rowCount)
    expect(columns).toEqual([{ name: 'user_id', type: 'text' }])
  })

  it('streams them', async () => {
    const { db } = context()
    const seen: string[] = []
    for await (const row of db.all().sql<{
      user_id: string
    }>`select user_id from notes where user_id like ${'all-%'}`)
      seen.push(row.user_id)
    expect(seen.toSorted()).toEqual(
      Array.from({ length: rowCount }, (_, at) => `all-${String(at)}`).toSorted(),
    )
  })

  it('gives up the other shards when its reader leaves', async () => {
    const { db } = context()
    let seen = 0
    for await (const _row of db.all().sql`select user_id from notes`) {
      seen += 1
      break
    }
    expect(seen).toBe(1)
    expect(await db.sql`select 1 as one`).toEqual([{ one: 1 }])
  })

  it.each([
    ['an aggregate', 'select count(*) from notes'],
    ['an aggregate without a mark', 'select max(body) from notes'],
    ['GROUP BY', 'select body from notes group by body'],
    ['DISTINCT', 'select distinct body from notes'],
    ['ORDER BY', 'select body from notes order by body'],
    ['LIMIT', 'select body from notes limit 1'],
    ['a set operation', 'select body from notes union all select body from notes'],
    ['a join off the key', 'select 1 from notes n join users u on u.name = n.body'],
    ['a reference table alone', 'select * from kinds'],
    ['an undeclared table', 'select * from pg_class'],
    ['no table', 'select 1'],
    ['a volatile function', 'select random() from notes'],
    ['a write', `update notes set body = 'x'`],
  ])('refuses %s, with the reason', async (_name, text) => {
    const { db } = context()
    const error = await failureOf(db.all().query(text))
    expect(error).toMatchObject({ code: 'cross_shard', outcome: 'aborted', retryable: false })
    expect(error.message).toContain('every shard')
    expect(await failureOf(db.all().stream(text).next())).toMatchObject({ code: 'cross_shard' })
  })

  it('takes joins by the shard key, and of reference tables', async () => {
    const { db } = context()
    await db.sql`insert into users (user_id, name) values ('all-1', 'one')`
    const rows = await db.all().sql`
      select n.body, u.name from notes n join users u on u.user_id = n.user_id where u.user_id like 'all-%'`
    expect(rows).toEqual([{ body: '1', name: 'one' }])
  })

  it('refuses results beyond its limit, but streams them', async () => {
    await using db = await context().connect({ rowsMax: 100 })
    expect((await failureOf(db.all().sql`select user_id from notes`)).code).toBe('result_too_large')
    let seen = 0
    for await (const _row of db.all().sql`select user_id from notes where user_id like 'all-%'`) seen += 1
    expect(seen).toBe(rowCount)
  })
}
