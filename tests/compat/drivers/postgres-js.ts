// postgres.js: pipelines by itself, prepares by itself, reads the catalog for array types.
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import postgres, { type Sql } from 'postgres'
import { bigRows, bigSum, bigTenant, sample, type Case, type Driver } from './case.ts'

function connected(run: (sql: Sql, tenant: string) => Promise<void>): Case {
  return async ({ url, tenant }) => {
    const sql = postgres(url, { max: 2, onnotice: () => undefined })
    try {
      await run(sql, tenant)
    } finally {
      await sql.end({ timeout: 5 })
    }
  }
}

const add = (sql: postgres.ISql, tenant: string, id: number): postgres.PendingQuery<postgres.Row[]> =>
  sql`INSERT INTO compat_values (tenant, id, name) VALUES (${tenant}, ${id}, ${`n${String(id)}`})`

async function count(sql: Sql, tenant: string): Promise<number> {
  const [row] = await sql<
    { n: number }[]
  >`SELECT count(*)::int AS n FROM compat_values WHERE tenant = ${tenant}`
  return row?.n ?? -1
}

/** postgres.js. */
export const postgresJs: Driver = {
  name: 'postgres.js',
  missing: null,
  cases: {
    'reads and writes rows': connected(async (sql, tenant) => {
      const rows = [1, 2, 3].map((id) => ({ tenant, id, name: sample.name }))
      assert.equal((await sql`INSERT INTO compat_values ${sql(rows)}`).count, 3)
      const read =
        await sql`SELECT id, name FROM compat_values WHERE tenant = ${tenant} AND id IN ${sql([1, 3])} ORDER BY id`
      assert.deepEqual(
        [...read],
        [
          { id: 1, name: sample.name },
          { id: 3, name: sample.name },
        ],
      )
      await sql`UPDATE compat_values SET ${sql({ name: 'new' })} WHERE tenant = ${tenant} AND id = 1`
      const [changed] = await sql.unsafe(
        `SELECT name FROM compat_values WHERE tenant = '${tenant}' AND id = 1`,
      )
      assert.equal(changed?.['name'], 'new')
      assert.equal((await sql`DELETE FROM compat_values WHERE tenant = ${tenant}`).count, 3)
    }),
    commits: connected(async (sql, tenant) => {
      await sql.begin(async (tx) => {
        await add(tx, tenant, 1)
        await add(tx, tenant, 2)
      })
      assert.equal(await count(sql, tenant), 2)
    }),
    'rolls back': connected(async (sql, tenant) => {
      const failed = sql.begin(async (tx) => {
        await add(tx, tenant, 1)
        throw new Error('no')
      })
      await assert.rejects(failed, { message: 'no' })
      assert.equal(await count(sql, tenant), 0)
    }),
    'rolls back to a savepoint': connected(async (sql, tenant) => {
      await sql.begin(async (tx) => {
        await add(tx, tenant, 1)
        await assert.rejects(
          tx.savepoint(async (inner) => add(inner, tenant, 1)),
          { code: '23505' },
        )
        await add(tx, tenant, 2)
      })
      assert.equal(await count(sql, tenant), 2)
    }),
    'uses prepared statements again': connected(async (sql, tenant) => {
      await Promise.all(Array.from({ length: 40 }, (_, id) => add(sql, tenant, id)))
      const reads = Array.from(
        { length: 40 },
        (_, id) => sql`SELECT name FROM compat_values WHERE tenant = ${tenant} AND id = ${id}`,
      )
      assert.deepEqual(
        (await Promise.all(reads)).map(([row]) => String(row?.['name'])),
        Array.from({ length: 40 }, (_, id) => `n${String(id)}`),
      )
    }),
    arrays: connected(async (sql, tenant) => {
      const row = { tenant, id: 1, tags: [...sample.tags], numbers: [...sample.numbers] }
      await sql`INSERT INTO compat_values (tenant, id, tags, numbers) VALUES (${tenant}, 1, ${row.tags}, ${row.numbers})`
      const [read] =
        await sql`SELECT tags, numbers FROM compat_values WHERE tenant = ${tenant} AND id = ANY(${[1, 2]})`
      assert.deepEqual({ ...read }, { tags: row.tags, numbers: row.numbers })
    }),
    'json and jsonb': connected(async (sql, tenant) => {
      const doc = { list: [1, 2.5, null], text: 'ü "q"' }
      await sql`INSERT INTO compat_values (tenant, id, doc, raw) VALUES (${tenant}, 1, ${sql.json(doc)}, ${sql.json(doc)})`
      const [read] =
        await sql`SELECT doc, raw, doc->'list'->>1 AS part FROM compat_values WHERE tenant = ${tenant}`
      assert.deepEqual({ ...read }, { doc, raw: doc, part: '2.5' })
    }),
    bytea: connected(async (sql, tenant) => {
      const large = Buffer.alloc(2_000_000, 9)
      await sql`INSERT INTO compat_values (tenant, id, payload) VALUES (${tenant}, 1, ${sample.payload}), (${tenant}, 2, ${large})`
      const read = await sql`SELECT payload FROM compat_values WHERE tenant = ${tenant} ORDER BY id`
      assert.deepEqual([...read], [{ payload: sample.payload }, { payload: large }])
    }),
    'dates and timestamps': connected(async (sql, tenant) => {
      await sql`INSERT INTO compat_values (tenant, id, made, day) VALUES (${tenant}, 1, ${sample.made}, ${sample.day})`
      const [read] = await sql`SELECT made, day::text AS day FROM compat_values WHERE tenant = ${tenant}`
      assert.deepEqual({ ...read }, { made: sample.made, day: sample.day })
    }),
    'numeric and int8': connected(async (sql, tenant) => {
      await sql`INSERT INTO compat_values (tenant, id, price, large, ratio) VALUES (${tenant}, 1, ${sample.price}, ${sample.large}, 0.1)`
      const [read] = await sql`SELECT price, large, ratio FROM compat_values WHERE tenant = ${tenant}`
      assert.deepEqual({ ...read }, { price: sample.price, large: sample.large, ratio: sample.ratio })
    }),
    'a result of 100,000 rows': connected(async (sql) => {
      const rows = await sql<{ n: number }[]>`SELECT n, body FROM compat_big WHERE tenant = ${bigTenant}`
      assert.deepEqual([rows.length, rows.reduce((sum, { n }) => sum + n, 0)], [bigRows, bigSum])
    }),
    'rows in parts': connected(async (sql) => {
      let seen = 0
      for await (const rows of sql`SELECT n FROM compat_big WHERE tenant = ${bigTenant} ORDER BY n`.cursor(
        1000,
      )) {
        seen += rows.length
        if (seen >= 5000) break
      }
      assert.equal(seen, 5000)
      assert.equal((await sql`SELECT 1 AS one`)[0]?.['one'], 1)
    }),
    'copy in': connected(async (sql, tenant) => {
      const lines = Array.from({ length: 5000 }, (_, id) => `${tenant}\t${String(id)}\tname\n`)
      await pipeline(
        Readable.from(lines),
        await sql`COPY compat_values (tenant, id, name) FROM STDIN`.writable(),
      )
      assert.equal(await count(sql, tenant), 5000)
    }),
    'copy out': connected(async (sql) => {
      const query = sql.unsafe(
        `COPY (SELECT n FROM compat_big WHERE tenant = '${bigTenant}' ORDER BY n) TO STDOUT`,
      )
      const lines = (await text(await query.readable())).split('\n')
      assert.deepEqual([lines.length, lines[9]], [bigRows + 1, '10'])
    }),
    'errors with their fields': connected(async (sql, tenant) => {
      await add(sql, tenant, 1)
      const fields = {
        code: '23505',
        table_name: 'compat_values',
        constraint_name: 'compat_values_pkey',
        schema_name: 'public',
      }
      await assert.rejects(add(sql, tenant, 1), fields)
      await assert.rejects(sql.unsafe(`SELECT nam FROM compat_values WHERE tenant = '${tenant}'`).execute(), {
        code: '42703',
        position: '8',
      })
    }),
    cancels: connected(async (sql) => {
      const slow = sql`SELECT pg_sleep(60)`
      const again = setInterval(() => {
        slow.cancel()
      }, 200)
      await assert.rejects(slow, { code: '57014' })
      clearInterval(again)
      assert.equal((await sql`SELECT 1 AS one`)[0]?.['one'], 1)
    }),
  },
}
