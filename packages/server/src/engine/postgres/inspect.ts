// What a server tells about itself. All of it is asked for at once; where a managed service or a plain login may keep
// one of the facts to itself, each is asked for alone and is null when it is refused.
import { FleetError } from '@fleetshard/core'
import type { LogPosition, NodeFacts } from '../shard-engine.ts'
import { postgresError } from './errors.ts'
import { storedIdentity } from './identity.ts'
import type { Session } from './session.ts'

/** Oldest server that FleetShard works with. */
export const serverVersionMin = 140000

interface BasicsRow {
  readonly version: string
  readonly version_number: number
  readonly in_recovery: boolean
  readonly read_only: boolean
  readonly database: string
  readonly oid: string
  readonly encoding: string
  readonly wal_level: string
  readonly prepared_max: number
  readonly connections_max: number
  readonly superuser: boolean
  readonly may_create: boolean
  /** Whether anybody has ever claimed the database. */
  readonly has_table: boolean
}

const basicsSql = `
  select current_setting('server_version') as version,
         current_setting('server_version_num')::int as version_number,
         pg_is_in_recovery() as in_recovery,
         current_setting('default_transaction_read_only')::bool as read_only,
         current_database() as database,
         (select d.oid::text from pg_database d where d.datname = current_database()) as oid,
         getdatabaseencoding() as encoding,
         current_setting('wal_level') as wal_level,
         current_setting('max_prepared_transactions')::int as prepared_max,
         current_setting('max_connections')::int as connections_max,
         current_setting('is_superuser')::bool as superuser,
         has_database_privilege(current_database(), 'CREATE') as may_create,
         to_regclass('fleetshard.shard_state') is not null as has_table`

/** @throws FleetError `node_check_failed` for a server that is too old */
export async function inspectNode(session: Session): Promise<NodeFacts> {
  const [basics] = await session.query<BasicsRow>(basicsSql)
  if (basics === undefined) throw new FleetError('internal', 'the server does not know its own database')
  if (basics.version_number < serverVersionMin) {
    throw new FleetError('node_check_failed', `the server is PostgreSQL ${basics.version}`, {
      hint: 'FleetShard works with PostgreSQL 14 and later',
    })
  }
  const told = (await toldAtOnce(session, basics)) ?? (await toldOneByOne(session, basics))
  return {
    version: basics.version.split(' ')[0] ?? basics.version,
    versionNumber: basics.version_number,
    inRecovery: basics.in_recovery,
    readOnly: basics.read_only,
    systemId: told.system_id,
    database: { name: basics.database, oid: Number(basics.oid), encoding: basics.encoding },
    timeline: told.timeline,
    position: told.position as LogPosition | null,
    walLevel: basics.wal_level,
    preparedTransactionsMax: basics.prepared_max,
    connectionsMax: basics.connections_max,
    upstream: basics.in_recovery ? await upstreamOf(session) : null,
    mayCreate: basics.may_create,
    superuser: basics.superuser,
    identity: basics.has_table ? await storedIdentity(session) : null,
  }
}

/** What a server may refuse to tell. */
interface ToldRow {
  readonly system_id: string | null
  readonly position: string | null
  readonly timeline: number | null
}

const systemIdSql = '(select system_identifier::text from pg_control_system())'

/** Null for a replica, whose timeline has several sources, and where one of the facts is refused. */
async function toldAtOnce(session: Session, { in_recovery: inRecovery }: BasicsRow): Promise<ToldRow | null> {
  if (inRecovery) return null
  const position = 'pg_current_wal_lsn()'
  try {
    const [row] = await session.query<Omit<ToldRow, 'timeline'> & { file: string }>(
      `select ${systemIdSql} as system_id, ${position}::text as position, pg_walfile_name(${position}) as file`,
    )
    return row === undefined ? null : { ...row, timeline: timelineOfFile(row.file) }
  } catch (error) {
    if (postgresError(error) === null) throw error
    return null
  }
}

async function toldOneByOne(session: Session, { in_recovery: inRecovery }: BasicsRow): Promise<ToldRow> {
  return {
    system_id: await optional(session, `select ${systemIdSql} as value`),
    position: await optional(session, positionSql(inRecovery)),
    timeline: await timelineOf(session, inRecovery),
  }
}

/** The name of a log file begins with its timeline. */
function timelineOfFile(name: string): number {
  return Number.parseInt(name.slice(0, 8), 16)
}

function positionSql(inRecovery: boolean): string {
  const routine = inRecovery ? 'pg_last_wal_replay_lsn' : 'pg_current_wal_lsn'
  return `select ${routine}()::text as value`
}

async function timelineOf(session: Session, inRecovery: boolean): Promise<number | null> {
  if (!inRecovery) {
    // The checkpoint's timeline lags behind a promotion; the name of the log file being written does not.
    const file = await optional(session, 'select pg_walfile_name(pg_current_wal_lsn()) as value')
    return file === null ? null : timelineOfFile(file)
  }
  const received = await optional(session, 'select received_tli::text as value from pg_stat_wal_receiver')
  const checkpoint = 'select timeline_id::text as value from pg_control_checkpoint()'
  const timeline = received ?? (await optional(session, checkpoint))
  return timeline === null ? null : Number(timeline)
}

async function upstreamOf(session: Session): Promise<NodeFacts['upstream']> {
  const address = await optional(
    session,
    "select sender_host || ' ' || sender_port::text as value from pg_stat_wal_receiver where status = 'streaming'",
  )
  const [host, port] = address?.split(' ') ?? []
  return host === undefined || port === undefined ? null : { host, port: Number(port) }
}

/** One text value, or null when there is none or the server refuses to tell (not for a lost connection). */
async function optional(session: Session, sql: string): Promise<string | null> {
  try {
    const [row] = await session.query<{ value: string | null }>(sql)
    return row?.value ?? null
  } catch (error) {
    if (postgresError(error) === null) throw error
    return null
  }
}
