// Who a database belongs to: claim, release, and the epoch below which no map is served. Two shards can't share a
// database by mistake, and a router with an old map can't write behind a change of the map.
import { escapeLiteral } from 'pg'
import { FleetError, type Epoch, type ShardId, type Term } from '@fleetshard/core'
import type { ShardClaim, ShardIdentity } from '../shard-engine.ts'
import { describeTarget, hasSqlstate } from './errors.ts'
import { installStatements } from './install.ts'
import {
  parseShardState,
  routerApplicationPrefix,
  shardStateLockKey,
  type ShardStateRow,
} from '@fleetshard/routing/shard-state'
import { inTransaction, type Session } from './session.ts'

/** How long ended router connections get to be gone. */
const terminateTimeoutMsMax = 5_000

const stateColumns = 'cluster, keyspace, shard, term, epoch_min, sequence_block'

/** Null for a database that was never claimed, or was released. */
export async function readIdentity(session: Session): Promise<ShardIdentity | null> {
  const [table] = await session.query<{ found: boolean }>(
    "select to_regclass('fleetshard.shard_state') is not null as found",
  )
  return table?.found === true ? storedIdentity(session) : null
}

/** The same of a database that has the table. */
export async function storedIdentity(session: Session): Promise<ShardIdentity | null> {
  const [row] = await session.query<ShardStateRow>(`select ${stateColumns} from fleetshard.shard_state`)
  return row === undefined ? null : parseShardState(row)
}

/** The identity, which must be that shard's. @throws FleetError `wrong_database` */
export async function requireIdentity(session: Session, shard: ShardId): Promise<ShardIdentity> {
  const identity = await readIdentity(session)
  if (identity?.shard === shard) return identity
  throw foreign(session, identity, shard)
}

function foreign(session: Session, found: ShardIdentity | null, wanted: ShardId): FleetError {
  const where = describeTarget(session.target)
  const owner = found === null ? 'no shard' : `shard ${found.shard} of keyspace ${found.keyspace}`
  return new FleetError('wrong_database', `${where} belongs to ${owner}, not to shard ${wanted}`, {
    hint:
      found === null
        ? 'check host, port and database of the node; a new shard claims its database when it is created'
        : 'give each shard a database of its own; a deleted shard releases its database',
    facts: { found_shard: found?.shard ?? null, wanted_shard: wanted },
  })
}

/** Exclusive until the end of the transaction: nobody checks or changes the state meanwhile. */
export async function lockShardState(session: Session): Promise<void> {
  await session.query(lockShardStateSql)
}

const lockShardStateSql = `select pg_advisory_xact_lock(${shardStateLockKey})`
const beginLocked = ['begin isolation level read committed', lockShardStateSql]

/**
 * See the port.
 * @param fresh the login of a database that was just seen without our schema: all is said in one trip then
 */
export async function claim(
  session: Session,
  wanted: ShardClaim,
  fresh: string | null = null,
): Promise<ShardIdentity> {
  return (fresh === null ? null : await claimFresh(session, wanted, fresh)) ?? claimAny(session, wanted)
}

/** Null, and nothing is changed, where it is not fresh any more (a schema twice, a row twice) or not to be written to. */
async function claimFresh(
  session: Session,
  wanted: ShardClaim,
  login: string,
): Promise<ShardIdentity | null> {
  const statements = [
    ...installStatements(false, login),
    writeIdentitySql(wanted),
    readClaimSql(signalRoutersSql),
  ]
  return unlessStated(['42P06', '23505', '25006'], () =>
    inTransaction<ShardIdentity, ShardStateRow & Signalled>(session, ([row]) => claimed(session, row), [
      ...beginLocked,
      ...statements,
    ]),
  )
}

/** Null where the server refuses by one of these states: the way that looks first tells why. */
async function unlessStated<T>(states: readonly string[], work: () => Promise<T>): Promise<T | null> {
  try {
    return await work()
  } catch (error) {
    if (hasSqlstate(error, ...states)) return null
    throw error
  }
}

/** @param ending tells which processes have to end first */
const readClaimSql = (ending: string): string =>
  `select ${stateColumns}, ${ending} as signalled from fleetshard.shard_state`

