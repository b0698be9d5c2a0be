// What is taken off a target's tables for the copy, and given back: secondary indexes and unique constraints (units are
// at different times until the stream has passed them all), foreign keys and user triggers (rows were checked and
// triggers fired at the source). What restores each is kept on the target, written with the taking off.
import { FleetError } from '@fleetshard/core'
import { keysTable, type MovedTable } from '../../reshard-engine.ts'
import { hasSqlstate } from '../errors.ts'
import { quoteTableName } from '../names.ts'
import { inTransaction, type Session } from '../session.ts'
import { targetTablesSql } from './target-writer.ts'

interface Stripping {
  readonly kind: 'index' | 'foreign key' | 'trigger' | 'autovacuum' | 'identity'
  readonly take: string
  readonly restore: string
}

/** Whatever may have been taken off. */
export const allKinds: readonly Stripping['kind'][] = [
  'autovacuum',
  'identity',
  'index',
  'trigger',
  'foreign key',
]

const indexesSql = `
  select 'index' as kind,
         case when con.oid is null then format('drop index %I.%I', n.nspname, ic.relname)
              else format('alter table %s drop constraint %I', $1::text, con.conname) end as take,
         case when con.oid is null then pg_get_indexdef(i.indexrelid)
              else format('alter table %s add constraint %I %s', $1::text, con.conname, pg_get_constraintdef(con.oid))
         end as restore
    from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_namespace n on n.oid = ic.relnamespace
    left join pg_constraint con on con.conindid = i.indexrelid and con.contype in ('u', 'x')
   where i.indrelid = $1::regclass and not i.indisprimary and not i.indisreplident
   order by ic.relname`

// A foreign key of another table may stand on the unique constraint that goes: those come first.
const foreignKeysSql = `
  select 'foreign key' as kind,
         format('alter table %s drop constraint %I', c.conrelid::regclass, c.conname) as take,
         format('alter table %s add constraint %I %s', c.conrelid::regclass, c.conname,
                regexp_replace(pg_get_constraintdef(c.oid), ' NOT VALID$', '') || ' NOT VALID') as restore
    from pg_constraint c
   where c.contype = 'f' and c.conparentid = 0 and (c.conrelid = $1::regclass or c.confrelid = $1::regclass)
   order by c.conname`

const triggersSql = `
  select 'trigger' as kind, format('alter table %s disable trigger %I', $1::text, t.tgname) as take,
         format('alter table %s enable %strigger %I', $1::text,
                case t.tgenabled when 'A' then 'always ' when 'R' then 'replica ' else '' end, t.tgname) as restore
    from pg_trigger t where t.tgrelid = $1::regclass and not t.tgisinternal and t.tgenabled <> 'D'
   order by t.tgname`

/** See the port. A table's part is one transaction; what is off already is left alone. */
export async function strip(
  session: Session,
  job: string,
  { tables, kinds }: { readonly tables: readonly MovedTable[]; readonly kinds: 'all' | 'keys' },
): Promise<void> {
  for (const sql of targetTablesSql.split(';')) await session.query(sql)
  for (const source of [foreignKeysSql, triggersSql, ...(kinds === 'all' ? [indexesSql] : [])]) {
    for (const { name } of tables) {
      await inTransaction(session, async () => {
        const table = quoteTableName(name)
        await session.query(`lock table ${table} in access exclusive mode`)
        for (const { kind, take, restore } of await session.query<Stripping>(source, [table])) {
          await session.query(
            'insert into fleetshard.reshard_stripped (job, kind, "table", restore) values ($1, $2, $3, $4)',
            [job, kind, name, restore],
          )
          await session.query(take)
        }
      })
    }
  }
}

interface KeptRow {
  readonly id: string
  readonly restore: string
}

/** @throws FleetError `lease_lost` when a later run has taken over */
async function requireRun(session: Session, job: string, run: number): Promise<void> {
  const held = await session.query(
    'select from fleetshard.reshard_runs where job = $1 and run = $2 for share',
    [job, run],
  )
  if (held.length === 0) throw new FleetError('lease_lost', `another worker has taken over the job ${job}`)
}

