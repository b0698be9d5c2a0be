// How a source bears a job: what its slot holds back, how far the stream and the replicas are behind.
import type { SourceFigures } from '../../reshard-engine.ts'
import type { Session } from '../session.ts'

interface FiguresRow {
  readonly retained: string | null
  readonly lag: string | null
  readonly safe: string | null
  readonly replica: string | null
}

/** Physical receivers only: a logical reader, our own among them, is no replica. */
const figuresSql = `
  with here as (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as at)
  select pg_wal_lsn_diff(here.at, s.restart_lsn)::text as retained,
         pg_wal_lsn_diff(here.at, s.confirmed_flush_lsn)::text as lag,
         s.safe_wal_size::text as safe,
         (select max(pg_wal_lsn_diff(here.at, r.replay_lsn))::text from pg_stat_replication r
           where not exists (select from pg_replication_slots l where l.active_pid = r.pid and l.slot_type = 'logical')
         ) as replica
    from here left join pg_replication_slots s on s.slot_name = $1`

/** See the port. */
export async function sourceFigures(session: Session, slot: string): Promise<SourceFigures> {
  const [row] = await session.query<FiguresRow>(figuresSql, [slot])
  return {
    retainedWalBytes: bytesOf(row?.retained) ?? 0,
    lagBytes: bytesOf(row?.lag) ?? 0,
    walBytesLeft: bytesOf(row?.safe),
    replicaLagBytes: bytesOf(row?.replica),
  }
}

const bytesOf = (text: string | null | undefined): number | null =>
  text === null || text === undefined ? null : Math.max(0, Number(text))
