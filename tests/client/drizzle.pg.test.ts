// Drizzle over the client, in both modes, by what the guide shows.
import { readFileSync } from 'node:fs'
import { eq } from 'drizzle-orm'
import { bigserial, integer, pgTable, varchar } from 'drizzle-orm/pg-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ConformanceContext } from './conformance.ts'
import { startContext } from './context.ts'
import { drizzleFor } from './drizzle-for.ts'

const users = pgTable('users', {
  id: bigserial({ mode: 'bigint' }).primaryKey(),
  userId: varchar('user_id', { length: 255 }).notNull(),
  name: varchar(),
  n: integer().notNull().default(0),
})

it('is what the guide shows', () => {
  const text = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8')
  const [, code = ''] = /^[^\n]*\n(.*)$/s.exec(text('./drizzle-for.ts')) ?? []
  expect(text('../../docs/guides/client.md')).toContain(code.trim())
})

describe.each(['http', 'direct'] as const)('drizzle in %s mode', (mode) => {
  let context: ConformanceContext & AsyncDisposable
  beforeAll(async () => {
    context = await startContext(mode)
  })
  afterAll(() => context[Symbol.asyncDispose]())

  it('writes, reads and changes rows on the shard of a key', async () => {
    const db = drizzleFor(context.db.shard('drizzled'))
    await db.insert(users).values({ userId: 'drizzled', name: 'D' })
    const [row] = await db.select().from(users).where(eq(users.userId, 'drizzled'))
    expect({ ...row, id: typeof row?.id }).toEqual({ id: 'bigint', userId: 'drizzled', name: 'D', n: 0 })
    const changed = await db.update(users).set({ n: 3 }).where(eq(users.userId, 'drizzled')).returning()
    expect(changed.map(({ n }) => n)).toEqual([3])
  })
})
