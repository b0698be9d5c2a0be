// Drizzle over a handle of the client, as docs/guides/client.md shows it.
import type { Queryable } from '@fleetshard/client'
import { drizzle } from 'drizzle-orm/pg-proxy'

/** Drizzle's proxy driver sends each statement through the handle; `all` wants rows as arrays. */
export const drizzleFor = (handle: Queryable) =>
  drizzle(async (text, params: Parameters<Queryable['query']>[1], method) => {
    const { rows, columns } = await handle.query(text, params)
    if (method !== 'all') return { rows }
    return { rows: rows.map((row) => columns.map(({ name }) => row[name])) }
  })