async function claimed(
  session: Session,
  row: (ShardStateRow & Signalled) | undefined,
): Promise<ShardIdentity> {
  if (row === undefined) throw new FleetError('internal', 'the identity was not written')
  await awaitEnds(session, row)
  return parseShardState(row)
}

async function claimAny(session: Session, wanted: ShardClaim): Promise<ShardIdentity> {
  return inLockedDatabase(session, async (state) => {
    refuseUnwritable(session, state)
    const found = state.has_table ? await storedIdentity(session) : null
    if (found !== null) refuseForeign(session, found, wanted)
    const statements = [...installStatements(state.has_schema, state.login), writeIdentitySql(wanted)]
    // Those of a static topology are let into unclaimed databases only; when they come back they see the claim.
    const ending = found === null ? signalRoutersSql : 'array[]::int[]'
    const [row] = await session.script<ShardStateRow & Signalled>([...statements, readClaimSql(ending)])
    return claimed(session, row)
  })
}

/** What a change of the identity has to know first. */
interface DatabaseState {
  readonly in_recovery: boolean
  readonly read_only: boolean
  readonly has_schema: boolean
  readonly has_table: boolean
  readonly login: string
}

// Looked up in the catalogs, not by to_regclass, which may answer from a cache of before the lock was waited for.
const stateSql = `
  select pg_is_in_recovery() as in_recovery, current_setting('transaction_read_only')::bool as read_only,
         current_user as login,
         exists (select from pg_namespace where nspname = 'fleetshard') as has_schema,
         exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = 'fleetshard' and c.relname = 'shard_state') as has_table`

/** Runs `work` in a transaction that has the lock of the state, and commits. */
async function inLockedDatabase<T>(session: Session, work: (state: DatabaseState) => Promise<T>): Promise<T> {
  return inTransaction<T, DatabaseState>(
    session,
    async ([state]) => {
      if (state === undefined) throw new FleetError('internal', 'the server does not know its own state')
      return work(state)
    },
    [...beginLocked, stateSql],
  )
}

function refuseUnwritable(session: Session, state: DatabaseState): void {
  if (state.in_recovery) {
    throw new FleetError('node_check_failed', `${describeTarget(session.target)} is a replica`, {
      hint: 'give the primary; replicas get the identity by replication',
    })
  }
  if (state.read_only) {
    throw new FleetError('node_check_failed', `${describeTarget(session.target)} is read-only`, {
      hint: 'switch default_transaction_read_only off for this database and role',
    })
  }
}

function refuseForeign(session: Session, found: ShardIdentity, wanted: ShardClaim): void {
  if (found.cluster !== wanted.cluster) {
    throw new FleetError(
      'wrong_database',
      `${describeTarget(session.target)} belongs to shard ${found.shard} of another FleetShard cluster (${found.cluster})`,
      {
        hint: 'give another database; if that cluster is gone for good, drop the schema fleetshard there',
        facts: { found_shard: found.shard, found_cluster: found.cluster },
      },
    )
  }
  if (found.shard !== wanted.shard || found.keyspace !== wanted.keyspace) {
    throw foreign(session, found, wanted.shard)
  }
  if (found.sequenceBlock !== wanted.sequenceBlock) {
    throw new FleetError(
      'wrong_database',
      `${describeTarget(session.target)} counts in sequence block ${String(found.sequenceBlock)}, not ${String(wanted.sequenceBlock)}`,
      { hint: 'the record of the shard was made anew under an old name: use another shard id' },
    )
  }
}

/** As text, to travel with other statements in one trip. */
function writeIdentitySql(wanted: ShardClaim): string {
  const names = [wanted.cluster, wanted.keyspace, wanted.shard].map(escapeLiteral)
  const numbers = [wanted.term, wanted.epochMin, wanted.sequenceBlock].map(String)
  return `insert into fleetshard.shard_state as s (${stateColumns}) values (${[...names, ...numbers].join(', ')})
    on conflict (only_row) do update
       set term = greatest(s.term, excluded.term), epoch_min = greatest(s.epoch_min, excluded.epoch_min),
           changed_at = now()`
}

