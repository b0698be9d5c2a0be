// Kysely over pg, with pg-cursor for streams. COPY and cancelling are pg's own.
import assert from 'node:assert/strict'
import { Kysely, PostgresDialect, sql, type Generated } from 'kysely'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { bigRows, bigSum, bigTenant, sample, type Case, type Driver } from './case.ts'

interface Tables {
  compat_values: {
    tenant: string
    id: number
    name: string | null
    price: Generated<string | null>
    large: Generated<string | null>
    payload: Generated<Buffer | null>
    doc: Generated<unknown>
    tags: Generated<string[] | null>
    made: Generated<Date | null>
  }
  compat_big: { tenant: string; n: number; body: string }
}

function connected(run: (db: Kysely<Tables>, tenant: string) => Promise<void>): Case {
  return async ({ url, tenant }) => {
    const pool = new pg.Pool({ connectionString: url, max: 2 })
    const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool, cursor: Cursor }) })
    try {
      await run(db, tenant)
    } finally {
      await db.destroy()
    }
  }
}

const add = async (db: Kysely<Tables>, tenant: string, id: number): Promise<void> => {
  await db
    .insertInto('compat_values')
    .values({ tenant, id, name: `n${String(id)}` })
    .execute()
}

async function count(db: Kysely<Tables>, tenant: string): Promise<number> {
  const rows = await db.selectFrom('compat_values').select('id').where('tenant', '=', tenant).execute()
  return rows.length
}

/** A case that writes one column and reads it back. */
function roundTrip(
  column: 'doc' | 'tags' | 'payload' | 'made' | 'price' | 'large',
  value: unknown,
  expected = value,
): Case {
  return connected(async (db, tenant) => {
    await sql`INSERT INTO compat_values (tenant, id, ${sql.ref(column)}) VALUES (${tenant}, 1, ${value})`.execute(
      db,
    )
    const row = await db
      .selectFrom('compat_values')
      .select(column)
      .where('tenant', '=', tenant)
      .executeTakeFirstOrThrow()
    assert.deepEqual({ ...row }, { [column]: expected })
  })
}

/** Kysely. */
export const kysely: Driver = {
  name: 'Kysely',
  missing: null,
  cases: {
    'reads and writes rows': connected(async (db, tenant) => {
      await add(db, tenant, 1)
      const changed = await db
        .updateTable('compat_values')
        .set({ name: sample.name })
        .where('tenant', '=', tenant)
        .where('id', '=', 1)
        .executeTakeFirst()
      assert.equal(changed.numUpdatedRows, 1n)
      const upserted = await db
        .insertInto('compat_values')
        .values({ tenant, id: 1, name: 'other' })
        .onConflict((conflict) => conflict.columns(['tenant', 'id']).doUpdateSet({ name: 'upserted' }))
        .returning('name')
        .executeTakeFirstOrThrow()
      assert.equal(upserted.name, 'upserted')
      await db.deleteFrom('compat_values').where('tenant', '=', tenant).execute()
      assert.equal(await count(db, tenant), 0)
    }),
    commits: connected(async (db, tenant) => {
      await db
        .transaction()
        .setIsolationLevel('serializable')
        .execute(async (tx) => {
          await add(tx, tenant, 1)
          await add(tx, tenant, 2)
        })
      assert.equal(await count(db, tenant), 2)
    }),
    'rolls back': connected(async (db, tenant) => {
      const failed = db.transaction().execute(async (tx) => {
        await add(tx, tenant, 1)
        throw new Error('no')
      })
      await assert.rejects(failed, { message: 'no' })
      assert.equal(await count(db, tenant), 0)
    }),
    'rolls back to a savepoint': connected(async (db, tenant) => {
      const tx = await db.startTransaction().execute()
      await add(tx, tenant, 1)
      const saved = await tx.savepoint('one').execute()
      await assert.rejects(add(saved, tenant, 1), { code: '23505' })
      await saved.rollbackToSavepoint('one').execute()
      await add(tx, tenant, 2)
      await tx.commit().execute()
      assert.equal(await count(db, tenant), 2)
    }),
    arrays: roundTrip('tags', sample.tags),
    'json and jsonb': roundTrip('doc', JSON.stringify(sample.doc), sample.doc),
    bytea: roundTrip('payload', sample.payload),
    'dates and timestamps': roundTrip('made', sample.made),
    'numeric and int8': async (place) => {
      await roundTrip('price', sample.price)(place)
      await roundTrip('large', sample.large)({ ...place, tenant: `${place.tenant} 2` })
    },
    'a result of 100,000 rows': connected(async (db) => {
      const rows = await db.selectFrom('compat_big').selectAll().where('tenant', '=', bigTenant).execute()
      assert.deepEqual([rows.length, rows.reduce((sum, { n }) => sum + n, 0)], [bigRows, bigSum])
    }),
    'rows in parts': connected(async (db) => {
      let seen = 0
      for await (const { n } of db
        .selectFrom('compat_big')
        .select('n')
        .where('tenant', '=', bigTenant)
        .orderBy('n')
        .stream(500)) {
        seen += 1
        assert.equal(n, seen)
        if (seen === 2000) break
      }
      assert.equal(seen, 2000)
    }),
    'errors with their fields': connected(async (db, tenant) => {
      await add(db, tenant, 1)
      await assert.rejects(add(db, tenant, 1), { code: '23505', constraint: 'compat_values_pkey' })
    }),
    'asks the catalog': connected(async (db) => {
      const tables = await db.introspection.getTables()
      const found = tables.find(({ name }) => name === 'compat_big')
      assert.deepEqual(
        found?.columns.map(({ name, dataType }) => [name, dataType]),
        [
          ['tenant', 'text'],
          ['n', 'int4'],
          ['body', 'text'],
        ],
      )
    }),
  },
}
