// pg (node-postgres), with pg-copy-streams and pg-cursor.
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import copy from 'pg-copy-streams'
import Cursor from 'pg-cursor'
import { cancelByKey } from './cancel-by-key.ts'
import { bigRows, bigSum, bigTenant, cancelled, sample, type Case, type Driver } from './case.ts'

/** A case with a connection. */
function connected(run: (client: pg.Client, tenant: string, url: string) => Promise<void>): Case {
  return async ({ url, tenant }) => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      await run(client, tenant, url)
    } finally {
      await client.end()
    }
  }
}

const insert = 'INSERT INTO compat_values (tenant, id, name) VALUES ($1, $2, $3)'

async function count(client: pg.Client, tenant: string): Promise<number> {
  const { rows } = await client.query<{ n: number }>(
    'SELECT count(*)::int AS n FROM compat_values WHERE tenant = $1',
    [tenant],
  )
  return rows[0]?.n ?? -1
}

/** A case that writes one column and reads it back. */
function roundTrip(column: string, value: unknown, check: (read: unknown) => void): Case {
  return connected(async (client, tenant) => {
    await client.query(
      `INSERT INTO compat_values (tenant, id, ${column}) VALUES ($1, 1, $2), ($1, 2, NULL)`,
      [tenant, value],
    )
    const { rows } = await client.query<Record<string, unknown>>(
      `SELECT ${column} FROM compat_values WHERE tenant = $1 ORDER BY id`,
      [tenant],
    )
    check(rows[0]?.[column])
    assert.equal(rows[1]?.[column], null)
  })
}

async function all(place: Parameters<Case>[0], cases: readonly Case[]): Promise<void> {
  for (const [index, run] of cases.entries())
    await run({ url: place.url, tenant: `${place.tenant} ${String(index)}` })
}

const equal = (expected: unknown) => (read: unknown) => {
  assert.deepEqual(read, expected)
}