const autovacuumOff = 'autovacuum_enabled = false, toast.autovacuum_enabled = false'
const autovacuumReset = 'autovacuum_enabled, toast.autovacuum_enabled'

/** Switches autovacuum of the tables off; a table that has a setting of its own keeps it. */
export async function calm(session: Session, job: string, tables: readonly MovedTable[]): Promise<void> {
  for (const sql of targetTablesSql.split(';')) await session.query(sql)
  for (const { name } of tables) {
    const table = quoteTableName(name)
    await inTransaction(session, async () => {
      const [row] = await session.query<{ own: boolean }>(
        `select exists (select from unnest(reloptions) o where o like 'autovacuum_enabled=%') as own
           from pg_class where oid = $1::regclass`,
        [table],
      )
      if (row?.own !== false) return
      await session.query(
        'insert into fleetshard.reshard_stripped (job, kind, "table", restore) values ($1, $2, $3, $4)',
        [job, 'autovacuum', name, `alter table ${table} reset (${autovacuumReset})`],
      )
      await session.query(`alter table ${table} set (${autovacuumOff})`)
    })
  }
}

/** The log has the whole of a removed record of an idempotency key from now on. */
export async function tellKeys(session: Session, job: string): Promise<void> {
  for (const sql of targetTablesSql.split(';')) await session.query(sql)
  await inTransaction(session, async () => {
    const [row] = await session.query<{ full: boolean }>(
      `select relreplident = 'f' as full from pg_class where oid = $1::regclass`,
      [keysTable],
    )
    if (row?.full !== false) return
    await session.query(
      'insert into fleetshard.reshard_stripped (job, kind, "table", restore) values ($1, $2, $3, $4)',
      [job, 'identity', keysTable, `alter table ${keysTable} replica identity default`],
    )
    await session.query(`alter table ${keysTable} replica identity full`)
  })
}

/** What was taken off last is given back first. Nothing where nothing was ever taken off. */
async function keptOf(
  session: Session,
  job: string,
  kinds: readonly Stripping['kind'][],
): Promise<readonly KeptRow[]> {
  try {
    return await session.query<KeptRow>(
      'select id::text, restore from fleetshard.reshard_stripped where job = $1 and kind = any ($2) order by id desc',
      [job, kinds],
    )
  } catch (error) {
    if (hasSqlstate(error, '42P01')) return []
    throw error
  }
}

/** Gives back what is of those kinds, each in a transaction with the removal of its record. */
export async function restore(
  session: Session,
  job: string,
  kinds: readonly Stripping['kind'][],
  run: number | null = null,
): Promise<void> {
  const rows = await keptOf(session, job, kinds)
  for (const row of rows) {
    await inTransaction(session, async () => {
      if (run !== null) await requireRun(session, job, run)
      await session.query(row.restore)
      await session.query('delete from fleetshard.reshard_stripped where id = $1', [row.id])
    })
  }
}

/** Validates the foreign keys of the tables that the job brought. */
export async function validateKeys(session: Session, tables: readonly MovedTable[]): Promise<void> {
  for (const { name } of tables) {
    const rows = await session.query<{ sql: string }>(
      `select format('alter table %s validate constraint %I', conrelid::regclass, conname) as sql from pg_constraint
        where contype = 'f' and not convalidated and conrelid = $1::regclass`,
      [quoteTableName(name)],
    )
    for (const { sql } of rows) await session.query(sql)
  }
}

/** Refuses whatever runs of the job still want to write; waits for a transaction that is open. */
export async function endRuns(session: Session, job: string): Promise<void> {
  for (const sql of targetTablesSql.split(';')) await session.query(sql)
  await session.query('delete from fleetshard.reshard_runs where job = $1', [job])
}

const jobTables = ['reshard_units', 'reshard_applied', 'reshard_stripped', 'reshard_lifted', 'reshard_runs']

/** Removes the job's records from the target. */
export async function forget(session: Session, job: string): Promise<void> {
  const [table] = await session.query<{ found: boolean }>(
    "select to_regclass('fleetshard.reshard_runs') is not null as found",
  )
  if (table?.found !== true) return
  await inTransaction(session, async () => {
    for (const name of jobTables) {
      await session.query(`delete from fleetshard.${name} where job = $1`, [job])
    }
  })
}
