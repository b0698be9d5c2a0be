// The health controller's port on Postgres: each method but the prober's one connection, a handful of statements.
import { formatLsn, parseLsn, type Lsn } from '@fleetshard/core'
import { routerApplicationPrefix } from '@fleetshard/routing/shard-state'
import type { HealthEngine, ReplicaPosition, WriteQuorum } from '../../health-engine.ts'
import type { CallBounds, EngineParts, NodeTarget } from '../../shard-engine.ts'
import { hasSqlstate } from '../errors.ts'
import { lockShardState, raiseState, requireIdentity } from '../identity.ts'
import { inTransaction, withSession, type Session } from '../session.ts'
import { Knocks } from './knocks.ts'
import { lsnOf, probe } from './probe.ts'
import { KeptProbe } from './prober.ts'

const confirmPollMs = 10

/** Does no I/O. */
export function createPostgresHealthEngine({ clock }: EngineParts): HealthEngine {
  const on = <T>(
    target: NodeTarget,
    bounds: CallBounds,
    work: (session: Session) => Promise<T>,
  ): Promise<T> => withSession({ clock, target, bounds }, work)
  const knocks = new Knocks(clock)
  return {
    probe: (target, bounds = {}) => on(target, bounds, probe),
    prober: (target, firstMs) => new KeptProbe({ clock, target, knocks, firstMs }),
    readPosition: (target, bounds = {}) => on(target, bounds, readPosition),
    assertTerm: (target, { shard, term, epochMin }, bounds = {}) =>
      on(target, bounds, (session) =>
        inTransaction(session, async () => {
          await session.query('set local synchronous_commit = local')
          await lockShardState(session)
          await requireIdentity(session, shard)
          await raiseState(session, epochMin, term)
        }),
      ),
    confirmWrite: (target, quorum, bounds = {}) =>
      on(target, bounds, async (session) => {
        const wrote = await writeMark(session)
        while (!(await isConfirmed(session, wrote, quorum))) {
          if (session.remainingMs() < 2 * confirmPollMs) return false
          await clock.sleep(confirmPollMs, bounds.signal)
        }
        return true
      }),
    checkpoint: (target, bounds = {}) =>
      on(target, bounds, async (session) => {
        try {
          await session.query('checkpoint')
        } catch (error) {
          if (!hasSqlstate(error, '42501')) throw error
        }
      }),
    busySessions: (target, bounds = {}) =>
      on(target, bounds, async (session) => {
        const [row] = await session.query<{ busy: number }>(
          `select count(*)::int as busy from pg_stat_activity
            where application_name like $1 and backend_type = 'client backend' and state <> 'idle'`,
          [`${routerApplicationPrefix}%`],
        )
        return row?.busy ?? 0
      }),
  }
}

interface PositionRow {
  readonly in_recovery: boolean
  readonly receiving: boolean
  readonly newest: string | null
  readonly received: string | null
  readonly replayed: string | null
  readonly exhausted: boolean
}

// The control file's timeline lags behind; the names of the log's files do not. A replica that waits for more log has
// replayed what it has.
const positionSql = `
  select pg_is_in_recovery() as in_recovery,
         exists (select from pg_stat_activity where backend_type = 'walreceiver') as receiving,
         (select max(substr(name, 1, 8)) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$') as newest,
         pg_last_wal_receive_lsn()::text as received, pg_last_wal_replay_lsn()::text as replayed,
         exists (select from pg_stat_activity where backend_type = 'startup'
                    and wait_event in ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')) as exhausted`

async function readPosition(session: Session): Promise<ReplicaPosition> {
  const [row] = await session.query<PositionRow>(positionSql)
  if (row === undefined) throw new Error('a query without a condition gave no row')
  return {
    inRecovery: row.in_recovery,
    receiving: row.receiving,
    timeline: row.newest === null ? 0 : Number.parseInt(row.newest, 16),
    received: lsnOf(row.received),
    replayed: lsnOf(row.replayed),
    exhausted: row.exhausted,
  }
}

/** A commit that waits for nobody: a cancelled wait for replicas would look like one that ended well. */
async function writeMark(session: Session): Promise<Lsn> {
  await inTransaction(session, async () => {
    await session.query('set local synchronous_commit = local')
    await session.query("select pg_logical_emit_message(true, 'fleetshard', 'verify')")
  })
  const [row] = await session.query<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn')
  return parseLsn(row?.lsn ?? '')
}

async function isConfirmed(session: Session, wrote: Lsn, quorum: WriteQuorum | null): Promise<boolean> {
  if (quorum === null) return true
  const [row] = await session.query<{ have: number }>(
    `select count(distinct application_name)::int as have from pg_stat_replication
      where state = 'streaming' and application_name = any ($1) and flush_lsn >= $2::pg_lsn`,
    [quorum.members, formatLsn(wrote)],
  )
  return (row?.have ?? 0) >= quorum.required
}
