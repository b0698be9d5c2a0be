import { describe, expect, test } from 'vitest'
import { testSnapshot } from '../testing.ts'
import { refuseUnprotected, refuseUnprotectedSetting } from './commit-wait.ts'
import type { ShardMap } from '@fleetshard/core'

const mapOf = (durability: 'protection' | 'availability'): ShardMap => {
  const snapshot = testSnapshot(1, [])
  return { snapshot: { ...snapshot, keyspace: { ...snapshot.keyspace, durability } } } as ShardMap
}

describe('under protection', () => {
  test.each([
    'set synchronous_commit = off',
    'SET LOCAL Synchronous_Commit TO local',
    "set session synchronous_commit to 'remote_write'",
    'set "synchronous_commit" = off',
    'set /* really */ synchronous_commit = off',
    'begin; set local synchronous_commit = off',
    "select set_config('synchronous_commit', 'off', false)",
    "select pg_catalog.set_config('Synchronous_Commit', 'off', true)",
    "select \"set_config\"('app.user', 'x', false), set_config(E'synchronous\\x5fcommit', 'off', false)",
    'select set_config($1, $2, false)',
    "select set_config('synchronous' || '_commit', 'off', false)",
    "select set_config /* */ ('app.user', '7', true)",
    "update pg_settings set setting = 'off' where name = 'synchronous_commit'",
    'alter role app set synchronous_commit = off',
    'alter database app set synchronous_commit to local',
    'alter system set synchronous_commit = off',
    'create function f() returns int language sql set synchronous_commit = off as $$ select 1 $$',
    'alter function f() set synchronous_commit = off',
    'do $$ begin set local synchronous_commit = off; end $$',
    'set u&"synchronous\\005fcommit" = off',
    'prepare p as select set_config($1, $2, false)',
  ])('refuses %s', (text) => {
    expect(() => {
      refuseUnprotected(text, mapOf('protection'))
    }).toThrow(/under protection/)
    refuseUnprotected(text, mapOf('availability'))
  })

  test.each([
    'set synchronous_commit = on',
    "set local synchronous_commit to 'remote_apply';",
    'set synchronous_commit to default',
    'reset synchronous_commit',
    'show synchronous_commit',
    "select current_setting('synchronous_commit')",
    "select setting from pg_settings where name = 'synchronous_commit'",
    "select set_config('app.user', $1, true)",
    "select pg_catalog.set_config('search_path', '', false)",
    "insert into notes (text) values ('commit')",
  ])('lets %s pass', (text) => {
    refuseUnprotected(text, mapOf('protection'))
  })

  test('refuses it in a startup message', () => {
    const map = mapOf('protection')
    expect(() => {
      refuseUnprotectedSetting('synchronous_commit', 'off', map)
    }).toThrow(/under protection/)
    refuseUnprotectedSetting('synchronous_commit', 'on', map)
    refuseUnprotectedSetting('work_mem', '4MB', map)
  })
})
