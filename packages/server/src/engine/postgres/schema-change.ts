// A schema change on one shard: run, checked against the rules, its sequences set to the shard's block, and then
// committed at once or prepared for two-phase commit. A marker row (fleetshard.schema_changes) travels in the same
// transaction, so that "there is no such prepared transaction" can be told apart into committed, rolled back, lost.
import { FleetError } from '@fleetshard/core'
import type { CheckedDeclaration, TableDeclaration, TableFacts } from '../schema-facts.ts'
import type { PreparedState, SchemaChange, SchemaOutcome } from '../shard-engine.ts'
import { describeTables } from './describe.ts'
import { describeTarget, hasSqlstate, postgresError, remedyOf } from './errors.ts'
import { lockShardState, requireIdentity } from './identity.ts'
import { checkDeclaration } from './rules.ts'
import { alignSequences } from './sequences.ts'
import { inTransaction, type Session } from './session.ts'

/** How long one statement of a change waits for a lock: others wait behind it. */
const lockTimeoutMs = 5_000
/** Markers are kept this long; no job lives longer. */
const markersKeptDays = 90

const GID = /^[A-Za-z0-9_:-]{1,190}$/

/** See the port. */
export async function applySchema(
  session: Session,
  change: SchemaChange,
  gid: string | null,
): Promise<SchemaOutcome> {
  await requireShard(session, change)
  if (gid !== null) await ensureMarkers(session)
  return inTransaction(session, async () => {
    if (gid === null || (await claimMarker(session, gid)) === 'mine') return runChange(session, change)
    // Done before: only look at what is there.
    return { checked: await checkTables(session, change) }
  })
}

/** See the port. */
export async function prepareSchema(
  session: Session,
  gid: string,
  change: SchemaChange,
): Promise<SchemaOutcome | null> {
  await requireShard(session, change)
  await ensureMarkers(session)
  const state = await preparedState(session, gid)
  if (state === 'prepared' || state === 'committed') return null
  if (state === 'rolled-back') throw rolledBack(gid)
  await session.query('begin isolation level read committed read write')
  try {
    if ((await claimMarker(session, gid)) === 'committed') {
      await session.query('rollback')
      return null
    }
    const outcome = await runChange(session, change)
    await session.query(`prepare transaction ${gidLiteral(gid)}`)
    return outcome
  } catch (error) {
    await session.query('rollback').catch(() => undefined)
    throw prepareError(error, session)
  }
}

/** See the port. */
export async function finishPrepared(
  session: Session,
  gid: string,
  decision: 'commit' | 'rollback',
): Promise<PreparedState> {
  try {
    await session.query(`${decision} prepared ${gidLiteral(gid)}`)
  } catch (error) {
    if (hasSqlstate(error, '55000')) {
      throw new FleetError('shard_unavailable', `${gid} is being finished by another worker`, {
        cause: error,
      })
    }
    if (!hasSqlstate(error, '42704')) throw error
  }
  await ensureMarkers(session)
  if (decision === 'rollback') await leaveRollbackMarker(session, gid)
  return preparedState(session, gid)
}

/** See the port. */
export async function listPrepared(
  session: Session,
  prefix: string,
): Promise<readonly { readonly gid: string; readonly ageMs: number }[]> {
  const rows = await session.query<{ gid: string; age_ms: number }>(
    `select gid, (extract(epoch from clock_timestamp() - prepared) * 1000)::float8 as age_ms
       from pg_prepared_xacts where database = current_database() and starts_with(gid, $1) order by gid`,
    [prefix],
  )
  return rows.map((row) => ({ gid: row.gid, ageMs: Math.max(0, row.age_ms) }))
}

async function requireShard(session: Session, change: SchemaChange): Promise<void> {
  const identity = await requireIdentity(session, change.shard)
  if (identity.sequenceBlock === change.sequenceBlock) return
  throw new FleetError(
    'wrong_database',
    `${describeTarget(session.target)} counts in sequence block ${String(identity.sequenceBlock)}, not ${String(change.sequenceBlock)}`,
    { hint: 'compare the record of the shard with fleetshard.shard_state' },
  )
}

const markersSql = `create table if not exists fleetshard.schema_changes (
  gid text primary key,
  outcome text not null check (outcome in ('committed', 'rolled-back')),
  finished_at timestamptz not null default now()
)`

/** Committed before any change uses it: made inside of one, others would wait for that change to end. */
async function ensureMarkers(session: Session): Promise<void> {
  if (await hasMarkers(session)) return
  await inTransaction(session, async () => {
    await lockShardState(session)
    await session.query(markersSql)
  })
}

async function hasMarkers(session: Session): Promise<boolean> {
  const found = await session.query(
    `select from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'fleetshard' and c.relname = 'schema_changes'`,
  )
  return found.length > 0
}

/** Takes the marker of a change, waiting for a transaction that holds it. */
async function claimMarker(session: Session, gid: string): Promise<'mine' | 'committed'> {
  await session.query("select set_config('lock_timeout', $1, true)", [String(lockTimeoutMs)])
  const mine = await session.query(
    `insert into fleetshard.schema_changes (gid, outcome) values ($1, 'committed')
     on conflict (gid) do nothing returning gid`,
    [gid],
  )
  if (mine.length > 0) {
    await session.query(
      `delete from fleetshard.schema_changes where finished_at < now() - interval '${String(markersKeptDays)} days'`,
    )
    return 'mine'
  }
  if ((await markerOf(session, gid)) === 'rolled-back') throw rolledBack(gid)
  return 'committed'
}

