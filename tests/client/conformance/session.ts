// Session tokens: what one client has written, another one's reads see.
import { expect, it } from 'vitest'
import type { ConformanceContext } from '../conformance.ts'
import { failureOf } from '../failure.ts'

/** The cases. */
export function sessionCases(context: () => ConformanceContext): void {
  it('is null until something was written, by a statement or a transaction', async () => {
    await using db = await context().connect()
    await db.sql`select 1`
    expect(db.session).toBeNull()
    await db.sql`insert into users (user_id) values (${`session-${db.mode}`})`
    const first = db.session
    expect(first).toMatch(/^fs1,app\/s?\d=/)
    await db.shard('elsewhere').transaction(async (tx) => {
      await tx.sql`insert into notes (user_id) values ('elsewhere')`
    })
    expect(db.session).not.toBe(first)
  })

  it('travels to another client, by its property or with a call', async () => {
    const { db } = context()
    const key = `travels-${db.mode}`
    await db.sql`insert into users (user_id) values (${key})`
    await using other = await context().connect()
    other.session = db.session
    expect(other.session).toBe(db.session)
    const text = 'select user_id from users where user_id = $1'
    const consistency = { session: db.session }
    expect((await other.query(text, [key], { consistency })).rows).toEqual([{ user_id: key }])
    expect((await other.query(text, [key], { consistency: { session: null } })).rowCount).toBe(1)
    expect((await other.query(text, [key], { consistency: { maxStalenessMs: 1_000 } })).rowCount).toBe(1)
  })

  it('refuses what is no token', async () => {
    const { db } = context()
    const error = await failureOf(db.query('select 1', [], { consistency: { session: 'nonsense' } }))
    expect(error.code).toBe('invalid_request')
    expect(() => (db.session = 'nonsense')).toThrow(expect.objectContaining({ code: 'invalid_request' }))
  })
}
