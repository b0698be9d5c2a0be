// The query behind SchemaFacts: rows of (kind, name, detail) from the system catalogs.

/** Objects made by the user have an OID from here on (FirstNormalObjectId in src/include/access/transam.h). */
const firstUserOid = '16384'

const functions = `
select 'volatile', p.proname::text, '' from pg_catalog.pg_proc p where p.provolatile = 'v'
union select 'steady', p.proname::text, '' from pg_catalog.pg_proc p
  where p.oid < ${firstUserOid} and p.provolatile <> 'v'
union select 'aggregate', p.proname::text, '' from pg_catalog.pg_proc p where p.prokind in ('a', 'w')
union select case n.nspname when 'fleetshard' then 'own' else 'function' end, p.proname::text, ''
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where p.oid >= ${firstUserOid}
union select 'reading', p.proname::text, '' from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
  where p.oid >= ${firstUserOid} and p.provolatile <> 'i' and n.nspname <> 'fleetshard'
    and l.lanname not in ('c', 'internal') and not exists (select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid and d.deptype = 'e')`

/** C functions that say they are immutable are believed: the operators of extensions are written so. */
const operatorsAndTypes = `
union select 'operator', o.oprname::text, '' from pg_catalog.pg_operator o
  join pg_catalog.pg_proc p on p.oid = o.oprcode join pg_catalog.pg_language l on l.oid = p.prolang
  where p.provolatile = 'v'
    or o.oid >= ${firstUserOid} and not (p.provolatile = 'i' and l.lanname in ('c', 'internal'))
union select 'reading operator', o.oprname::text, '' from pg_catalog.pg_operator o
  join pg_catalog.pg_proc p on p.oid = o.oprcode join pg_catalog.pg_language l on l.oid = p.prolang
  where o.oid >= ${firstUserOid} and p.provolatile <> 'i' and l.lanname not in ('c', 'internal')
union select 'equality', case when o.oprleft = o.oprright then 'same' else 'mixed' end, ''
  from pg_catalog.pg_operator o where o.oid >= ${firstUserOid} and o.oprname = '='
    and o.oprleft < ${firstUserOid} and o.oprright < ${firstUserOid}
union select 'equality', 'mixed', '' from pg_catalog.pg_cast c where c.oid >= ${firstUserOid}
    and c.castcontext = 'i' and c.castsource < ${firstUserOid} and c.casttarget < ${firstUserOid}
union select 'type', t.typname::text, '' from pg_catalog.pg_type t
  where t.oid >= ${firstUserOid} and t.typtype in ('b', 'd', 'c') and t.typrelid = 0
union select 'implicit', c.oid::text, '' from pg_catalog.pg_cast c join pg_catalog.pg_proc p on p.oid = c.castfunc
  join pg_catalog.pg_language l on l.oid = p.prolang
  where c.oid >= ${firstUserOid} and c.castcontext <> 'e' and l.lanname not in ('c', 'internal')
union select 'implicit', a.oid::text, '' from pg_catalog.pg_amop a
  join pg_catalog.pg_operator o on o.oid = a.amopopr join pg_catalog.pg_proc p on p.oid = o.oprcode
  join pg_catalog.pg_language l on l.oid = p.prolang
  where a.oid >= ${firstUserOid} and l.lanname not in ('c', 'internal')
union all (with recursive d as (
    select t.oid as domain, t.typbasetype as base from pg_catalog.pg_type t where t.typtype = 'd'
    union all select d.domain, t.typbasetype from d join pg_catalog.pg_type t on t.oid = d.base and t.typtype = 'd')
  select 'domain', d.domain::text, d.base::text from d join pg_catalog.pg_type t on t.oid = d.base
    where t.typtype <> 'd')`

const readable = `c.relkind in ('r', 'p') and not c.relrowsecurity
  and not exists (select from pg_catalog.pg_rewrite w where w.ev_class = c.oid)`

