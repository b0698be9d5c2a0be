import { beforeAll, describe, expect, it } from 'vitest'
import { refuseUnlessConcatenated } from './concatenate.ts'
import { noTarget } from './hint.ts'
import { analyseText, loadGrammar } from './postgres/analyse-text.ts'
import { testMap, testTable } from './testing.ts'

const map = testMap(2, [
  testTable('public.users'),
  testTable('public.orders'),
  testTable('public.visits', { keyColumn: 'visitor', keyType: 'int8' }),
  testTable('public.kinds', { kind: 'reference', keyColumn: null, keyType: null }),
  testTable('public.settings', { kind: 'global', keyColumn: null, keyType: null }),
])

/** Why the statement may not run on every shard; null when it may. */
function refusalOf(text: string): string | null {
  const analysis = analyseText(text)
  if (analysis.kind !== 'statement') throw new Error(`${text}: ${analysis.kind}`)
  try {
    refuseUnlessConcatenated(
      { text, facts: analysis.facts, hint: noTarget, cost: { meanMs: null, large: false, alone: 0 } },
      map,
    )
    return null
  } catch (error) {
    return (error as Error).message
  }
}

describe('a statement over all shards', () => {
  beforeAll(loadGrammar)

  it.each([
    'select * from users',
    'select u.name, upper(u.name) from public.users u where u.n > 3 and name like $1',
    'select u.*, o.total from users u join orders o on o.user_id = u.user_id where o.total > 1',
    'select * from users u, orders o where u.user_id = o.user_id',
    'select a.* from users a join users b on a.user_id = b.user_id join orders c on b.user_id = c.user_id',
    'select u.name, k.label from users u join kinds k on k.kind = u.kind',
    'select u.name, k.label from users u left join kinds k on k.kind = u.kind',
    'select * from users where kind in (select kind from kinds where label = $1)',
    'select (select label from kinds k where k.kind = users.kind) from users',
  ])('may be %s', (text) => {
    expect(refusalOf(text)).toBeNull()
  })

  it.each([
    ['select count(*) from users', 'aggregate'],
    ['select sum(n) filter (where n > 1) from users', 'aggregate'],
    ['select string_agg(name, $1 order by name) from users', 'aggregate'],
    ['select count(distinct name) from users', 'aggregate'],
    ['select row_number() over () from users', 'window'],
    ['select percentile_cont(0.5) within group (order by n) from users', 'aggregate'],
    ['select json_arrayagg(name) from users', 'aggregate'],
    ['select name from users group by name', 'GROUP BY'],
    ['select 1 from users having true', 'HAVING'],
    ['select distinct name from users', 'DISTINCT'],
    ['select distinct on (name) * from users', 'DISTINCT'],
    ['select * from users order by name', 'ORDER BY'],
    ['select * from users limit 1', 'LIMIT'],
    ['select * from users fetch first row only', 'LIMIT'],
    ['select * from users offset 1', 'OFFSET'],
    ['select * from users union all select * from users', 'set operation'],
    ['with a as (select * from users) select * from a', 'WITH'],
    ['select * from users for update', 'locks'],
    ['select * from (select * from users) u', 'FROM'],
    ['select * from users, lateral (select 1) x', 'FROM'],
    ['select * from generate_series(1, 2)', 'FROM'],
    ['select * from users tablesample system (10)', 'FROM'],
    ['values (1)', 'VALUES'],
    ['select 1', 'no sharded table'],
    ['select * from kinds', 'no sharded table'],
    ['select * from settings', 'global'],
    ['select * from users, settings', 'global'],
    ['select * from elsewhere', 'not declared'],
    ['select * from users, elsewhere', 'not declared'],
    ['select * from users, orders', 'joined by their shard keys'],
    ['select * from users u join orders o on o.name = u.name', 'joined by their shard keys'],
    ['select * from users u join orders o on user_id = user_id', 'joined by their shard keys'],
    ['select * from users u join orders o on o.user_id = u.user_id or true', 'joined by their shard keys'],
    ['select * from users u join orders o on o.user_id = lower(u.user_id)', 'joined by their shard keys'],
    ['select * from users u join visits v on v.visitor = u.user_id', 'joined by their shard keys'],
    ['select * from users join orders using (user_id)', 'USING'],
    ['select * from users natural join orders', 'NATURAL'],
    ['select * from users u left join orders o on o.user_id = u.user_id', 'outer join'],
    ['select * from kinds k left join users u on u.kind = k.kind', 'outer join'],
    ['select * from users u full join kinds k on k.kind = u.kind', 'outer join'],
    ['select * from users u right join kinds k on k.kind = u.kind', 'outer join'],
    ['select * from users where user_id in (select user_id from orders)', 'subquery'],
    ['select (select max(n) from orders) from users', 'subquery'],
    ['select * from users u (a, b)', 'other names'],
    ['insert into users (user_id) select user_id from orders', 'SELECT'],
    ['delete from users', 'SELECT'],
    ['explain select * from users', 'EXPLAIN'],
  ])('may not be %s', (text, reason) => {
    expect(refusalOf(text)).toContain(reason)
  })
})