/** See the port. Markers and id generator stay: column defaults of the user's may depend on them. */
export async function release(session: Session, shard: ShardId): Promise<boolean> {
  return (await releaseOwn(session, shard)) ?? releaseAny(session, shard)
}

/** In one trip. Null, and nothing is changed, where the database is not that shard's or cannot be written to. */
async function releaseOwn(session: Session, shard: ShardId): Promise<true | null> {
  // Nobody is told to end unless the row is there: what the expression asks for is not run without one.
  const releaseSql = `
    with gone as (delete from fleetshard.shard_state where shard = ${escapeLiteral(shard)} returning shard)
    select ${signalRoutersSql} as signalled from gone`
  return unlessStated(['42P01', '3F000', '25006'], () =>
    inTransaction<true | null, Signalled>(
      session,
      async ([row]) => {
        if (row === undefined) return null
        await awaitEnds(session, row)
        return true
      },
      [...beginLocked, releaseSql],
    ),
  )
}

async function releaseAny(session: Session, shard: ShardId): Promise<boolean> {
  return inLockedDatabase(session, async (state) => {
    const found = state.has_table ? await storedIdentity(session) : null
    if (found === null) return false
    refuseUnwritable(session, state)
    if (found.shard !== shard) throw foreign(session, found, shard)
    const [row] = await session.script<Signalled>([
      'delete from fleetshard.shard_state',
      `select ${signalRoutersSql} as signalled`,
    ])
    if (row !== undefined) await awaitEnds(session, row)
    return true
  })
}

/** See the port. */
export async function setEpochMin(
  session: Session,
  state: { readonly shard: ShardId; readonly epochMin: Epoch; readonly term?: Term },
): Promise<ShardIdentity> {
  return inLockedDatabase(session, async (database) => {
    await requireIdentity(session, state.shard)
    refuseUnwritable(session, database)
    const identity = await raiseState(session, state.epochMin, state.term ?? 0)
    await endRouterConnections(session)
    return identity
  })
}

/** Raises epoch and term; the caller holds the lock of the state. */
export async function raiseState(session: Session, epochMin: Epoch, term: number): Promise<ShardIdentity> {
  const [row] = await session.query<ShardStateRow>(
    `update fleetshard.shard_state
        set epoch_min = greatest(epoch_min, $1), term = greatest(term, $2), changed_at = now()
     returning ${stateColumns}`,
    [epochMin, term],
  )
  if (row === undefined) throw new FleetError('internal', 'the identity is gone while it was locked')
  return parseShardState(row)
}

/** How often ended connections are looked for: shorter than the tenth of a second that Postgres itself would wait. */
const gonePollMs = 2

/**
 * Ends router connections to this database and waits until they are gone, so that nothing they had under way can
 * still happen after our commit.
 * @throws FleetError `shard_unavailable` when one does not end
 */
export async function endRouterConnections(session: Session): Promise<void> {
  const [row] = await session.query<Signalled>(`select ${signalRoutersSql} as signalled`)
  if (row !== undefined) await awaitEnds(session, row)
}

/** Looks in which statements that were under way may get their answer, before their connections are ended. */
const answerLooksMax = 15

/**
 * Ends router connections of a database that is fenced, and waits until none of them can do or answer anything more.
 * What runs is given a moment first: a write that waited for the fence is refused by it, and its client knows then
 * that nothing happened; cut off it could not tell. One that is shown as idle after it was told to end is as good as
 * gone: Postgres shows a command as running, then looks whether it has to end, and only then does anything of it
 * (PostgresMain and exec_simple_query in src/backend/tcop/postgres.c). That a hundred processes leave takes a tenth of a
 * second, and clients wait meanwhile.
 * @throws FleetError `shard_unavailable` when one does not stop
 */