/** pg. */
export const nodePostgres: Driver = {
  name: 'pg',
  missing: null,
  cases: {
    'reads and writes rows': connected(async (client, tenant) => {
      assert.equal((await client.query(insert, [tenant, 1, sample.name])).rowCount, 1)
      const key = `tenant = '${tenant}' AND id = 1`
      const simple = await client.query<{ name: string }>(`SELECT name FROM compat_values WHERE ${key}`)
      assert.equal(simple.rows[0]?.name, sample.name)
      assert.equal(simple.fields[0]?.dataTypeID, 25)
      const changed = await client.query(
        'UPDATE compat_values SET name = $3 WHERE tenant = $1 AND id = $2 RETURNING name',
        [tenant, 1, 'new'],
      )
      assert.deepEqual(changed.rows, [{ name: 'new' }])
      assert.equal((await client.query(`DELETE FROM compat_values WHERE ${key}`)).rowCount, 1)
      assert.equal(await count(client, tenant), 0)
    }),
    commits: connected(async (client, tenant) => {
      await client.query('BEGIN')
      await client.query(insert, [tenant, 1, 'a'])
      await client.query(insert, [tenant, 2, 'b'])
      await client.query('COMMIT')
      assert.equal(await count(client, tenant), 2)
    }),
    'rolls back': connected(async (client, tenant) => {
      await client.query('BEGIN')
      await client.query(insert, [tenant, 1, 'a'])
      await client.query('ROLLBACK')
      assert.equal(await count(client, tenant), 0)
    }),
    'rolls back to a savepoint': connected(async (client, tenant) => {
      await client.query('BEGIN')
      await client.query(insert, [tenant, 1, 'a'])
      await client.query('SAVEPOINT one')
      await assert.rejects(client.query(insert, [tenant, 1, 'again']), { code: '23505' })
      await client.query('ROLLBACK TO SAVEPOINT one')
      await client.query(insert, [tenant, 2, 'b'])
      await client.query('COMMIT')
      assert.equal(await count(client, tenant), 2)
    }),
    'uses prepared statements again': connected(async (client, tenant) => {
      for (let id = 0; id < 20; id += 1)
        await client.query({ name: 'insert', text: insert, values: [tenant, id, `n${String(id)}`] })
      for (let id = 0; id < 20; id += 1) {
        const text = 'SELECT name FROM compat_values WHERE tenant = $1 AND id = $2'
        const { rows } = await client.query({ name: 'read', text, values: [tenant, id] })
        assert.deepEqual(rows, [{ name: `n${String(id)}` }])
      }
    }),
    arrays: (place) =>
      all(place, [
        roundTrip('tags', sample.tags, equal(sample.tags)),
        roundTrip('numbers', sample.numbers, equal(sample.numbers)),
        roundTrip('numbers', [], equal([])),
      ]),
    'json and jsonb': (place) =>
      all(place, [
        roundTrip('doc', sample.doc, equal(sample.doc)),
        roundTrip('raw', JSON.stringify(sample.doc), equal(sample.doc)),
      ]),
    bytea: (place) =>
      all(place, [
        roundTrip('payload', sample.payload, equal(sample.payload)),
        roundTrip('payload', Buffer.alloc(2_000_000, 5), equal(Buffer.alloc(2_000_000, 5))),
      ]),
    'dates and timestamps': (place) =>
      all(place, [
        roundTrip('made', sample.made, equal(sample.made)),
        roundTrip('day', sample.day, (read) => {
          assert.ok(read instanceof Date && read.getFullYear() === 2024 && read.getDate() === 29)
        }),
        roundTrip('plain', 'infinity', equal(Infinity)),
      ]),
    'numeric and int8': (place) =>
      all(place, [
        roundTrip('price', sample.price, equal(sample.price)),
        roundTrip('large', sample.large, equal(sample.large)),
        roundTrip('ratio', sample.ratio, equal(sample.ratio)),
        roundTrip('flag', true, equal(true)),
        roundTrip('uid', sample.uid, equal(sample.uid)),
      ]),
    'a result of 100,000 rows': connected(async (client) => {
      const { rows } = await client.query<{ n: number }>('SELECT n, body FROM compat_big WHERE tenant = $1', [
        bigTenant,
      ])
      assert.equal(rows.length, bigRows)
      assert.equal(
        rows.reduce((sum, { n }) => sum + n, 0),
        bigSum,
      )
    }),
    'rows in parts': connected(async (client) => {
      const cursor = client.query(
        new Cursor<{ n: number }>('SELECT n FROM compat_big WHERE tenant = $1 ORDER BY n', [bigTenant]),
      )
      const first = await cursor.read(100)
      const second = await cursor.read(10)
      assert.deepEqual([first.length, second.length, second[9]?.n], [100, 10, 110])
      await cursor.close()
      assert.equal((await client.query('SELECT 1')).rowCount, 1)
    }),
    'copy in': connected(async (client, tenant) => {
      const lines = Array.from({ length: 5000 }, (_, id) => `${tenant}\t${String(id)}\tname ${String(id)}\n`)
      await pipeline(
        Readable.from(lines),
        client.query(copy.from('COPY compat_values (tenant, id, name) FROM STDIN')),
      )
      assert.equal(await count(client, tenant), 5000)
    }),
    'copy out': connected(async (client) => {
      const text = `COPY (SELECT n, body FROM compat_big WHERE tenant = '${bigTenant}' ORDER BY n) TO STDOUT`
      const lines = (await buffer(client.query(copy.to(text)))).toString().split('\n')
      assert.deepEqual([lines.length, lines[9]], [bigRows + 1, '10\trow 10'])
    }),
    'errors with their fields': connected(async (client, tenant) => {
      await client.query(insert, [tenant, 1, 'a'])
      await assert.rejects(client.query(insert, [tenant, 1, 'a']), {
        code: '23505',
        severity: 'ERROR',
        table: 'compat_values',
        constraint: 'compat_values_pkey',
        schema: 'public',
      })
      await assert.rejects(client.query(`SELECT nam FROM compat_values WHERE tenant = '${tenant}'`), {
        code: '42703',
        position: '8',
      })
      assert.equal(await count(client, tenant), 1)
    }),
    cancels: connected(async (client, tenant, url) => {
      const slow = client.query(
        'SELECT pg_sleep(60) FROM compat_values WHERE tenant = $1 UNION ALL SELECT pg_sleep(60)',
        [tenant],
      )
      const error = await cancelled(slow, () => cancelByKey(client, url))
      assert.ok(error instanceof pg.DatabaseError && error.code === '57014')
      assert.equal((await client.query('SELECT 1')).rowCount, 1)
    }),
  },
}
