// What one server tells of itself, in one statement that writes nothing.
import { parseLsn, type Lsn } from '@fleetshard/core'
import type { NodeProbe, SenderReport } from '../../health-engine.ts'
import type { Session } from '../session.ts'

interface ProbeRow {
  readonly in_recovery: boolean
  readonly file: string | null
  readonly received_tli: number | null
  readonly written: string | null
  readonly received: string | null
  readonly replayed: string | null
  readonly receiver: string | null
  readonly silent_ms: number | null
  readonly lag_ms: number | null
  readonly senders: readonly { name: string; state: string; flushed: string | null }[] | null
}

// The functions of a primary fail on a replica: a CASE calls only what it chooses. The views pg_stat_replication and
// pg_stat_wal_receiver would read every session of the server, and four times as long: these are the functions below them.
const probeSql = `
  select pg_is_in_recovery() as in_recovery,
         case when not pg_is_in_recovery() then pg_walfile_name(pg_current_wal_lsn()) end as file,
         case when not pg_is_in_recovery() then pg_current_wal_lsn()::text end as written,
         pg_last_wal_receive_lsn()::text as received, pg_last_wal_replay_lsn()::text as replayed,
         r.received_tli, r.status as receiver,
         (extract(epoch from clock_timestamp() - r.last_msg_receipt_time) * 1000)::float8 as silent_ms,
         case when not pg_is_in_recovery() then null
              when r.status = 'streaming' and pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
              else (extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)
         end::float8 as lag_ms,
         (select json_agg(json_build_object('name', a.application_name, 'state', s.state,
                                            'flushed', s.flush_lsn::text))
            from pg_stat_get_wal_senders() s, pg_stat_get_activity(s.pid) a) as senders
    from (select) one left join pg_stat_get_wal_receiver() r on r.pid is not null`

/** Reads a primary or a replica. */
export async function probe(session: Session): Promise<NodeProbe> {
  const [row] = await session.queryPrepared<ProbeRow>(probeSql)
  if (row === undefined) throw new Error('a query without a condition gave no row')
  const [received, replayed] = [lsnOf(row.received), lsnOf(row.replayed)]
  const senders = (row.senders ?? []).map(({ name, state, flushed }): SenderReport => ({
    name,
    state,
    flushed: lsnOf(flushed),
  }))
  return {
    inRecovery: row.in_recovery,
    timeline: row.file === null ? row.received_tli : Number.parseInt(row.file.slice(0, 8), 16),
    position: row.in_recovery ? greatest(received, replayed) : lsnOf(row.written),
    replayed: row.in_recovery ? replayed : null,
    receiver: row.receiver === null ? null : { status: row.receiver, silentMs: row.silent_ms ?? 0 },
    senders,
    lagMs: row.lag_ms === null ? null : Math.max(0, row.lag_ms),
  }
}

/** Null stays null. */
export const lsnOf = (text: string | null): Lsn | null => (text === null ? null : parseLsn(text))

function greatest(a: Lsn | null, b: Lsn | null): Lsn | null {
  if (a === null || b === null) return a ?? b
  return a > b ? a : b
}
