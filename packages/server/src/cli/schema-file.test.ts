import { describe, expect, test } from 'vitest'
import { createdTables, declarations, declaredTables } from './schema-file.ts'

const none = { keys: [], reference: [], global: [] }

describe('a schema file', () => {
  test('creates the tables that its statements name', () => {
    const sql = `
      CREATE TABLE users (id bigserial primary key);
      create table if not exists "Odd ""name""" (x int);
      create unlogged table app . orders (id int);
      create temp table scratch (x int);
      create table${'\n'}lines (id int);`
    expect(createdTables(sql)).toEqual(['users', '"Odd""name"""', 'app.orders', 'lines'])
  })

  test('is not misled by comments, texts and function bodies', () => {
    const sql = `-- create table a (x int)
      /* create table b (x int) */
      comment on schema public is 'create table c (x int)';
      create function f() returns void language plpgsql as $body$ begin create table d (x int); end $body$;
      create table e (x int default 1);`
    expect(createdTables(sql)).toEqual(['e'])
  })

  test('can say in comments how tables are kept', () => {
    const sql = `-- fleetshard: users key user_id
      -- FleetShard: app.countries reference
      --fleetshard: "Settings" global;`
    expect(declaredTables(sql)).toEqual([
      { name: 'users', kind: 'sharded', key_column: 'user_id' },
      { name: 'app.countries', kind: 'reference' },
      { name: '"Settings"', kind: 'global' },
    ])
    expect(() => declaredTables('-- fleetshard: users by user_id')).toThrow('cannot be read')
  })
})

describe('declarations', () => {
  test('the key of the only table needs no name', () => {
    expect(declarations(['users'], { ...none, keys: ['user_id'] }, [])).toEqual([
      { name: 'users', kind: 'sharded', key_column: 'user_id' },
    ])
  })

  test('flags outrank comments, and one name may be written in several ways', () => {
    const comments = [{ name: 'users', kind: 'reference' as const }]
    const found = declarations(
      ['public.users', 'c'],
      { ...none, keys: ['USERS=id'], global: ['c'] },
      comments,
    )
    expect(found).toEqual([
      { name: 'USERS', kind: 'sharded', key_column: 'id' },
      { name: 'c', kind: 'global' },
    ])
  })

  test('a table without a word is refused with the flags to add', () => {
    expect(() => declarations(['a', 'b'], { ...none, reference: ['a'] }, [])).toThrow(
      'how table b is to be kept',
    )
    expect(() => declarations(['a', 'b'], { ...none, keys: ['id'] }, [])).toThrow('--key must name the table')
  })

  test('a word about a table that the file does not create is refused', () => {
    expect(() => declarations(['a'], { keys: ['id'], reference: ['z'], global: [] }, [])).toThrow(
      'creates no table z',
    )
  })
})
