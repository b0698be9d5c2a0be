// Transactions: all or nothing, and no connection left in one.
import { expect, it } from 'vitest'
import type { ConformanceContext } from '../conformance.ts'
import { failureOf } from '../failure.ts'

let keys = 0
const newKey = (): string => `t-${String((keys += 1))}-${String(process.pid)}`

/** The cases. */
export function transactionCases(context: () => ConformanceContext): void {
  const insert = async (key: string): Promise<void> => {
    await context().db.sql`insert into users (user_id) values (${key})`
  }
  const valueOf = async (key: string): Promise<unknown> => {
    const [row] = await context().db.sql<{ n: number }>`select n from users where user_id = ${key}`
    return row?.n
  }

  it('commits what its function did, and gives what it returned', async () => {
    const key = newKey()
    await insert(key)
    const value = await context()
      .db.shard(key)
      .transaction(async (tx) => {
        await tx.sql`update users set n = n + 1 where user_id = ${key}`
        const [row] = await tx.sql<{ n: number }>`select n from users where user_id = ${key}`
        await tx.query('insert into notes (user_id, body) values ($1, $2)', [key, 'x'])
        return row?.n
      })
    expect(value).toBe(1)
    expect(await valueOf(key)).toBe(1)
    expect(await context().db.sql`select body from notes where user_id = ${key}`).toEqual([{ body: 'x' }])
  })

  it('rolls back when its function throws, and throws the same', async () => {
    const key = newKey()
    await insert(key)
    const own = new Error('my own')
    const failing = context()
      .db.shard(key)
      .transaction(async (tx) => {
        await tx.sql`update users set n = 9 where user_id = ${key}`
        throw own
      })
    await expect(failing).rejects.toBe(own)
    expect(await valueOf(key)).toBe(0)
  })

  it('rolls back when a statement fails, and does not commit though the error was swallowed', async () => {
    const key = newKey()
    await insert(key)
    const error = await failureOf(
      context()
        .db.shard(key)
        .transaction(async (tx) => {
          await tx.sql`update users set n = 9 where user_id = ${key}`
          const inner = await failureOf(tx.sql`select 1/0`)
          expect(inner).toMatchObject({ code: 'sql_error', sqlstate: '22012', outcome: 'aborted' })
        }),
    )
    expect(error).toMatchObject({ code: 'transaction_aborted', outcome: 'aborted' })
    expect(await valueOf(key)).toBe(0)
  })

  it('waits for statements that its function did not wait for', async () => {
    const key = newKey()
    await insert(key)
    await context()
      .db.shard(key)
      .transaction(async (tx) => {
        void tx.query('update users set n = 3 where user_id = $1', [key])
      })
    expect(await valueOf(key)).toBe(3)
  })

  it('refuses a key of another shard', async () => {
    const { db } = context()
    const key = newKey()
    const other = Array.from({ length: 100 }, () => newKey()).find(
      (one) => db.shardFor(one).shardId !== db.shardFor(key).shardId,
    )
    const error = await failureOf(
      db.shard(key).transaction(async (tx) => tx.sql`update users set n = 1 where user_id = ${other ?? ''}`),
    )
    expect(error).toMatchObject({ code: 'cross_shard', outcome: 'aborted' })
  })

  it('is over when its function has ended', async () => {
    let kept: { query: (text: string) => PromiseLike<unknown> } | null = null
    await context()
      .db.shard('a')
      .transaction(async (tx) => {
        kept = tx
      })
    const error = await failureOf(
      (kept as unknown as { query: (text: string) => PromiseLike<unknown> }).query('select 1'),
    )
    expect(error.code).toBe('invalid_request')
  })

  it('takes isolation and read only', async () => {
    const { db } = context()
    await db.shard('a').transaction(
      async (tx) => {
        expect(await tx.sql`select current_setting('transaction_isolation') as level`).toEqual([
          { level: 'serializable' },
        ])
      },
      { isolation: 'serializable', readOnly: true },
    )
    const error = await failureOf(
      db
        .shard('a')
        .transaction(async (tx) => tx.sql`delete from users where user_id = 'a'`, { readOnly: true }),
    )
    expect(error.code).toBe('read_only')
  })

  it('is given up by its signal, in the middle of a statement too', async () => {
    const { db } = context()
    const key = newKey()
    await insert(key)
    const stop = new AbortController()
    const error = await failureOf(
      db.shard(key).transaction(
        async (tx) => {
          await tx.sql`update users set n = 9 where user_id = ${key}`
          const sleeping = tx.sql`select pg_sleep(60)`.result()
          stop.abort()
          await sleeping
        },
        { signal: stop.signal },
      ),
    )
    expect(error).toMatchObject({ code: 'canceled', outcome: 'aborted' })
    // Nobody holds the row: the lock is gone.
    await db.shard(key).sql`update users set n = 2 where user_id = ${key}`
    expect(await valueOf(key)).toBe(2)
  })

  it('lets many wait for their turn', async () => {
    const { db, mode } = context()
    if (mode === 'http') return
    const key = newKey()
    await insert(key)
    await Promise.all(
      Array.from({ length: 40 }, () =>
        db.shard(key).transaction(async (tx) => {
          await tx.sql`update users set n = n + 1 where user_id = ${key}`
        }),
      ),
    )
    expect(await valueOf(key)).toBe(40)
  })
}
