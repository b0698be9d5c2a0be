// Drizzle over pg. COPY and cancelling are pg's own.
import assert from 'node:assert/strict'
import { and, eq, inArray, sql } from 'drizzle-orm'
import { drizzle as open, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import {
  bigint,
  date,
  integer,
  jsonb,
  numeric,
  pgTable,
  primaryKey,
  text,
  timestamp,
} from 'drizzle-orm/pg-core'
import pg from 'pg'
import { bigRows, bigSum, bigTenant, sample, type Case, type Driver } from './case.ts'

const values = pgTable(
  'compat_values',
  {
    tenant: text().notNull(),
    id: integer().notNull(),
    name: text(),
    large: bigint({ mode: 'bigint' }),
    price: numeric({ precision: 20, scale: 4 }),
    doc: jsonb(),
    tags: text().array(),
    numbers: integer().array(),
    day: date(),
    made: timestamp({ withTimezone: true }),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.id] })],
)
const big = pgTable('compat_big', {
  tenant: text().notNull(),
  n: integer().notNull(),
  body: text().notNull(),
})

function connected(run: (db: NodePgDatabase, tenant: string) => Promise<void>): Case {
  return async ({ url, tenant }) => {
    const pool = new pg.Pool({ connectionString: url, max: 2 })
    try {
      await run(open(pool), tenant)
    } finally {
      await pool.end()
    }
  }
}

type Writer = Pick<NodePgDatabase, 'insert'>
const add = async (db: Writer, tenant: string, id: number): Promise<void> => {
  await db.insert(values).values({ tenant, id, name: `n${String(id)}` })
}
const count = (db: NodePgDatabase, tenant: string): Promise<number> =>
  db.$count(values, eq(values.tenant, tenant))

/** A case that writes some columns and reads them back. */
function roundTrip(columns: Partial<typeof values.$inferInsert>): Case {
  return connected(async (db, tenant) => {
    await db.insert(values).values({ tenant, id: 1, ...columns })
    const [row] = await db.select().from(values).where(eq(values.tenant, tenant))
    for (const [name, value] of Object.entries(columns))
      assert.deepEqual(Object.entries(row ?? {}).find(([key]) => key === name)?.[1], value)
  })
}

/** Drizzle. */
export const drizzle: Driver = {
  name: 'Drizzle',
  missing: null,
  cases: {
    'reads and writes rows': connected(async (db, tenant) => {
      await db.insert(values).values([1, 2, 3].map((id) => ({ tenant, id, name: sample.name })))
      const read = await db
        .select({ id: values.id })
        .from(values)
        .where(and(eq(values.tenant, tenant), inArray(values.id, [1, 3])))
        .orderBy(values.id)
      assert.deepEqual(read, [{ id: 1 }, { id: 3 }])
      const changed = await db
        .update(values)
        .set({ name: 'new' })
        .where(and(eq(values.tenant, tenant), eq(values.id, 1)))
        .returning({ name: values.name })
      assert.deepEqual(changed, [{ name: 'new' }])
      await db.insert(values).values({ tenant, id: 1 }).onConflictDoNothing()
      await db.delete(values).where(eq(values.tenant, tenant))
      assert.equal(await count(db, tenant), 0)
    }),
    commits: connected(async (db, tenant) => {
      await db.transaction(
        async (tx) => {
          await add(tx, tenant, 1)
          await add(tx, tenant, 2)
        },
        { isolationLevel: 'repeatable read' },
      )
      assert.equal(await count(db, tenant), 2)
    }),
    'rolls back': connected(async (db, tenant) => {
      const failed = db.transaction(async (tx) => {
        await add(tx, tenant, 1)
        tx.rollback()
      })
      await assert.rejects(failed)
      assert.equal(await count(db, tenant), 0)
    }),
    'rolls back to a savepoint': connected(async (db, tenant) => {
      await db.transaction(async (tx) => {
        await add(tx, tenant, 1)
        await assert.rejects(tx.transaction((inner) => add(inner, tenant, 1)))
        await add(tx, tenant, 2)
      })
      assert.equal(await count(db, tenant), 2)
    }),
    'uses prepared statements again': connected(async (db, tenant) => {
      await add(db, tenant, 1)
      const read = db
        .select({ name: values.name })
        .from(values)
        .where(and(eq(values.tenant, sql.placeholder('tenant')), eq(values.id, sql.placeholder('id'))))
        .prepare('read_one')
      for (let time = 0; time < 10; time += 1)
        assert.deepEqual(await read.execute({ tenant, id: 1 }), [{ name: 'n1' }])
    }),
    arrays: roundTrip({ tags: [...sample.tags], numbers: [...sample.numbers] }),
    'json and jsonb': roundTrip({ doc: sample.doc }),
    'dates and timestamps': roundTrip({ day: sample.day, made: sample.made }),
    'numeric and int8': roundTrip({ price: sample.price, large: BigInt(sample.large) }),
    'a result of 100,000 rows': connected(async (db) => {
      const rows = await db.select().from(big).where(eq(big.tenant, bigTenant))
      assert.deepEqual([rows.length, rows.reduce((sum, { n }) => sum + n, 0)], [bigRows, bigSum])
    }),
    'errors with their fields': connected(async (db, tenant) => {
      await add(db, tenant, 1)
      await assert.rejects(add(db, tenant, 1), (error: Error) => {
        assert.ok(error.cause instanceof pg.DatabaseError)
        assert.equal(error.cause.constraint, 'compat_values_pkey')
        return true
      })
    }),
  },
}
