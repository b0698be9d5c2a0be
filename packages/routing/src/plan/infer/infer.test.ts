// How keys travel: what is seen, and what must not be. `$1` is the key wherever one is given.
import { beforeAll, describe, expect, it } from 'vitest'
import { makePlan, type Plan } from '../plan.ts'
import { analyseText, loadGrammar } from '../postgres/analyse-text.ts'
import { makeTableNames } from '../table-names.ts'
import { testTable } from '../testing.ts'

const names = makeTableNames([
  testTable('public.users'),
  testTable('public.orders', { keyColumn: 'owner' }),
  testTable('public.items'),
  testTable('public.numbers', { keyColumn: 'id', keyType: 'int8' }),
  testTable('public.countries', { kind: 'reference', keyColumn: null, keyType: null }),
])

beforeAll(loadGrammar)

function planOf(text: string): Plan {
  const analysis = analyseText(text)
  if (analysis.kind !== 'statement') throw new Error(`${text}: ${analysis.kind}`)
  return makePlan(analysis.facts, names)
}

describe('a key travels', () => {
  it.each([
    // joins
    'select * from users u join orders o on o.owner = u.user_id where u.user_id = $1',
    'select * from users u join orders o on o.owner = u.user_id where o.owner = $1',
    'select * from users u, orders o, items i where u.user_id = o.owner and i.user_id = o.owner and i.user_id = $1',
    'select * from users join items using (user_id) where user_id = $1',
    'select * from users join items using (user_id) where items.user_id = $1',
    'select * from users u left join orders o on o.owner = u.user_id where u.user_id = $1',
    'select * from orders o right join users u on o.owner = u.user_id where u.user_id = $1',
    'select * from users u left join orders o on o.owner = $1 where u.user_id = $1',
    'select * from users u full join orders o on true where o.owner = u.user_id and o.owner = $1',
    'select * from countries c left join (users u join orders o on o.owner = u.user_id) on u.user_id = $1',
    'select * from users u left join (orders o left join items i on i.user_id = o.owner) on o.owner = u.user_id where u.user_id = $1',
    // lists
    'select * from users where user_id in ($1, $2)',
    'select * from users where user_id = any($1)',
    "select * from users where user_id = any('{a,b}')",
    'select * from users where user_id = any(array[$1, $2])',
    'select * from users where user_id = any($1::text[])',
    'select * from users where user_id = $1 or user_id = $2',
    'select * from users where (user_id = $1 and name = $2) or ($2 = user_id)',
    'select * from users where (user_id, name) = ($1, $2)',
    'select * from users where (name, user_id) in (($2, $1), ($2, $1))',
    // subqueries
    'select * from users u where user_id = $1 and exists (select from orders o where o.owner = u.user_id)',
    'select * from users u where user_id = $1 and not exists (select from orders o where o.owner = u.user_id)',
    'select * from users where user_id in (select owner from orders) and user_id = $1',
    'select * from users where user_id in (select owner from orders where owner = $1)',
    'select * from users where user_id not in (select owner from orders) and user_id = $1',
    'select * from users where user_id = (select owner from orders where owner = $1 limit 1)',
    'select * from users u where exists (select from orders o where o.owner = u.user_id and o.owner = $1)',
    'select (select count(*) from orders o where o.owner = u.user_id) from users u where u.user_id = $1',
    'select * from (select user_id, name from users) s where s.user_id = $1',
    'select * from (select * from users) s where user_id = $1',
    'select * from (select user_id as k from users) s join orders o on o.owner = s.k where o.owner = $1',
    'select * from (select user_id, count(*) from users group by user_id) s where s.user_id = $1',
    'select * from (select distinct user_id from users) s(k) where k = $1',
    'select * from users u, lateral (select * from orders o where o.owner = u.user_id limit 3) s where u.user_id = $1',
    'select * from (values ($1), ($2)) v(k) join users u on u.user_id = v.k',
    'select * from (select $1::text as k) v left join users u on u.user_id = v.k',
    // WITH and set operations
    'with s as (select * from users where user_id = $1) select * from s join orders o on o.owner = s.user_id',
    'with s as (select * from users) select * from s where user_id = $1',
    'with s as (select * from users) select * from s a join s b on a.user_id = b.user_id where b.user_id = $1',
    'with recursive r as (select * from users where user_id = $1 union all select * from r) select * from r',
    'select user_id from users where user_id = $1 union select owner from orders where owner = $1',
    'select * from (select user_id from users union all select owner from orders) s where s.user_id = $1',
    'select * from (select user_id from users except select owner from orders) s where s.user_id = $1',
    // writes
    'update users u set name = $2 from orders o where o.owner = u.user_id and u.user_id = $1',
    'delete from users u using orders o where o.owner = u.user_id and o.owner = $1',
    'insert into users (user_id) select owner from orders where owner = $1',
    'insert into users (user_id) select o.owner from orders o join items i on i.user_id = o.owner where i.user_id = $1',
    'with d as (delete from users where user_id = $1 returning *) insert into items (user_id) select user_id from d',
    "insert into users (user_id) values ('0042'), (1)",
    "insert into users (user_id) values ('0042'), ('1') limit 2",
    'merge into users u using (values ($1, $2)) s(user_id, name) on u.user_id = s.user_id when matched then update set name = s.name when not matched then insert (user_id) values (s.user_id)',
  ])('in: %s', (text) => {
    expect(planOf(text)).toMatchObject({ kind: 'keyed' })
  })
})

