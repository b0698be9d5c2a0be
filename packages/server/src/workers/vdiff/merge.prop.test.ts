// Rows of several servers come together in the order of their keys' bytes, whatever parts they come in.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ComparedRow, ComparedTable, RowReader } from '../../engine/mod.ts'
import { compareBytes, mergedRows } from './merge.ts'

const table: ComparedTable = { name: 'public.t', columns: ['k'], key: ['k'], shardKey: null }
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
const text = fc.string({ unit: 'grapheme', maxLength: 6 })

/** A server with these keys, told in parts of that size. */
function readerOf(keys: readonly string[], partRows: number): RowReader {
  const rows = keys.toSorted(byBytes).map((key): ComparedRow => ({ key, shardKey: null, hash: key }))
  return {
    sum: () => Promise.resolve({ rows: rows.length, sum: 0n }),
    async *rows() {
      for (let at = 0; at <= rows.length; at += partRows) yield rows.slice(at, at + partRows)
    },
    rowsOf: () => Promise.resolve([]),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

describe('rows of several servers', () => {
  it('are ordered by bytes, as Postgres orders under C', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareBytes(a, b))).toBe(Math.sign(byBytes(a, b)))
      }),
    )
  })

  it('come together by key', async () => {
    const places = fc.array(fc.tuple(fc.array(text, { maxLength: 12 }), fc.integer({ min: 1, max: 5 })), {
      maxLength: 4,
    })
    await fc.assert(
      fc.asyncProperty(places, async (drawn) => {
        const found: string[] = []
        const expected = drawn.flatMap(([keys], shard) => keys.map((key) => `${key} on ${String(shard)}`))
        const at = drawn.map(([keys, rows], shard) => ({
          shard: String(shard),
          reader: readerOf(keys, rows),
        }))
        const seen: string[] = []
        for await (const { key, rows } of mergedRows(table, at)) {
          seen.push(key)
          for (const { shard, row } of rows) found.push(`${row.key} on ${shard}`)
        }
        expect(found.toSorted()).toEqual(expected.toSorted())
        expect(seen).toEqual([...new Set(seen)].toSorted(byBytes))
      }),
    )
  })
})
