// Writes under an idempotency key: done once, whoever asks and by whichever way.
import { connect } from '@fleetshard/client'
import { expect, it } from 'vitest'
import type { ConformanceContext } from '../conformance.ts'
import { failureOf } from '../failure.ts'

let keys = 0
const newKey = (): string => `i-${String((keys += 1))}-${String(process.pid)}`

/** The cases. */
export function idempotencyCases(context: () => ConformanceContext): void {
  const increment = 'update users set n = n + 1 where user_id = $1 returning n'

  it('does a write once and answers the same again', async () => {
    const { db } = context()
    const key = newKey()
    await db.sql`insert into users (user_id) values (${key})`
    const options = { idempotencyKey: `once-${key}` }
    const first = await db.query(increment, [key], options)
    const second = await db.query(increment, [key], options)
    expect(first).toMatchObject({ rows: [{ n: 1 }], rowCount: 1, replayed: false })
    expect(second).toMatchObject({ rows: [{ n: 1 }], rowCount: 1, replayed: true })
  })

  it('does it once among many at the same time, in both modes', async () => {
    const { db, router } = context()
    await using other = await connect({
      url: router.url,
      keyspace: 'app',
      mode: context().mode === 'http' ? 'direct' : 'http',
      fallback: false,
      pool: { connectionsMax: 4 },
    })
    const key = newKey()
    await db.sql`insert into users (user_id) values (${key})`
    const options = { idempotencyKey: `many-${key}` }
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, at) => (at % 2 === 0 ? db : other).query(increment, [key], options)),
    )
    expect(results.map(({ rows }) => rows)).toEqual(results.map(() => [{ n: 1 }]))
    expect(results.filter(({ replayed }) => !replayed)).toHaveLength(1)
  })

  it('refuses another statement under the same key', async () => {
    const { db } = context()
    const key = newKey()
    await db.sql`insert into users (user_id) values (${key})`
    const options = { idempotencyKey: `other-${key}` }
    await db.query(increment, [key], options)
    const error = await failureOf(db.query('update users set n = 7 where user_id = $1', [key], options))
    expect(error).toMatchObject({ code: 'idempotency_mismatch', outcome: 'aborted' })
  })

  it('refuses keys that are none', async () => {
    for (const idempotencyKey of ['', 'x'.repeat(256), 'a\nb']) {
      const error = await failureOf(context().db.query('select 1', [], { idempotencyKey }))
      expect(error.code).toBe('invalid_request')
    }
  })
}
