// Kysely over the client, in both modes: statements by key and by what they say, streams, transactions.
import { kyselyFor } from '@fleetshard/client/kysely'
import { sql, type Generated, type Kysely } from 'kysely'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ConformanceContext } from './conformance.ts'
import { startContext } from './context.ts'
import { failureOf } from './failure.ts'

interface Database {
  readonly users: { id: Generated<string>; user_id: string; name: string | null; n: Generated<number> }
}

describe.each(['http', 'direct'] as const)('kysely in %s mode', (mode) => {
  let context: ConformanceContext & AsyncDisposable
  beforeAll(async () => {
    context = await startContext(mode)
  })
  afterAll(() => context[Symbol.asyncDispose]())

  const of = (key: string): Kysely<Database> => kyselyFor<Database>(context.db.shard(key))
  const nameOf = async (key: string): Promise<string | null | undefined> => {
    const rows = of(key).selectFrom('users').select('name').where('user_id', '=', key)
    return (await rows.executeTakeFirst())?.name
  }

  it('writes and reads on the shard of a key', async () => {
    const db = of('ada')
    const inserted = await db.insertInto('users').values({ user_id: 'ada', name: 'Ada' }).executeTakeFirst()
    expect(inserted.numInsertedOrUpdatedRows).toBe(1n)
    expect(await nameOf('ada')).toBe('Ada')
    const returned = db.updateTable('users').set({ n: 7 }).where('user_id', '=', 'ada').returning('n')
    expect((await returned.executeTakeFirstOrThrow()).n).toBe(7)
    const none = await db.deleteFrom('users').where('user_id', '=', 'nobody').executeTakeFirst()
    expect(none.numDeletedRows).toBe(0n)
    const raw = await sql`update users set n = n + 1 where user_id = ${'ada'}`.execute(db)
    expect(raw.numAffectedRows).toBe(1n)
  })

  it('places statements by what they say', async () => {
    const db = kyselyFor<Database>(context.db)
    await db.insertInto('users').values({ user_id: 'said-1', name: 'One' }).execute()
    const row = await db.selectFrom('users').selectAll().where('user_id', '=', 'said-1').executeTakeFirst()
    expect(row?.name).toBe('One')
    expect(await nameOf('said-1')).toBe('One')
  })

  it('streams from one shard and from all', async () => {
    const users = Array.from({ length: 25 }, (_, index) => `stream-${String(index)}`)
    for (const user of users) await of(user).insertInto('users').values({ user_id: user }).execute()
    const all = kyselyFor<Database>(context.db.all())
    const found: string[] = []
    const rows = all.selectFrom('users').select('user_id').where('user_id', 'like', 'stream-%').stream(10)
    for await (const { user_id } of rows) found.push(user_id)
    expect(found.sort()).toEqual([...users].sort())
  })

  it('commits a transaction, and rolls back one that fails', async () => {
    await of('tx')
      .transaction()
      .setIsolationLevel('serializable')
      .execute(async (tx) => {
        await tx.insertInto('users').values({ user_id: 'tx', name: 'first' }).execute()
        const seen: unknown[] = []
        for await (const row of tx.selectFrom('users').select('name').where('user_id', '=', 'tx').stream())
          seen.push(row)
        expect(seen).toEqual([{ name: 'first' }])
        expect(await nameOf('tx')).toBeUndefined()
      })
    expect(await nameOf('tx')).toBe('first')

    const refused = new Error('no')
    const failed = of('tx')
      .transaction()
      .execute(async (tx) => {
        await tx.updateTable('users').set({ name: 'second' }).where('user_id', '=', 'tx').execute()
        throw refused
      })
    await expect(failed).rejects.toBe(refused)
    expect(await nameOf('tx')).toBe('first')
  })

  it('holds a transaction to reading', async () => {
    const writing = of('ro')
      .transaction()
      .setAccessMode('read only')
      .execute((tx) => tx.insertInto('users').values({ user_id: 'ro' }).execute())
    expect(await failureOf(writing)).toMatchObject({ sqlstate: '25006' })
  })

  it('leaves a transaction rolled back that its caller abandons', async () => {
    const begun = await of('gone').startTransaction().execute()
    await begun.insertInto('users').values({ user_id: 'gone' }).execute()
    await begun.rollback().execute()
    expect(await nameOf('gone')).toBeUndefined()
  })

  it('tells what failed with the code and the outcome of the client', async () => {
    await of('twice').insertInto('users').values({ user_id: 'twice' }).execute()
    const again = of('twice').insertInto('users').values({ user_id: 'twice' }).execute()
    expect(await failureOf(again)).toMatchObject({ sqlstate: '23505', outcome: 'aborted' })
  })

  it('refuses a transaction that names no shard, and an isolation level that Postgres lacks', async () => {
    const unplaced = kyselyFor<Database>(context.db)
      .transaction()
      .execute(() => Promise.resolve())
    const error = await failureOf(unplaced)
    expect(error.code).toBe('invalid_request')
    expect(error.hint).toContain('shard(key)')
    const unknown = of('x')
      .transaction()
      .setIsolationLevel('snapshot')
      .execute(() => Promise.resolve())
    expect((await failureOf(unknown)).code).toBe('invalid_request')
  })
})
