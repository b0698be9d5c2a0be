// The fence of a source: triggers that refuse every write of the moved tables, and the message that is the exact end
// of what was allowed, in one transaction that waits for writers. Statement triggers: the whole shard is left, so no
// row needs to be looked at, and a statement that changes nothing is refused as well.
import { FleetError, type Clock } from '@fleetshard/core'
import {
  keysTable,
  type EpochState,
  type FencePlaced,
  type MovedTable,
  type SourceFence,
} from '../../reshard-engine.ts'
import { hasSqlstate, quoteIdentifier } from '../errors.ts'
import { silenceRouterConnections } from '../identity.ts'
import { quoteTableName } from '../names.ts'
import type { Session } from '../session.ts'
import { markPrefix } from './source-reader.ts'
import { quoteText } from './sql.ts'
import { targetTablesSql } from './target-writer.ts'
import { shardStateLockKey } from '@fleetshard/routing/shard-state'

/** How long dropping a fence waits for statements on a table, which others then wait for; and how often it tries. */
const dropLockTimeoutMs = 200
const dropPauseMs = 100
const dropTriesMax = 40

/**
 * Refuses by our own SQLSTATE, which routers answer with a newer map. A fence that is lifted lets pass: whoever has an
 * older snapshot does not see that it is, and is refused.
 */
const refuseSql = `
  create or replace function fleetshard.refuse_moved() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
  begin
    if exists (select from fleetshard.reshard_lifted where fence = tg_name) then return null; end if;
    raise exception 'the rows of % have moved to other shards', tg_relid::regclass
      using errcode = 'FS001', hint = 'refresh the shard map and send the statement to the shard that owns the key';
  end
  $body$`

/** Makes what fences need. */
export async function installFence(session: Session): Promise<void> {
  for (const sql of targetTablesSql.split(';')) await session.query(sql)
  await session.query(refuseSql)
}

/** $1: qualified names, quoted. Made of ids and attributes as they are on this server. */
const fingerprintSql = `
  select md5(concat(
    (select string_agg(concat_ws(' ', t.oid, c.relname, c.relnamespace, c.relfilenode, c.relreplident, c.relpersistence), ',' order by t.oid)
       from t left join pg_class c on c.oid = t.oid),
    (select string_agg(concat_ws(' ', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attisdropped, a.attgenerated), ',' order by a.attrelid, a.attnum)
       from pg_attribute a join t on a.attrelid = t.oid where a.attnum > 0),
    (select string_agg(i.indexrelid::text, ',' order by i.indexrelid) from pg_index i join t on i.indrelid = t.oid),
    (select string_agg(k.oid::text, ',' order by k.oid) from pg_constraint k join t on k.conrelid = t.oid)
  )) as fingerprint`
const fingerprintTables = `t as (select to_regclass(name)::oid as oid from unnest($1::text[]) name)`

/**
 * Changes whenever one of the tables is altered, on the same server; one quick query. Storage parameters and sizes
 * have no part in it.
 */
export async function fingerprintOf(session: Session, tables: readonly MovedTable[]): Promise<string> {
  const [row] = await session.query<{ fingerprint: string }>(`with ${fingerprintTables} ${fingerprintSql}`, [
    tables.map(({ name }) => quoteTableName(name)),
  ])
  return row?.fingerprint ?? ''
}

interface FenceRow {
  readonly runs: number
  readonly shard: string | null
  readonly fingerprint: string
}

/**
 * See the port. Three statements to the server, since every one of them is time in which clients wait; the second
 * looks at all that must hold.
 */
export async function placeFence(
  session: Session,
  fence: SourceFence,
  fingerprint: string,
): Promise<FencePlaced> {
  const tables = sorted(fence.tables).map(({ name }) => quoteTableName(name))
  // The lock that CREATE TRIGGER takes, for all tables before the first is changed.
  const lock = tables.length === 0 ? '' : `lock table ${tables.join(', ')} in share row exclusive mode`
  try {
    await session.query(
      `begin isolation level read committed read write; set local lock_timeout = ${String(fence.lockTimeoutMs)}; ${lock}`,
    )
    const [found] = await session.query<FenceRow>(
      `with ${fingerprintTables},
            run as (insert into fleetshard.reshard_runs as r (job, run) values ($2, $3)
                    on conflict (job) do update set run = excluded.run where r.run <= excluded.run returning run)
       select (select count(*)::int from run) as runs, (select shard from fleetshard.shard_state) as shard,
              (${fingerprintSql}) as fingerprint`,
      [fence.tables.map(({ name }) => quoteTableName(name)), fence.job, fence.run],
    )
    const refusal = refusalOf(fence, found, fingerprint)
    if (refusal !== null) throw refusal
    await session.query(`${fenceSql(fence, tables)}; commit`)
    return { kind: 'placed' }
  } catch (error) {
    await session.query('rollback').catch(() => undefined)
    if (error instanceof TablesChanged) return { kind: 'changed' }
    if (hasSqlstate(error, '55P03')) return { kind: 'busy', reason: 'a writer holds a table' }
    if (hasSqlstate(error, '40P01')) return { kind: 'busy', reason: 'a writer holds several tables' }
    throw error
  }
}

