// Introspection: the user's tables with all that the rules of sharding and the suggestions look at. One consistent
// view of the catalogs (a repeatable-read transaction of the caller's, or its own transaction's view).
import { FleetError } from '@fleetshard/core'
import type {
  ColumnFacts,
  ForeignKeyFacts,
  LookupFacts,
  SequenceFacts,
  TableFacts,
  TriggerFacts,
  UniqueFacts,
} from '../schema-facts.ts'
import { describedTablesMax } from '../shard-engine.ts'
import type { Session } from './session.ts'

/**
 * What all queries below agree on: the tables in question as `t(oid, …)`, and they with all their partitions as
 * `parts`. $1: qualified names, or null for all; $2: ours.
 */
const tablesCte = `
  with t as (
    select c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relispartition, c.reltuples,
           format('%I.%I', n.nspname, c.relname) as name
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'f')
       and n.nspname not in ('pg_catalog', 'information_schema') and (n.nspname = 'fleetshard') = $2
       and n.nspname !~ '^pg_(toast|temp_)'
       and not exists (select from pg_depend d
                        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
       and ($1::text[] is null or format('%I.%I', n.nspname, c.relname) = any ($1))
  ), parts as (
    select t.oid, t.oid as part from t
    union all
    select t.oid, pt.relid from t cross join lateral pg_partition_tree(t.oid) pt
     where t.relkind = 'p' and pt.relid <> t.oid
  )`

interface TableRow {
  readonly oid: string
  readonly name: string
  readonly nspname: string
  readonly relname: string
  readonly relkind: string
  readonly unlogged: boolean
  readonly is_partition: boolean
  readonly parent: string | null
  readonly has_rules: boolean
  readonly rows: number | null
  readonly bytes: string
}

const tablesSql = `${tablesCte}
  select t.oid::text, t.name, t.nspname, t.relname,
         case when own.is_foreign then 'f' else t.relkind::text end as relkind, own.is_unlogged as unlogged,
         t.relispartition as is_partition,
         (select format('%I.%I', pn.nspname, pc.relname)
            from pg_inherits i join pg_class pc on pc.oid = i.inhparent join pg_namespace pn on pn.oid = pc.relnamespace
           where i.inhrelid = t.oid order by i.inhseqno limit 1) as parent,
         exists (select from pg_rewrite r where r.ev_class = t.oid and r.rulename <> '_RETURN') as has_rules,
         case when t.relkind = 'p'
              then (select case when bool_and(pc.reltuples >= 0) then sum(pc.reltuples)::float8 end
                      from pg_partition_tree(t.oid) pt join pg_class pc on pc.oid = pt.relid where pt.isleaf)
              when t.reltuples >= 0 then t.reltuples::float8 end as rows,
         case when t.relkind = 'p'
              then (select coalesce(sum(pg_total_relation_size(pt.relid)), 0)
                      from pg_partition_tree(t.oid) pt where pt.isleaf)
              when t.relkind = 'f' then 0
              else pg_total_relation_size(t.oid) end::text as bytes
    from t join (
      select p.oid, bool_or(c.relkind = 'f') as is_foreign, bool_or(c.relpersistence = 'u') as is_unlogged
        from parts p join pg_class c on c.oid = p.part group by p.oid) own on own.oid = t.oid
   order by t.name limit ${String(describedTablesMax + 1)}`

interface ColumnRow {
  readonly oid: string
  readonly name: string
  readonly type: string
  readonly base_type: string
  readonly is_domain: boolean
  readonly not_null: boolean
  readonly collation: string | null
  readonly deterministic: boolean | null
  readonly identity: string
  readonly generated: boolean
  readonly default_expression: string | null
  readonly sequence: SequenceFacts | null
}

const columnsSql = `${tablesCte}
  select t.oid::text, a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
         (with recursive d as (
            select ty.oid, ty.typname, ty.typtype, ty.typbasetype
            union all
            select b.oid, b.typname, b.typtype, b.typbasetype from d join pg_type b on b.oid = d.typbasetype
             where d.typtype = 'd')
          select d.typname from d where d.typtype <> 'd') as base_type,
         ty.typtype = 'd' as is_domain, a.attnotnull as not_null,
         co.collname as collation, co.collisdeterministic as deterministic,
         a.attidentity::text as identity, a.attgenerated <> '' as generated,
         case when a.attgenerated = '' then pg_get_expr(ad.adbin, ad.adrelid) end as default_expression,
         (select json_build_object(
                   'name', format('%I.%I', sn.nspname, sc.relname),
                   'type', st.typname, 'minValue', s.seqmin::text, 'maxValue', s.seqmax::text,
                   'increment', s.seqincrement::text, 'cycles', s.seqcycle,
                   'lastValue', case when has_sequence_privilege(s.seqrelid, 'USAGE, SELECT')
                                     then pg_sequence_last_value(s.seqrelid)::text end)
            from pg_depend dep
            join pg_sequence s on s.seqrelid = case when a.attidentity <> '' then dep.objid else dep.refobjid end
            join pg_type st on st.oid = s.seqtypid
            join pg_class sc on sc.oid = s.seqrelid join pg_namespace sn on sn.oid = sc.relnamespace
           where case when a.attidentity <> ''
                 then dep.classid = 'pg_class'::regclass and dep.refclassid = 'pg_class'::regclass
                      and dep.refobjid = t.oid and dep.refobjsubid = a.attnum and dep.deptype = 'i'
                 else dep.classid = 'pg_attrdef'::regclass and dep.objid = ad.oid
                      and dep.refclassid = 'pg_class'::regclass and dep.refobjid <> t.oid end
           limit 1) as sequence
    from t
    join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    join pg_type ty on ty.oid = a.atttypid
    left join pg_attrdef ad on ad.adrelid = a.attrelid and ad.adnum = a.attnum
    left join pg_collation co on co.oid = a.attcollation
   order by t.oid, a.attnum`

