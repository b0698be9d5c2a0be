// What a server bears, read now and then for metrics: connections, sizes, log held back.
import type { NodeFigures } from '../../health-engine.ts'
import type { Session } from '../session.ts'

interface FiguresRow {
  readonly connections: string
  readonly connections_limit: string
  readonly database_bytes: string
  readonly retained_bytes: string | null
}

const figuresSql = `
  with here as (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as at)
  select (select coalesce(sum(numbackends), 0) from pg_stat_database)::text as connections,
         current_setting('max_connections') as connections_limit,
         pg_database_size(current_database())::text as database_bytes,
         (select max(pg_wal_lsn_diff(here.at, s.restart_lsn)) from pg_replication_slots s, here)::text as retained_bytes`

/** See the port. */
export async function figures(session: Session): Promise<NodeFigures> {
  const [row] = await session.query<FiguresRow>(figuresSql)
  if (row === undefined) throw new Error('a query without a condition gave no row')
  return {
    connections: Number(row.connections),
    connectionsLimit: Number(row.connections_limit),
    databaseBytes: Number(row.database_bytes),
    retainedWalBytes: Math.max(0, Number(row.retained_bytes ?? 0)),
  }
}