async function leaveRollbackMarker(session: Session, gid: string): Promise<void> {
  await inTransaction(session, async () => {
    await session.query("select set_config('lock_timeout', $1, true)", [String(lockTimeoutMs)])
    // Waits for a transaction that is just being prepared; on a timeout the caller finishes again and finds it.
    await session.query(
      `insert into fleetshard.schema_changes (gid, outcome) values ($1, 'rolled-back') on conflict (gid) do nothing`,
      [gid],
    )
  })
}

async function markerOf(session: Session, gid: string): Promise<'committed' | 'rolled-back' | null> {
  const [row] = await session.query<{ outcome: 'committed' | 'rolled-back' }>(
    'select outcome from fleetshard.schema_changes where gid = $1',
    [gid],
  )
  return row?.outcome ?? null
}

async function preparedState(session: Session, gid: string): Promise<PreparedState> {
  const prepared = await session.query(
    'select from pg_prepared_xacts where gid = $1 and database = current_database()',
    [gid],
  )
  // Looked at first: between the two looks a prepared transaction may be committed, not the other way round.
  if (prepared.length > 0) return 'prepared'
  return (await markerOf(session, gid)) ?? 'absent'
}

async function runChange(session: Session, change: SchemaChange): Promise<SchemaOutcome> {
  await session.query(
    "select set_config('search_path', 'public', true), set_config('lock_timeout', $1, true)",
    [String(lockTimeoutMs)],
  )
  const before = await existing(session, change)
  for (const [index, sql] of change.statements.entries()) await runStatement(session, sql, index)
  const [old] = before
  if (old !== undefined) throw leftAsItWas(old)
  await session.query("select set_config('search_path', 'pg_catalog', true)")
  const checked = await checkTables(session, change)
  const counting = change.declarations.filter(({ kind }) => kind !== 'global').map(({ name }) => name)
  await alignSequences(session, counting, change.sequenceBlock)
  return { checked }
}

/** Tables of the change that are there before it; a plain CREATE TABLE fails on them by itself. */
async function existing(session: Session, { declarations }: SchemaChange): Promise<readonly string[]> {
  const rows = await session.query<{ name: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where format('%I.%I', n.nspname, c.relname) = any ($1)`,
    [declarations.map(({ name }) => name)],
  )
  return rows.map(({ name }) => name)
}

function leftAsItWas(table: string): FleetError {
  return new FleetError(
    'schema_refused',
    `${table} exists already, and IF NOT EXISTS leaves it as it is, be it like the script or not`,
    {
      hint: 'drop it there; or, where it is alike and empty on every shard, declare it: fleetshard table declare',
    },
  )
}

async function runStatement(session: Session, sql: string, index: number): Promise<void> {
  try {
    await session.query(sql)
  } catch (error) {
    const fields = postgresError(error)
    if (fields === null) throw error
    const hint = remedyOf(fields, session.target)
    const start = sql.replace(/\s+/g, ' ').slice(0, 60)
    const detail = fields.detail === undefined ? '' : ` (${fields.detail})`
    throw new FleetError(
      'schema_failed',
      `${describeTarget(session.target)}: ${fields.message}${detail} in statement ${String(index + 1)}: ${start}`,
      {
        sqlstate: fields.sqlstate,
        ...(hint === null ? {} : { hint }),
        cause: error,
        retryable: ['55P03', '40P01', '57014'].includes(fields.sqlstate),
        facts: { statement: index + 1, position: fields.position ?? null },
      },
    )
  }
}

async function checkTables(session: Session, change: SchemaChange): Promise<readonly CheckedDeclaration[]> {
  const facts = await describeTables(
    session,
    change.declarations.map(({ name }) => name),
  )
  const byName = new Map(facts.map((table) => [table.name, table]))
  const declared = [...change.declared, ...change.declarations]
  return change.declarations.map((declaration) => {
    return checkDeclaration(required(byName, declaration), declaration, declared)
  })
}

function required(tables: ReadonlyMap<string, TableFacts>, declaration: TableDeclaration): TableFacts {
  const table = tables.get(declaration.name)
  if (table !== undefined) return table
  throw new FleetError('schema_refused', `the script did not create ${declaration.name}`, {
    hint: 'names are case-sensitive here: an unquoted name in SQL is lower case',
  })
}

function gidLiteral(gid: string): string {
  if (!GID.test(gid)) throw new FleetError('invalid_id', `${JSON.stringify(gid.slice(0, 80))} is not a gid`)
  return `'${gid}'`
}

function rolledBack(gid: string): FleetError {
  return new FleetError('schema_failed', `the change ${gid} was rolled back before`, {
    hint: 'start the schema change anew',
  })
}

function prepareError(error: unknown, session: Session): unknown {
  if (!hasSqlstate(error, '55000', '53200', '0A000')) return error
  const fields = postgresError(error)
  return new FleetError('schema_failed', `${describeTarget(session.target)}: ${fields?.message ?? ''}`, {
    hint: 'a change of several shards at once needs two-phase commit: set max_prepared_transactions on each server and restart it',
    cause: error,
  })
}
