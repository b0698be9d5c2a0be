// TypeORM over pg: asks the server for its version and schema before anything else.
import assert from 'node:assert/strict'
import { DataSource, EntitySchema, type EntityManager } from 'typeorm'
import { bigRows, bigTenant, sample, type Case, type Driver } from './case.ts'

interface Value {
  tenant: string
  id: number
  name?: string | null
  large?: string | null
  price?: string | null
  payload?: Buffer | null
  doc?: unknown
  tags?: string[] | null
  day?: string | null
  made?: Date | null
}

const Values = new EntitySchema<Value>({
  name: 'Value',
  tableName: 'compat_values',
  columns: {
    tenant: { type: 'text', primary: true },
    id: { type: 'int', primary: true },
    name: { type: 'text', nullable: true },
    large: { type: 'int8', nullable: true },
    price: { type: 'numeric', nullable: true },
    payload: { type: 'bytea', nullable: true },
    doc: { type: 'jsonb', nullable: true },
    tags: { type: 'text', array: true, nullable: true },
    day: { type: 'date', nullable: true },
    made: { type: 'timestamptz', nullable: true },
  },
})

function connected(run: (manager: EntityManager, tenant: string) => Promise<void>): Case {
  return async ({ url, tenant }) => {
    const source = new DataSource({
      type: 'postgres',
      url,
      entities: [Values],
      poolSize: 2,
      installExtensions: false,
    })
    await source.initialize()
    try {
      await run(source.manager, tenant)
    } finally {
      await source.destroy()
    }
  }
}

const add = (manager: EntityManager, tenant: string, id: number): Promise<unknown> =>
  manager.insert(Values, { tenant, id, name: `n${String(id)}` })

/** A case that writes some columns and reads them back. */
function roundTrip(columns: Partial<Value>): Case {
  return connected(async (manager, tenant) => {
    await manager.save(Values, { tenant, id: 1, ...columns })
    const row = await manager.findOneByOrFail(Values, { tenant, id: 1 })
    assert.deepEqual({ ...row, ...columns }, { ...row })
  })
}

/** TypeORM. */
export const typeorm: Driver = {
  name: 'TypeORM',
  missing: null,
  cases: {
    'reads and writes rows': connected(async (manager, tenant) => {
      await add(manager, tenant, 1)
      await manager.update(Values, { tenant, id: 1 }, { name: sample.name })
      assert.equal((await manager.findOneBy(Values, { tenant, id: 1 }))?.name, sample.name)
      assert.deepEqual(
        (await manager.findAndCount(Values, { where: { tenant }, order: { id: 'ASC' }, take: 10 }))[1],
        1,
      )
      await manager.delete(Values, { tenant, id: 1 })
      assert.equal(await manager.countBy(Values, { tenant }), 0)
    }),
    commits: connected(async (manager, tenant) => {
      await manager.transaction('SERIALIZABLE', async (tx) => {
        await add(tx, tenant, 1)
        await add(tx, tenant, 2)
      })
      assert.equal(await manager.countBy(Values, { tenant }), 2)
    }),
    'rolls back': connected(async (manager, tenant) => {
      const failed = manager.transaction(async (tx) => {
        await add(tx, tenant, 1)
        throw new Error('no')
      })
      await assert.rejects(failed, { message: 'no' })
      assert.equal(await manager.countBy(Values, { tenant }), 0)
    }),
    'rolls back to a savepoint': connected(async (manager, tenant) => {
      await manager.transaction(async (tx) => {
        await add(tx, tenant, 1)
        await assert.rejects(tx.transaction((inner) => add(inner, tenant, 1)))
        await add(tx, tenant, 2)
      })
      assert.equal(await manager.countBy(Values, { tenant }), 2)
    }),
    arrays: roundTrip({ tags: [...sample.tags] }),
    'json and jsonb': roundTrip({ doc: sample.doc }),
    bytea: roundTrip({ payload: sample.payload }),
    'dates and timestamps': roundTrip({ day: sample.day, made: sample.made }),
    'numeric and int8': roundTrip({ price: sample.price, large: sample.large }),
    'a result of 100,000 rows': connected(async (manager) => {
      const rows = await manager.query<unknown[]>('SELECT n FROM compat_big WHERE tenant = $1', [bigTenant])
      assert.equal(rows.length, bigRows)
    }),
    'errors with their fields': connected(async (manager, tenant) => {
      await add(manager, tenant, 1)
      await assert.rejects(add(manager, tenant, 1), { code: '23505', constraint: 'compat_values_pkey' })
    }),
    'asks the catalog': connected(async (manager) => {
      const runner = manager.connection.createQueryRunner()
      const table = await runner.getTable('compat_big')
      await runner.release()
      assert.deepEqual(
        table?.columns.map(({ name, type, isPrimary }) => [name, type, isPrimary]),
        [
          ['tenant', 'text', true],
          ['n', 'integer', true],
          ['body', 'text', false],
        ],
      )
    }),
  },
}
