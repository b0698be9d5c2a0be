// The Postgres side of the port of reshard jobs: each method on a connection of its own, the work in the files beside.
import { parseLsn, type Clock } from '@fleetshard/core'
import { idempotencyTableSql } from '@fleetshard/routing/idempotency'
import type { MovedTable, ReshardEngine } from '../../reshard-engine.ts'
import type { EngineParts, NodeTarget } from '../../shard-engine.ts'
import { quoteTableName } from '../names.ts'
import { openStream } from '../replication/stream.ts'
import { withSession, type Session } from '../session.ts'
import { JobConnection } from './connection.ts'
import { idObstacles } from './id-obstacles.ts'
import { inspectSource, inspectTarget, movableTables } from './inspect-source.ts'
import { dropSlot, endReader, makeSlot, slotState } from './slots.ts'
import { openCutover } from './cutover-session.ts'
import { sourceFigures } from './source-figures.ts'
import { dropFences, isVacuumed, raiseEpoch } from './source-fence.ts'
import { PostgresSourceReader } from './source-reader.ts'
import { removeRows } from './remove-rows.ts'
import { allKinds, calm, endRuns, forget, restore, strip, tellKeys, validateKeys } from './stripped.ts'
import { eachKey, sumRange, sumRows } from './sums.ts'
import { PostgresTargetWriter } from './target-writer.ts'

/** The slot's own position. */
const slotStart = parseLsn('0/0')
/** Deadline of what waits for nothing but the server. */
const stepMsMax = 30_000
/** Deadline of what reads or builds whole tables. */
const longStepMsMax = 24 * 3_600_000
/** How long running vacuums are waited for. */
const vacuumWaitMsMax = 30_000
const vacuumPauseMs = 100

/** Does no I/O. */
export function createPostgresReshardEngine({ clock }: EngineParts): ReshardEngine {
  const on = <T>(
    target: NodeTarget,
    signal: AbortSignal,
    work: (session: Session) => Promise<T>,
    timeoutMs = stepMsMax,
  ): Promise<T> => withSession({ clock, target, bounds: { signal, timeoutMs } }, work)
  return {
    prepare: (target, signal) =>
      on(target, signal, async (session) => {
        for (const sql of idempotencyTableSql) await session.query(sql)
      }),
    inspectSource: (target, tables, signal) =>
      on(target, signal, (session) => inspectSource(session, tables)),
    async inspectTarget(target, source, tables, signal) {
      const facts = await on(source, signal, movableTables)
      const obstacles = await on(target, signal, (session) => inspectTarget(session, facts, tables))
      const own = await on(target, signal, movableTables)
      const sides = { source: facts, target: own }
      return [...obstacles, ...(await on(source, signal, (session) => idObstacles(session, sides, tables)))]
    },
    makeSlot: (target, names, tables, signal) => makeSlot({ clock, target, signal }, names, tables),
    slotState: (target, slot, signal) => on(target, signal, (session) => slotState(session, slot)),
    sourceFigures: (target, slot, signal) => on(target, signal, (session) => sourceFigures(session, slot)),
    dropSlot: (target, names, signal) => on(target, signal, (session) => dropSlot(session, clock, names)),
    async openChanges(target, { slot, publication }, signal) {
      await on(target, signal, (session) => endReader(session, clock, slot))
      return openStream(target, clock, { slot, publication, from: slotStart }, signal)
    },
    openSource: (target, signal) => PostgresSourceReader.open({ target, clock, signal }),
    openTarget: (target, job, run, signal) => PostgresTargetWriter.open({ target, clock, signal }, job, run),
    strip: (target, job, what, signal) => on(target, signal, (session) => strip(session, job, what)),
    restoreIndexes: (target, job, signal) =>
      on(target, signal, (session) => restore(session, job, ['index']), longStepMsMax),
    leaveTarget: (target, job, tables, signal) =>
      on(
        target,
        signal,
        async (session) => {
          await validateKeys(session, tables)
          await restore(session, job, allKinds)
          await forget(session, job)
        },
        longStepMsMax,
      ),
    emptyTarget: (target, job, tables, signal) =>
      on(target, signal, (session) => emptyTarget(session, job, tables), longStepMsMax),
    calm: (target, job, tables, signal) =>
      on(target, signal, (session) => calmed(session, clock, { job, tables }), stepMsMax * 2),
    dropFences: (target, fences, signal) =>
      on(target, signal, (session) => dropFences(session, clock, fences)),
    leaveSource: (target, job, signal) =>
      on(target, signal, async (session) => {
        await restore(session, job, allKinds)
        await forget(session, job)
      }),
    uncalm: (target, job, signal) => on(target, signal, (session) => restore(session, job, ['autovacuum'])),
    tellKeys: (target, job, signal) => on(target, signal, (session) => tellKeys(session, job)),
    raiseEpoch: (target, state, signal) => on(target, signal, (session) => raiseEpoch(session, state)),
    openCutover: (target, signal) => openCutover({ clock, target, signal }),
    ...rowWork(clock),
  }
}

/** What goes through all rows of a table, on a connection without a deadline. */
function rowWork(clock: Clock): Pick<ReshardEngine, 'sumRange' | 'sumRows' | 'eachKey' | 'removeRows'> {
  const on = async <T>(
    target: NodeTarget,
    signal: AbortSignal,
    work: (connection: JobConnection) => Promise<T>,
  ): Promise<T> => {
    await using connection = await JobConnection.open(target, clock, signal)
    return await work(connection)
  }
  return {
    sumRange: (target, table, which, signal) =>
      on(target, signal, (connection) => sumRange(connection, table, which)),
    sumRows: (target, table, which, signal) =>
      on(target, signal, (connection) => sumRows(connection, table, which)),
    eachKey: (target, table, visit, signal) =>
      on(target, signal, (connection) => eachKey(connection, table, visit)),
    removeRows: (target, table, isGone, signal) =>
      on(target, signal, (connection) => removeRows(connection, table, isGone)),
  }
}

async function calmed(
  session: Session,
  clock: Clock,
  { job, tables }: { readonly job: string; readonly tables: readonly MovedTable[] },
): Promise<void> {
  await calm(session, job, tables)
  const deadline = clock.monotonic() + vacuumWaitMsMax
  while (clock.monotonic() < deadline && (await isVacuumed(session, tables))) await clock.sleep(vacuumPauseMs)
}

/** Truncated first: building the indexes of empty tables takes no time. */
async function emptyTarget(session: Session, job: string, tables: readonly MovedTable[]): Promise<void> {
  // From here on no run that is still under way can write.
  await endRuns(session, job)
  if (tables.length > 0) {
    await session.query(`truncate ${tables.map(({ name }) => quoteTableName(name)).join(', ')}`)
  }
  await restore(session, job, allKinds)
  await forget(session, job)
}
