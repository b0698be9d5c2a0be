import { describe, expect, it } from 'vitest'
import type { ColumnFacts, TableFacts } from './schema-facts.ts'
import { shapeDifference } from './table-shape.ts'

const column = (name: string, change: Partial<ColumnFacts> = {}): ColumnFacts => ({
  name,
  type: 'bigint',
  baseType: 'int8',
  isDomain: false,
  notNull: false,
  collation: null,
  identity: null,
  generated: false,
  defaultExpression: null,
  sequence: null,
  ...change,
})

const table = (change: Partial<TableFacts> = {}): TableFacts => ({
  name: 'public.t',
  schema: 'public',
  relation: 't',
  kind: 'table',
  unlogged: false,
  parent: null,
  columns: [column('a'), column('b')],
  uniques: [{ name: 't_pkey', kind: 'primary', columns: ['a'], partial: false }],
  foreignKeys: [],
  lookups: [],
  triggers: [],
  hasRules: false,
  rowsEstimate: null,
  bytes: 0,
  ...change,
})

const difference = (change: Partial<TableFacts>): string | null =>
  shapeDifference(table(), table(change), ['x', 'y'])

describe('shapeDifference', () => {
  it('sees no difference in sizes and in names of constraints', () => {
    const uniques = [{ name: 'other', kind: 'primary', columns: ['a'], partial: false }] as const
    expect(difference({ rowsEstimate: 9, bytes: 8192, uniques })).toBeNull()
  })

  it.each<[Partial<TableFacts>, string]>([
    [{ columns: [column('a')] }, 'column b is only there on x'],
    [{ columns: [column('a'), column('b'), column('c')] }, 'column c is only there on y'],
    [{ columns: [column('b'), column('a')] }, 'column a has another place on y'],
    [{ columns: [column('a'), column('b', { type: 'text' })] }, 'column b is bigint on x and text on y'],
    [
      { columns: [column('a'), column('b', { notNull: true, defaultExpression: '1' })] },
      'column b is bigint on x and bigint NOT NULL DEFAULT 1 on y',
    ],
    [{ uniques: [] }, 'key primary (a) is only there on x'],
    [
      {
        foreignKeys: [
          {
            name: 'f',
            columns: ['b'],
            references: 'public.u',
            referencedColumns: ['id'],
            setsDefault: false,
          },
        ],
      },
      'foreign key (b) to public.u (id) is only there on y',
    ],
    [
      {
        triggers: [
          {
            name: 'g',
            timing: 'before',
            perRow: true,
            onInsert: true,
            onUpdate: false,
            enabled: true,
            routine: 'public.f',
          },
        ],
      },
      'trigger g (before row insert, public.f) is only there on y',
    ],
    [{ hasRules: true }, 'it has rules only on y'],
    [{ unlogged: true }, 'it is unlogged only on y'],
    [{ kind: 'partitioned' }, 'it is a plain table on x and partitioned on y'],
  ])('tells what differs: %j', (change, expected) => {
    expect(difference(change)).toBe(expected)
  })
})