function refusalOf(fence: SourceFence, found: FenceRow | undefined, fingerprint: string): Error | null {
  if (found?.shard !== fence.shard) {
    return new FleetError('wrong_database', `the database is not that of shard ${fence.shard} any more`)
  }
  if (found.runs === 0) return overtaken(fence.job)
  return found.fingerprint === fingerprint ? null : new TablesChanged()
}

function fenceSql({ job, attempt, message }: SourceFence, tables: readonly string[]): string {
  const trigger = quoteIdentifier(fenceName({ job, attempt }))
  const triggers = tables.flatMap((table) => [
    `create or replace trigger ${trigger} before insert or update or delete or truncate on ${table}
       for each statement execute function fleetshard.refuse_moved()`,
    `alter table ${table} enable always trigger ${trigger}`,
  ])
  const mark = `select pg_logical_emit_message(true, ${quoteText(markPrefix)}, ${quoteText(message)})`
  return [...triggers, mark].join('; ')
}

/** Rolls the transaction back. */
class TablesChanged extends Error {
  override readonly name = 'TablesChanged'
}

/** In the order in which writes under a key lock them: its record comes first. */
const sorted = (tables: readonly MovedTable[]): readonly MovedTable[] =>
  tables.toSorted((a, b) => {
    if (a.name === keysTable || b.name === keysTable) return a.name === keysTable ? -1 : 1
    return a.name < b.name ? -1 : 1
  })

/** Triggers fire in the order of their names: nothing of the user's comes before. */
const fencePrefix = (job: string): string => `!fleetshard_fence_${job.slice(-24)}_`

const fenceName = ({ job, attempt }: Pick<SourceFence, 'job' | 'attempt'>): string =>
  `${fencePrefix(job)}${String(attempt)}`

/** See the port. */
export async function liftFence(
  session: Session,
  fence: Pick<SourceFence, 'job' | 'run' | 'attempt'>,
): Promise<void> {
  const held = await session.query(
    `with held as (select from fleetshard.reshard_runs where job = $2 and run = $3 for share),
          lifted as (insert into fleetshard.reshard_lifted (fence, job)
                     select $1::text, $2 from held on conflict (fence) do nothing)
     select from held`,
    [fenceName(fence), fence.job, fence.run],
  )
  if (held.length === 0) throw overtaken(fence.job)
}

/** A run that was overtaken, asleep between two steps perhaps, must not fence a source that serves again. */
async function takeRun(session: Session, { job, run }: Pick<SourceFence, 'job' | 'run'>): Promise<void> {
  const taken = await session.query(
    `insert into fleetshard.reshard_runs as r (job, run) values ($1, $2)
     on conflict (job) do update set run = excluded.run where r.run <= excluded.run returning run`,
    [job, run],
  )
  if (taken.length === 0) throw overtaken(job)
}

function overtaken(job: string): FleetError {
  return new FleetError('lease_lost', `another worker has taken over the job ${job}`)
}

/** See the port. */
export async function dropFences(
  session: Session,
  clock: Clock,
  { job, run, attempt }: { readonly job: string; readonly run: number; readonly attempt: number },
): Promise<void> {
  for (const sql of targetTablesSql.split(';')) await session.query(sql)
  await takeRun(session, { job, run })
  const prefix = fencePrefix(job)
  const rows = await session.query<{ sql: string }>(
    `select format('drop trigger %I on %s', tgname, tgrelid::regclass) as sql from pg_trigger
      where not tgisinternal and starts_with(tgname, $1)
        and case when substr(tgname, length($1) + 1) ~ '^[0-9]+$' then substr(tgname, length($1) + 1)::int <= $2 end
      order by tgrelid::regclass::text`,
    [prefix, attempt],
  )
  await session.query("select set_config('lock_timeout', $1, false)", [String(dropLockTimeoutMs)])
  for (const { sql } of rows) await dropWhenFree(session, clock, sql)
}

async function dropWhenFree(session: Session, clock: Clock, sql: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await session.query(sql)
      return
    } catch (error) {
      if (tries === dropTriesMax || !hasSqlstate(error, '55P03')) throw error
    }
    await clock.sleep(dropPauseMs)
  }
}

/** See the port. */
export async function raiseEpoch(session: Session, state: EpochState): Promise<void> {
  // One statement: the lock is held to its end, and what follows it sees what was committed before it was had.
  await session.query(
    `do $body$
     begin
       perform pg_advisory_xact_lock(${shardStateLockKey});
       update fleetshard.shard_state set epoch_min = greatest(epoch_min, ${String(state.epochMin)}), changed_at = now()
        where shard = ${quoteText(state.shard)};
       if not found then raise exception 'the database is not that of the shard any more' using errcode = 'FS002'; end if;
     end
     $body$`,
  )
  await silenceRouterConnections(session)
}

/** True while a vacuum of one of the tables runs. */
export async function isVacuumed(session: Session, tables: readonly MovedTable[]): Promise<boolean> {
  const [row] = await session.query<{ found: boolean }>(
    `select exists (select from pg_stat_progress_vacuum v join unnest($1::text[]) t on v.relid = t::regclass
                     where v.datname = current_database())
         or exists (select from pg_stat_progress_analyze v join unnest($1::text[]) t on v.relid = t::regclass
                     where v.datname = current_database()) as found`,
    [tables.map(({ name }) => quoteTableName(name))],
  )
  return row?.found === true
}