interface UniqueRow {
  readonly oid: string
  readonly name: string
  readonly kind: UniqueFacts['kind']
  readonly columns: readonly (string | null)[]
  readonly partial: boolean
}

// A column counts only where the index compares it by plain equality: an exclusion by another operator, or an
// index under a collation in which different texts are equal, makes no value unique.
const uniquesSql = `${tablesCte}
  select t.oid::text, ic.relname as name,
         case when i.indisprimary then 'primary' when i.indisexclusion then 'exclusion' else 'unique' end as kind,
         (select array_agg(case when coalesce(co.collisdeterministic, true)
                                 and (con.conexclop is null or op.oprname = '=') then a.attname::text end
                           order by k.position)
            from unnest(i.indkey::int2[], i.indcollation::oid[]) with ordinality k(attnum, colloid, position)
            left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum and k.attnum > 0
            left join pg_collation co on co.oid = k.colloid
            left join pg_operator op on op.oid = con.conexclop[k.position]
           where k.position <= i.indnkeyatts) as columns,
         i.indpred is not null as partial
    from t join parts p on p.oid = t.oid
    join pg_index i on i.indrelid = p.part
     and (p.part = t.oid or not exists (select from pg_inherits h where h.inhrelid = i.indexrelid))
    join pg_class ic on ic.oid = i.indexrelid
    left join pg_constraint con on con.conindid = i.indexrelid and con.contype = 'x'
   where (i.indisunique or i.indisexclusion)
   order by t.oid, not i.indisprimary, ic.relname`

interface ForeignKeyRow extends ForeignKeyFacts {
  readonly oid: string
}

const foreignKeysSql = `${tablesCte}
  select t.oid::text, c.conname as name, format('%I.%I', fn.nspname, fc.relname) as "references",
         (select array_agg(a.attname::text order by k.position)
            from unnest(c.conkey) with ordinality k(attnum, position)
            join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum) as columns,
         (select array_agg(a.attname::text order by k.position)
            from unnest(c.confkey) with ordinality k(attnum, position)
            join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.attnum) as "referencedColumns",
         'd' in (c.confdeltype, c.confupdtype) as "setsDefault"
    from t join pg_constraint c on c.conrelid = t.oid and c.contype = 'f' and c.conparentid = 0
    join pg_class fc on fc.oid = c.confrelid join pg_namespace fn on fn.oid = fc.relnamespace
   order by t.oid, c.conname`

interface TriggerRow {
  readonly oid: string
  readonly name: string
  readonly type: number
  readonly enabled: boolean
  readonly routine: string
}

const triggersSql = `${tablesCte}
  select t.oid::text, g.tgname as name, g.tgtype::int as type, g.tgenabled <> 'D' as enabled,
         format('%I.%I', pn.nspname, p.proname) as routine
    from t join parts o on o.oid = t.oid
    join pg_trigger g on g.tgrelid = o.part and not g.tgisinternal and (o.part = t.oid or g.tgparentid = 0)
    join pg_proc p on p.oid = g.tgfoid join pg_namespace pn on pn.oid = p.pronamespace
   order by t.oid, g.tgname`

interface LookupRow extends LookupFacts {
  readonly oid: string
}

