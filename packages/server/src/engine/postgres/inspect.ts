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
  readonly version_number: string
  readonly in_recovery: boolean
  readonly read_only: string
  readonly database: string
  readonly oid: number
  readonly encoding: string
  readonly wal_level: string
  readonly prepared_max: string
  readonly connections_max: string
  readonly superuser: string
  readonly may_create: boolean
  readonly login: string
  readonly has_schema: boolean
  /** Whether anybody has ever claimed the database. */
  readonly has_table: boolean
}

// Settings as the texts that they are: a session that has just begun looks every function and cast up for the first time.
const basicsSql = (more: string, from: string): string => `
  select current_setting('server_version') as version, current_setting('server_version_num') as version_number,
         pg_is_in_recovery() as in_recovery, current_setting('default_transaction_read_only') as read_only,
         d.datname as database, d.oid, getdatabaseencoding() as encoding,
         current_setting('wal_level') as wal_level,
         current_setting('max_prepared_transactions') as prepared_max,
         current_setting('max_connections') as connections_max,
         current_setting('is_superuser') as superuser,
         has_database_privilege(d.oid, 'CREATE') as may_create, current_user as login,
         to_regnamespace('fleetshard') is not null as has_schema,
         to_regclass('fleetshard.shard_state') is not null as has_table ${more}
    from pg_database d ${from} where d.datname = current_database()`

/** A server's facts, and what a claim of its database has to know. */
export interface Inspection {
  readonly facts: NodeFacts
  /** The login, where our schema was never made; else null. */
  readonly fresh: string | null
}

/** @throws FleetError `node_check_failed` for a server that is too old */
export async function inspectNode(session: Session): Promise<Inspection> {
  const all = await allAtOnce(session)
  const [basics] = all === null ? await session.query<BasicsRow>(basicsSql('', '')) : [all]
  if (basics === undefined) throw new FleetError('internal', 'the server does not know its own database')
  const versionNumber = Number(basics.version_number)
  if (versionNumber < serverVersionMin) {
    throw new FleetError('node_check_failed', `the server is PostgreSQL ${basics.version}`, {
      hint: 'FleetShard works with PostgreSQL 14 and later',
    })
  }
  const told = (all === null ? null : toldOf(all)) ?? (await toldOneByOne(session, basics))
  const facts: NodeFacts = {
    version: basics.version.split(' ')[0] ?? basics.version,
    versionNumber,
    inRecovery: basics.in_recovery,
    readOnly: basics.read_only === 'on',
    systemId: told.system_id,
    database: { name: basics.database, oid: basics.oid, encoding: basics.encoding },
    timeline: told.timeline,
    position: told.position as LogPosition | null,
    walLevel: basics.wal_level,
    preparedTransactionsMax: Number(basics.prepared_max),
    connectionsMax: Number(basics.connections_max),
    upstream: basics.in_recovery ? await upstreamOf(session) : null,
    mayCreate: basics.may_create,
    superuser: basics.superuser === 'on',
    identity: basics.has_table ? await storedIdentity(session) : null,
  }
  return { facts, fresh: basics.has_schema ? null : basics.login }
}

/** What a server may refuse to tell. */
interface ToldRow {
  readonly system_id: string | null
  readonly position: string | null
  readonly timeline: number | null
}

interface AllRow extends BasicsRow {
  readonly system_id: string
  /** Both null on a replica. */
  readonly position: string | null
  readonly file: string | null
}

// The functions of a primary fail on a replica: a CASE calls only what it chooses.
const allSql = basicsSql(
  `, c.system_identifier as system_id,
     case when not pg_is_in_recovery() then pg_current_wal_lsn() end as position,
     case when not pg_is_in_recovery() then pg_walfile_name(pg_current_wal_lsn()) end as file`,
  'cross join pg_control_system() c',
)

/** Null where one of the facts is refused. */
async function allAtOnce(session: Session): Promise<AllRow | null> {
  try {
    return (await session.query<AllRow>(allSql))[0] ?? null
  } catch (error) {
    if (postgresError(error) === null) throw error
    return null
  }
}

/** Null for a replica, whose timeline has several sources. */
function toldOf({ system_id, position, file }: AllRow): ToldRow | null {
  return file === null ? null : { system_id, position, timeline: timelineOfFile(file) }
}

async function toldOneByOne(
  session: Session,
  { in_recovery: inRecovery }: Pick<BasicsRow, 'in_recovery'>,
): Promise<ToldRow> {
  return {
    system_id: await optional(session, 'select system_identifier::text as value from pg_control_system()'),
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
