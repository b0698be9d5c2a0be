// Statements for tests of the lexer and the analysis: one line each, as varied as the grammar.

const LINES = String.raw`
select 1
select * from users where user_id = 'abc'
select * from users where user_id = 'it''s' and name = "odd ""name"""
select E'a\nb', E'it\'s', e'\\', E'\x41\101\u0041\U00000041', E'tab\there'
select U&'d\0061t\+000061', U&"d\0061t" from t, U&'d!0061t' uescape '!'
select u&"x" uescape '!' from t
select b'1010', B'', x'1F', X'ff', n'abc', N'abc'
select $$a$$, $a$ it's $b$ $a$, $_x1$;$_x1$, $é$x$é$
select $1, $2::text, $10+1, ($1)
select a$1 from t
select 1, 42, 007, 1.5, .5, 1., 1e10, 1.5e-3, .5E+2, 1e5
select 0x1F, 0XaB, 0o17, 0b101, 1_000, 0x_1F, 1_0.0_1
select 1..2, a[1:2], a[1], arr[$1:3]
select -5, - 5, +5, -0.5, -(5), - -5, 5-3, 5 - -3, a-1, a -1
select 1+1, 1 + 1, a+b, a||b, a ~ 'x', a !~~* 'y', @ -5, a@>b, a @- 5, a<@b, a ?| b, a ?& b, a #>> '{x}'
select a=-5, a<-5, a>=-5, a<>-5, a!=5, a=+5, a*-1, a %-1, a~-1
select 2/3, 2/*comment*//3, 2 /* a /* nested */ b */ * 3, 2 -- line
select a.b, a.*, a.b.c, "A"."B", (a).b, (a.b).c[1].d
select 'x'::uuid, uuid 'x', cast('x' as uuid), date '2020-01-01', timestamp with time zone 'now', interval '1' day
select interval '1 day', interval(3) '1 day', interval '1' year to month, '1'::interval day to second(3)
select '1'::numeric(10,2), cast(x as varchar(10)), varchar(3) 'abcd', char(3) 'abc', bit(3) '101', float(5) '1'
select x::text[], x::int[3], x::int[][], array[1,2,3]::int8[], '{1,2}'::int[], x::geometry(Point,4326)
select 'a' 'b' from t
select a:=1, f(a => 1, b := 2)
select * from t order by 1, 2 desc limit 10 offset 20
select a, count(*) from t group by 1 having count(*) > 5 order by 2 fetch first 5 rows only
select * from t fetch first row with ties
select count(*) filter (where a > 1) over (partition by b order by c rows between 1 preceding and 2 following) from t
select distinct on (a, 1) * from t where b in (1, 2, 3) and c in ('a', 'b') and d = any('{a,b}') and e = any(array['x', $1])
select * from a join b using (id) left join c on c.x = 1 natural full join d cross join e, lateral (select 1) f
select * from generate_series(1, 10) g(i), unnest(array['a','b']) with ordinality u(v, n), rows from (f(1), g(2)) as r(a, b)
select * from t tablesample system (10) repeatable (1)
select case when a = 1 then 'x' when a in (2, 3) then 'y' else 'z' end, coalesce(a, 0), nullif(a, ''), greatest(1, 2)
select exists (select 1 from t where a = 1), (select max(a) from t), a in (select b from u where c = 'x'), array(select 1)
select extract(epoch from now() - interval '1 hour'), position('a' in b), substring(a from 1 for 2), overlay(a placing 'x' from 1)
select trim(both ' ' from a), a collate "C", a at time zone 'UTC', a is distinct from 1, a between 1 and 2, a like 'x%' escape '!'
select row(1, 'a'), (1, 'a') = (b, c), (a, b) in ((1, 2), (3, 4)), a is null, not a, a is true
select nextval('s'), set_config('a.b', 'c', true), current_setting('x'), current_date, current_timestamp(3), localtime
select * from t for update of t skip locked
select * into temp x from t where a = 1
select 1 union select 2 union all (select 3 order by 1 limit 1) except select 4 intersect values (5), (6)
(select 1)
((select 1) union (select 2)) order by 1
values (1, 'a'), (2, 'b')
table t
with a as (select 1), b(x) as materialized (select 'y') select * from a, b
with recursive r(n) as (values (1) union all select n + 1 from r where n < 100) select sum(n) from r
with d as (delete from t where a = 1 returning *) insert into u select * from d
with x as (insert into t (a) values (1) returning a) update u set b = x.a from x where u.c = 'k'
insert into t (a, b) values (1, 'x'), (-2, E'y\n'), ($1, default) on conflict (a) do update set b = excluded.b || '!' where t.a > 0 returning *
insert into t default values
insert into t (a) overriding user value select 1 from u where v = 'x'
update t set a = 1, (b, c) = (2, 'x'), d[1] = 5 where e = 'k' returning a as x
update only t as u set a = u.a + 1 from v where v.b = u.b and v.c = 'x'
delete from t using u where t.a = u.a and u.b = 'x' returning t.*
merge into t using s on t.a = s.a and s.b = 'x' when matched and t.c > 1 then update set c = 2 when not matched then insert (a) values (s.a) when not matched by source then delete
merge into t using (values (1, 'x')) s(a, b) on t.a = s.a when matched then do nothing
truncate t, u restart identity cascade
begin
start transaction isolation level repeatable read, read only, deferrable
commit and chain
rollback to savepoint "Odd"
savepoint a
release a
prepare transaction 'gid'
set search_path = a, 'b c', "D"
set local work_mem to '1MB'
set time zone 'UTC'
set a.b = 1.5
reset all
show server_version
discard all
listen "Ch"
notify ch, 'payload'
prepare p (int, text[]) as select $1, 'a' from t where b = $2[1]
execute p (1, 'a', '{x}')
deallocate p
declare c no scroll cursor with hold for select 1 from t where a = 'x'
fetch forward 10 from c
move all in c
close c
copy t (a, b) from stdin with (format csv, delimiter ';', null '')
copy (select * from t where a = 1) to stdout
explain (analyze, buffers off, format json) select 1 from t where a = 'x'
explain analyze verbose select 1
explain (select 1)
lock table a, b in access exclusive mode nowait
call p(1, 'a')
do $$ begin perform 1; end $$
do language plpgsql 'begin end'
create table t (a int primary key default 1, b varchar(10) check (b <> 'x;y'), c numeric(10, 2) generated always as (a * 2) stored)
create temp table x on commit drop as select 1 as a, 'b' as b
create or replace function f(a int default 1) returns int language sql as $f$ select a; select 2; $f$
create function f() returns int begin atomic select 1; select 2 end; end
create function f(x int) returns int language sql begin atomic select case when x = 1 then 2 else 3 end; end
create procedure p() begin atomic end
create rule r as on insert to t do also (insert into u values (1); select 2)
create index concurrently on t using gin (a, (b || 'x')) where c = 'y'
create view v as select begin atomic, 'x;y' from t
alter table t add column x int default 5, alter b type text using b || ';'
comment on table t is 'it''s; fine'
grant select on t to "User"
vacuum (analyze, verbose) t
select 'é', "ü", '日本', E'é\'', $é$ 'x' $é$, 'a' as ñ from été where naïve = 'œ'
select 1 /* trailing */
select 1 -- trailing
/* leading */ select 'x' /* in the middle */ , 'y'
/* a /* b */ c */ select 2
select '/* no comment */', '-- none', $$ /* none */ $$, "/* none */", "-- none"
select 1;
;;; select 1 ;;
select 1; select 'a;b'; select $$;$$; select ";" from t /* ; */; -- ;
create function f() returns int begin atomic select 1; end; select 'x'; create function g() returns int begin atomic select 2; end
begin; insert into t (a) values (1); commit
select (1
select 'unterminated
select "unterminated
select $a$ unterminated
select /* unterminated
select E'\'
select 1 as "a" , 2 "b" , 3 c
select a ? 'b', a ?'b', a@?b, '1'::jsonb @? '$.a', a -> 'b' ->> 'c', a #- '{x}'
select xmlelement(name a, 'x'), json_value(a, '$.b' returning int), json_table(a, '$[*]' columns (x int path '$.x'))
select * from xmltable('/a' passing x columns b int path 'c')
select 1 operator(pg_catalog.+) 2, a operator(public.=) 'x'
select a from t where a = 99999999999 and b = 99999999999999999999 and c = 00042 and d = -0
select a from t where (a = 1 or a = 2) and not (b = 'x') and c is not null
select f(variadic array[1,2]), g('x', 2), h(distinct a order by b desc nulls last)
select null, true, false, unknown, default_value, user, session_user
select 1where a, 1a, 0x, 1__0, 1.5.5, 1e, 1.e5, $1a, $
select a!, !a, a !=-1, a <->b, a<=>b, a=>b, a:::b, a::b::c
`

/** Texts of a Query, some of them broken. */
export const corpus: readonly string[] = LINES.split('\n').filter((line) => line !== '')

/** Texts over several lines. */
export const corpusOfLines: readonly string[] = [
  "select 'a'\n'b'",
  "select 'a' \t\r\n \n 'b''c'",
  "select E'a'\n'\\n'",
  "select 'a'\n, 'b'",
  "select 'a' 'b'",
  "select U&'a'\n'b', b'1'\n'0', x'1'\n'f'",
  'select 1 -- one\n, 2 -- two\r, 3',
  "select /* a\n b */ 'x'",
  "insert into t\n  (a)\nvalues\n  ('x');\nselect 2",
  'select "a"\n"b"',
  "select $a$\n'x'\n$a$\n",
  "select 'a'\n\n-- c",
]