const tables = `
union all select 'readable', c.relname::text, '' from pg_catalog.pg_class c
  where c.oid >= ${firstUserOid} and c.relkind in ('r', 'p', 'v', 'm', 'f')
  group by c.relname having bool_and(${readable})
union all select 'plain', c.relname::text, '' from pg_catalog.pg_class c
  where c.oid >= ${firstUserOid} and c.relkind in ('r', 'p', 'v', 'm', 'f') group by c.relname
  having bool_and(${readable}
    and not exists (select from pg_catalog.pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal)
    and not exists (select from pg_catalog.pg_attrdef a join pg_catalog.pg_depend d
      on d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = a.oid
      join pg_catalog.pg_proc p on p.oid = d.refobjid join pg_catalog.pg_namespace n on n.oid = p.pronamespace
      where a.adrelid = c.oid and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        and n.nspname <> 'fleetshard'))
union select 'indirect', c.relname::text, '' from pg_catalog.pg_class c where c.oid >= ${firstUserOid} and (
  c.relkind in ('v', 'f') or c.relhasrules
  or exists (select from pg_catalog.pg_inherits i where i.inhrelid = c.oid) and c.relkind in ('r', 'p'))
union select 'system', c.relname::text, '' from pg_catalog.pg_class c where c.oid < ${firstUserOid}
union select 'double', c.relname::text,
    coalesce(min(n.nspname::text) filter (where pg_catalog.pg_table_is_visible(c.oid)), '')
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.oid >= ${firstUserOid} and c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_'
  group by c.relname having count(*) > 1
union select 'sequence', c.relname::text, '' from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.oid >= ${firstUserOid} and c.relkind = 'S' and n.nspname <> 'fleetshard'
    and not exists (select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.deptype in ('a', 'i')
        or d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.refobjid = c.oid)
union select 'counting', c.relname::text, '' from pg_catalog.pg_class c
  join pg_catalog.pg_attribute a on a.attrelid = c.oid where c.oid >= ${firstUserOid} and a.attidentity <> ''
union select 'counting', c.relname::text, '' from pg_catalog.pg_attrdef a
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = a.oid
    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  join pg_catalog.pg_class s on s.oid = d.refobjid and s.relkind = 'S'
  join pg_catalog.pg_class c on c.oid = a.adrelid
union select 'counting', c.relname::text, '' from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.confrelid
  where k.confdeltype not in ('a', 'r') or k.confupdtype not in ('a', 'r')
union select 'width:' || case t.typtype when 'd' then 0 else a.atttypmod - 4 end, c.relname::text, a.attname::text
  from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_type t on t.oid = a.atttypid
  where c.oid >= ${firstUserOid} and c.relkind in ('r', 'p') and a.attnum > 0
    and (t.typtype = 'd' or a.atttypid = 'pg_catalog.varchar'::pg_catalog.regtype and a.atttypmod >= 4)`

/** Primary keys with a bigint column that a sequence or next_id() gives, by the dependency of its default. */
const allocated = `
union select 'allocated', c.relname::text, pg_catalog.json_build_object(
    'columns', pg_catalog.json_agg(a.attname) filter (where a.attidentity <> '' or exists (
      select from pg_catalog.pg_attrdef f join pg_catalog.pg_depend d
        on d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = f.oid
        where f.adrelid = c.oid and f.adnum = a.attnum and (
          d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and exists (
            select from pg_catalog.pg_class s where s.oid = d.refobjid and s.relkind = 'S')
          or d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass and exists (
            select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
              where p.oid = d.refobjid and n.nspname = 'fleetshard')))),
    'primary', pg_catalog.json_agg(a.attname))::text
  from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indrelid
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1])
  where c.oid >= ${firstUserOid} and i.indisprimary group by c.oid, c.relname`

/** Reads everything at once, so that it is of one moment. */
export const factsSql = functions + operatorsAndTypes + tables + allocated