export async function silenceRouterConnections(session: Session): Promise<void> {
  const timeoutMs = endTimeoutMs(session)
  const told = new Set<number>()
  let left: readonly number[] | null = null
  for (let looks = 0; left === null || left.length > 0; looks += 1) {
    if (left !== null && looks * gonePollMs > timeoutMs) throw doesNotEnd(left)
    const seen: readonly SeenRow[] = await session.query<SeenRow>(silenceSql, [
      left === null ? 0 : gonePollMs / 1000,
      left,
      [...told],
      looks >= answerLooksMax,
    ])
    for (const { pid, signalled } of seen) if (signalled) told.add(pid)
    left = seen.filter(({ pid, after }) => !told.has(pid) || !silent.has(after)).map(({ pid }) => pid)
  }
}

/** Of one that was told to end. */
const silent: ReadonlySet<SeenRow['after']> = new Set(['gone', 'idle'])

interface SeenRow {
  readonly pid: number
  readonly signalled: boolean
  /** How it is shown once all have been told; null where the login may not see it. */
  readonly after: string | null
}

/**
 * Waits $1 seconds, looks at those of $2 (null: all), tells those to end that are not among $3 and run nothing, or
 * whatever they do ($4), and looks once more. In one statement: behind a hundred processes that leave, the next one
 * would wait for its turn. Outside of a transaction a statement sees activity as it is at its first look; what each part
 * takes from the one before keeps them in this order.
 */
const silenceSql = `
  with waited as materialized (select pg_sleep($1) as is),
       seen as materialized (
         select a.pid, a.state from waited, pg_stat_activity a
          where a.datname = current_database() and a.pid <> pg_backend_pid()
            and starts_with(a.application_name, ${escapeLiteral(routerApplicationPrefix)})
            and ($2::int[] is null or a.pid = any ($2))),
       told as materialized (
         select pid, case when pid <> all ($3::int[]) and ($4 or state is distinct from 'active')
                     then pg_terminate_backend(pid) else false end as signalled
           from seen),
       cleared as materialized (
         select t.number, pg_stat_clear_snapshot() as is from (select count(*)::int as number from told) t),
       again as materialized (
         select a.pid, a.state from cleared c, lateral pg_stat_get_activity(nullif(c.number, c.number)) a)
  select t.pid, t.signalled, case when a.pid is null then 'gone' else a.state end as after
    from told t left join again a on a.pid = t.pid`

/** Processes that were told to end. */
interface Signalled {
  readonly signalled: readonly number[]
}

/**
 * An expression: all get the signal first, so that their ends overlap. It asks the function below pg_stat_activity,
 * whose joins cost a session that has just begun more than all else that it does here.
 */
const signalRoutersSql = `array(
  with gone as materialized (
    select pid, pg_terminate_backend(pid) as signalled from pg_stat_get_activity(null)
     where datid = (select oid from pg_database where datname = current_database()) and pid <> pg_backend_pid()
       and starts_with(application_name, ${escapeLiteral(routerApplicationPrefix)}))
  select pid from gone where signalled)`

const endTimeoutMs = (session: Session): number =>
  Math.max(1, Math.min(terminateTimeoutMsMax, Math.floor(session.remainingMs() / 2)))

async function awaitEnds(session: Session, { signalled }: Signalled): Promise<void> {
  const timeoutMs = endTimeoutMs(session)
  let left: readonly number[] = signalled
  for (let waitedMs = 0; left.length > 0; waitedMs += gonePollMs) {
    left = await stillThere(session, left)
    if (left.length > 0 && waitedMs > timeoutMs) throw doesNotEnd(left)
  }
}

/** Looks a little later. A backend leaves the list only after its transaction was rolled back. */
async function stillThere(session: Session, pids: readonly number[]): Promise<readonly number[]> {
  // A transaction sees activity as it was at its first look.
  await session.query('select pg_stat_clear_snapshot(), pg_sleep($1)', [gonePollMs / 1000])
  const rows = await session.query<{ pid: number }>(
    `select pid from pg_stat_activity where pid = any ($1::int[]) and application_name like $2`,
    [pids, `${routerApplicationPrefix}%`],
  )
  return rows.map(({ pid }) => pid)
}

function doesNotEnd(pids: readonly number[]): FleetError {
  return new FleetError('shard_unavailable', `a router's connection (pid ${String(pids[0])}) does not end`, {
    hint: 'try again; if it stays so, look at that process on the server',
  })
}
