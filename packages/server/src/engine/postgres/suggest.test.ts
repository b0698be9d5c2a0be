// Suggestions on small models of real schemas.
import { describe, expect, it } from 'vitest'
import type { ColumnFacts, ForeignKeyFacts, TableFacts, TableSuggestion } from '../schema-facts.ts'
import { columnFacts, sequenceFacts, tableFacts, uniqueFacts } from './facts-kit.ts'
import { suggestTables } from './suggest.ts'

function suggest(...tables: readonly TableFacts[]): Readonly<Record<string, TableSuggestion>> {
  return Object.fromEntries(suggestTables(tables).map((found) => [found.table, found]))
}

const serialId: ColumnFacts = {
  ...columnFacts('id', 'int8'),
  sequence: sequenceFacts('public.s'),
  defaultExpression: "nextval('public.s'::regclass)",
}
const primary = (...columns: string[]) => uniqueFacts('p', columns, { kind: 'primary' })
const refers = (column: string, references: string, to: string): ForeignKeyFacts => ({
  name: `${column}_fkey`,
  columns: [column],
  references,
  referencedColumns: [to],
  setsDefault: false,
})

describe('suggestions', () => {
  it('shard a lone table by the unique column that clients give, not by its serial', () => {
    const users = tableFacts('public.users', {
      columns: [serialId, columnFacts('user_id', 'varchar'), columnFacts('email', 'varchar')],
      uniques: [primary('id'), uniqueFacts('ux', ['user_id'])],
    })
    expect(suggest(users)['public.users']).toMatchObject({
      kind: 'sharded',
      keyColumn: 'user_id',
      keyType: 'text',
      reason: expect.stringContaining('unique') as string,
      obstacle: null,
    })
  })

  it('shard a lone table by its primary key where there is nothing better', () => {
    const cities = tableFacts('public.cities', {
      columns: [columnFacts('city_id', 'int8'), columnFacts('name', 'text')],
      uniques: [primary('city_id')],
    })
    expect(suggest(cities)['public.cities']).toMatchObject({
      kind: 'sharded',
      keyColumn: 'city_id',
      obstacle: null,
    })
  })

  it('shard by the tenant that ties the tables together', () => {
    const table = (name: string, ...more: string[]): TableFacts =>
      tableFacts(name, {
        columns: [
          columnFacts('tenant_id', 'uuid'),
          serialId,
          ...more.map((column) => columnFacts(column, 'text')),
        ],
        uniques: [primary('tenant_id', 'id')],
        rowsEstimate: 1_000_000,
        bytes: 10 ** 9,
      })
    const found = suggest(table('public.projects'), table('public.tasks', 'user_id'), table('public.notes'))
    for (const suggestion of Object.values(found)) {
      expect(suggestion).toMatchObject({
        kind: 'sharded',
        keyColumn: 'tenant_id',
        keyType: 'uuid',
        obstacle: null,
      })
    }
    expect(found['public.tasks']?.reason).toContain('public.projects')
  })

  it('follow a foreign key to the owner, whose own column has another name', () => {
    const users = tableFacts('public.users', {
      columns: [columnFacts('id', 'uuid')],
      uniques: [primary('id')],
      rowsEstimate: 50_000,
      bytes: 10 ** 7,
    })
    const orders = tableFacts('public.orders', {
      columns: [columnFacts('id', 'uuid'), columnFacts('user_id', 'uuid')],
      uniques: [primary('id')],
      foreignKeys: [refers('user_id', 'public.users', 'id')],
      rowsEstimate: 500_000,
      bytes: 10 ** 8,
    })
    const found = suggest(users, orders)
    expect(found['public.users']).toMatchObject({ kind: 'sharded', keyColumn: 'id', obstacle: null })
    expect(found['public.orders']).toMatchObject({ kind: 'sharded', keyColumn: 'user_id', keyType: null })
    expect(found['public.orders']?.obstacle).toContain('PRIMARY KEY ("user_id", "id")')
  })

  it('copy small tables that others refer to, and never shard by a lookup code', () => {
    const countries = tableFacts('public.countries', {
      columns: [columnFacts('code', 'text')],
      uniques: [primary('code')],
      rowsEstimate: 250,
      bytes: 16_384,
    })
    const users = tableFacts('public.users', {
      columns: [columnFacts('user_id', 'text'), columnFacts('country_code', 'text')],
      uniques: [primary('user_id')],
      foreignKeys: [refers('country_code', 'public.countries', 'code')],
      rowsEstimate: 1_000_000,
      bytes: 10 ** 9,
    })
    const found = suggest(countries, users)
    expect(found['public.countries']).toMatchObject({ kind: 'reference', keyColumn: null, obstacle: null })
    expect(found['public.countries']?.reason).toContain('public.users')
    expect(found['public.users']).toMatchObject({ kind: 'sharded', keyColumn: 'user_id', obstacle: null })
  })

  it('leave on one shard what has no key', () => {
    const settings = tableFacts('public.settings', { columns: [columnFacts('value', 'jsonb')] })
    expect(suggest(settings)['public.settings']).toMatchObject({ kind: 'global', obstacle: null })
  })

  it('leave partitions and children to their parents', () => {
    const events = tableFacts('public.events', {
      kind: 'partitioned',
      columns: [columnFacts('user_id', 'text')],
      uniques: [primary('user_id')],
    })
    const part = tableFacts('public.events_1', { kind: 'partition', parent: 'public.events' })
    expect(Object.keys(suggest(events, part, tableFacts('public.f', { kind: 'foreign' })))).toEqual([
      'public.events',
    ])
  })

  it('are none for no tables', () => {
    expect(suggestTables([])).toEqual([])
  })
})