describe('a key does not travel', () => {
  it.each([
    // Of an outer join the rows of the kept side stay, whatever ON says.
    'select * from users u left join orders o on o.owner = u.user_id and u.user_id = $1',
    'select * from users u left join orders o on u.user_id = $1 where o.owner = $1',
    'select * from orders o right join users u on o.owner = u.user_id where o.owner = $1 or true',
    'select * from users u full join orders o on o.owner = u.user_id and o.owner = $1',
    'select * from countries c left join lateral (select * from orders o where o.owner = $1) s on true join users u on true',
    'select * from users u left join lateral (select 1 from orders o where o.owner = u.user_id and o.owner = $1) s on true',
    'select * from users full join items using (user_id) where user_id = $1',
    // Not equality, not certain, not of the same type.
    'select * from users where user_id = $1 or name = $2',
    'select * from users where not user_id = $1',
    'select * from users where user_id between $1 and $1',
    'select * from users where user_id = all($1)',
    'select * from users where user_id <> all($1)',
    'select * from users where (user_id = $1) is not false',
    'select * from users u, countries c where u.user_id = c.code and c.code = $1',
    'select * from users join countries using (user_id) where user_id = $1',
    'select * from users u, orders o where u.user_id || o.owner = $1',
    'select * from users u, orders o where u.user_id = o.owner::text and o.owner = $1',
    // Rows of other keys count inside.
    'select * from (select user_id from users limit 1) s where s.user_id = $1',
    'select * from (select max(user_id) as user_id from users) s where s.user_id = $1',
    'select * from (select user_id, count(*) over () from users) s where s.user_id = $1',
    'select * from (select distinct on (name) user_id from users) s where s.user_id = $1',
    'select * from (select name, user_id from users group by rollup (user_id, name)) s where s.user_id = $1',
    'select * from users where user_id = $1 and user_id = (select owner from orders)',
    'select * from users where user_id in (select owner from orders order by x limit 1) and user_id = $1',
    'select * from users u where exists (select count(*) from orders o where o.owner = u.user_id and o.owner = $1)',
    'select * from (select user_id from users union all select owner from orders limit 3) s where s.user_id = $1',
    'select user_id from users where user_id = $1 union select owner from orders',
    'with s as (select * from users) select * from s a, s b where a.user_id = $1',
    'with recursive r as (select * from users union all select * from r) select * from r where user_id = $1',
    // Names that mean something else.
    'select * from users u where user_id = $1 and exists (select from orders u where u.user_id = $1)',
    'select * from orders o where exists (select from countries c where c.owner = $1 and owner = $1)',
    'select * from users u, (select * from orders o where o.owner = u.user_id) s where u.user_id = $1',
    'select * from (users join countries on true) u where u.user_id = $1',
    'select * from users u(a, user_id) where user_id = $1',
    'select * from users natural join countries where user_id = $1',
    'select * from users u, f() where exists (select from orders o, g() u where o.owner = u.user_id) and u.user_id = $1',
    'with s(user_id) as (select name from users) select * from s where user_id = $1',
    'select * from (select name as user_id from users) s where s.user_id = $1',
    'select * from numbers n, users u where u.user_id = $1 and n.id = $2::text',
    // A write in WITH happens, whatever is read of it.
    'with d as (delete from users returning *) select * from d where user_id = $1',
    'with d as (delete from users where user_id = $1 returning *) delete from orders using d where true',
    'merge into users u using items i on u.user_id = i.user_id and i.user_id = $1 when matched then delete',
  ])('in: %s', (text) => {
    expect(planOf(text)).toMatchObject({ kind: 'unkeyed' })
  })
})

describe('the key of a new row is not certain', () => {
  it.each([
    // NULL where there is no match.
    'insert into users (user_id) select o.owner from countries c left join orders o on o.owner = $1',
    'insert into users (user_id) select s.k from countries c left join (select $1::text) s(k) on false',
    // A text and a number in one column are numbers.
    "insert into users (user_id) select k from (values ('0042'), (1)) v(k)",
    "insert into users (user_id) values ('0042'), (1) limit 2",
    "insert into users (user_id) (values ('0042'), (1) order by 1)",
    "insert into users (user_id) with w as (select 1) values ('0042'), (1)",
    'insert into users (user_id) select k from (values (0042)) v(k)',
    'insert into users (user_id) select owner from orders',
    'insert into users (user_id) select owner from orders where owner = $1 union select $1',
    'insert into users (user_id) values ($1), (default)',
    'with w as (insert into users (user_id) select name from countries returning *) select * from w',
    'with u as (update users set user_id = $1 where user_id = $1 returning *) select * from u',
    'merge into users u using countries c on u.user_id = c.code when not matched then insert values (c.code)',
    'merge into users u using countries c on u.user_id = $1 when not matched then insert (user_id) values (c.code)',
    'merge into users u using countries c on u.user_id = $1 when matched then update set user_id = c.code',
    'copy users (user_id) from stdin',
  ])('in: %s', (text) => {
    expect(planOf(text)).toMatchObject({ kind: 'refused' })
  })
})

it('gives up on what is beyond its bounds', () => {
  const terms = Array.from({ length: 6_000 }, () => 'u.user_id = u.user_id').join(' and ')
  expect(planOf(`select * from users u where u.user_id = $1 and ${terms}`)).toMatchObject({ kind: 'unkeyed' })
  const ctes = Array.from({ length: 12 }, (_, index) =>
    index === 0
      ? 'w0 as (select * from users)'
      : `w${String(index)} as (select a.* from w${String(index - 1)} a, w${String(index - 1)} b)`,
  )
  expect(planOf(`with ${ctes.join(', ')} select * from w11 where user_id = $1`)).toMatchObject({
    kind: 'unkeyed',
  })
})