// Which tables a policy reads stands in its tree: its dependencies name the table of its own columns as well.
const lookupsSql = `${tablesCte}, expressions as (
    select t.oid, 'the default of column ' || a.attname as what, 'pg_attrdef'::regclass::oid as class, d.oid as object,
           '' as tree
      from t join pg_attrdef d on d.adrelid = t.oid
      join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
    union all
    select t.oid, 'the check ' || c.conname, 'pg_constraint'::regclass::oid, c.oid, ''
      from t join pg_constraint c on c.conrelid = t.oid and c.contype = 'c'
    union all
    select t.oid, 'the domain of column ' || a.attname, 'pg_constraint'::regclass::oid, c.oid, ''
      from t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
      join pg_constraint c on c.contypid = a.atttypid
    union all
    select t.oid, 'the policy ' || p.polname, 'pg_policy'::regclass::oid, p.oid,
           concat(p.polqual::text, p.polwithcheck::text)
      from t join pg_policy p on p.polrelid = t.oid
  ), found as (
    select e.oid, e.what,
           array(select distinct format('%I.%I', n.nspname, f.proname) from pg_depend d
              join pg_proc f on f.oid = d.refobjid join pg_namespace n on n.oid = f.pronamespace
              join pg_language l on l.oid = f.prolang
             where d.classid = e.class and d.objid = e.object and d.refclassid = 'pg_proc'::regclass
               and f.provolatile <> 'i' and n.nspname not in ('pg_catalog', 'fleetshard')
               and l.lanname not in ('c', 'internal') and not exists (
                 select from pg_depend x
                  where x.classid = 'pg_proc'::regclass and x.objid = f.oid and x.deptype = 'e')) as functions,
           array(select distinct format('%I.%I', n.nspname, c.relname)
              from regexp_matches(e.tree, ':rtekind 0 :relid ([0-9]+)', 'g') m
              join pg_class c on c.oid = m[1]::oid join pg_namespace n on n.oid = c.relnamespace) as tables
      from expressions e
  )
  select oid::text, what, functions, tables from found where functions <> '{}' or tables <> '{}' order by oid, what`

/** Bits of pg_trigger.tgtype. */
const triggerBits = { row: 1, before: 2, insert: 4, update: 16, instead: 64 } as const

/**
 * All user tables, or those named; with `whose`, tables of our own schema instead.
 * @throws FleetError `result_too_large` beyond `describedTablesMax`
 */
export async function describeTables(
  session: Session,
  names: readonly string[] | null = null,
  whose: 'user' | 'ours' = 'user',
): Promise<readonly TableFacts[]> {
  const parameters = [names, whose === 'ours']
  const tables = await session.query<TableRow>(tablesSql, parameters)
  if (tables.length > describedTablesMax) {
    throw new FleetError(
      'result_too_large',
      `the database has more than ${String(describedTablesMax)} tables`,
    )
  }
  const columns = groupByTable(await session.query<ColumnRow>(columnsSql, parameters))
  const uniques = groupByTable(await session.query<UniqueRow>(uniquesSql, parameters))
  const foreignKeys = groupByTable(await session.query<ForeignKeyRow>(foreignKeysSql, parameters))
  const triggers = groupByTable(await session.query<TriggerRow>(triggersSql, parameters))
  const lookups = groupByTable(await session.query<LookupRow>(lookupsSql, parameters))
  return tables.map((table) => ({
    name: table.name,
    schema: table.nspname,
    relation: table.relname,
    kind: kindOf(table),
    unlogged: table.unlogged,
    parent: table.parent,
    columns: (columns.get(table.oid) ?? []).map(toColumn),
    uniques: (uniques.get(table.oid) ?? []).map(toUnique),
    foreignKeys: (foreignKeys.get(table.oid) ?? []).map(toForeignKey),
    triggers: (triggers.get(table.oid) ?? []).map(toTrigger),
    lookups: (lookups.get(table.oid) ?? []).map(toLookup),
    hasRules: table.has_rules,
    rowsEstimate: table.rows,
    bytes: Number(table.bytes),
  }))
}

function groupByTable<Row extends { readonly oid: string }>(rows: readonly Row[]): Map<string, Row[]> {
  return Map.groupBy(rows, (row) => row.oid)
}

function kindOf(table: TableRow): TableFacts['kind'] {
  if (table.is_partition) return 'partition'
  if (table.relkind === 'p') return 'partitioned'
  return table.relkind === 'f' ? 'foreign' : 'table'
}

function toColumn(row: ColumnRow): ColumnFacts {
  return {
    name: row.name,
    type: row.type,
    baseType: row.base_type,
    isDomain: row.is_domain,
    notNull: row.not_null,
    collation:
      row.collation === null ? null : { name: row.collation, deterministic: row.deterministic !== false },
    identity: row.identity === 'a' ? 'always' : row.identity === 'd' ? 'by-default' : null,
    generated: row.generated,
    defaultExpression: row.default_expression,
    sequence: row.sequence,
  }
}

function toUnique({ name, kind, columns, partial }: UniqueRow): UniqueFacts {
  return { name, kind, columns, partial }
}

function toForeignKey({ oid: _oid, ...foreignKey }: ForeignKeyRow): ForeignKeyFacts {
  return foreignKey
}

function toLookup({ what, functions, tables }: LookupRow): LookupFacts {
  return { what, functions, tables }
}

function toTrigger(row: TriggerRow): TriggerFacts {
  const has = (bit: number): boolean => (row.type & bit) !== 0
  return {
    name: row.name,
    timing: has(triggerBits.before) ? 'before' : has(triggerBits.instead) ? 'instead' : 'after',
    perRow: has(triggerBits.row),
    onInsert: has(triggerBits.insert),
    onUpdate: has(triggerBits.update),
    enabled: row.enabled,
    routine: row.routine,
  }
}
