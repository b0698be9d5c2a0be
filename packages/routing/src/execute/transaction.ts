// A whole transaction on one borrowed session: begin, the statements, commit; rollback at the first error.
import { FleetError } from '@fleetshard/core'
import { isOfRouter } from '../shard-state.ts'
import { Cancellation } from './cancellation.ts'
import { cancelGraceMs } from './limits.ts'
import type { OnlyReading } from './only-reads.ts'
import { runAlone, settled, type StatementWork, type WorkEnd, type WorkParts } from './session-work.ts'
import type { Session } from './session.ts'
import type { RowsConsumer, RunEnd } from './statement-run.ts'

/** How the transaction is begun. */
export interface TransactionOptions extends OnlyReading {
  readonly isolation: 'read committed' | 'repeatable read' | 'serializable'
  readonly readOnly: boolean
}

/** What a transaction does. */
export interface TransactionWork {
  readonly works: readonly StatementWork[]
  readonly options: TransactionOptions
  readonly cancellation: Cancellation
  /** Sent behind the commit. */
  readonly behind?: StatementWork['behind']
}

/** For statements whose rows nobody wants. */
export const noRows: RowsConsumer = { fields: () => undefined, row: () => undefined, reset: () => undefined }

/** A statement of the router's own, without parameters and rows. */
const control = (text: string, commitsAtSync: boolean): StatementWork => ({
  text,
  params: [],
  consumer: noRows,
  commitsAtSync,
  keys: [],
  domains: new Map(),
  looksFirst: false,
  counts: false,
  traceparent: null,
})

/** BEGIN as it is wanted. */
export const beginWork = ({ isolation, readOnly }: TransactionOptions): StatementWork =>
  control(`begin isolation level ${isolation} ${readOnly ? 'read only' : 'read write'}`, true)

/** Settings by which texts are read; `SET LOCAL` of them is refused, but a function may change them too. */
const textSettings = [
  ['client_encoding', 'UTF8'],
  ['standard_conforming_strings', 'on'],
] as const

/**
 * The error when a statement has changed how the next ones would be read: their keys could become others; or the name
 * of its connection: a fence would not end it.
 */
export function changedSettings({ connection }: Session): FleetError | null {
  const { parameters } = connection
  const changed = isOfRouter(parameters)
    ? textSettings.find(([name, value]) => (parameters.get(name) ?? value) !== value)?.[0]
    : 'application_name'
  if (changed === undefined) return null
  return new FleetError('statement_refused', `a statement of the transaction has changed ${changed}`, {
    hint: `leave ${changed} as it is: the router relies on it`,
  })
}

/** Runs it. `end` is that of the whole; `ends` those of the statements that ran. */
export async function runTransaction(
  parts: WorkParts,
  session: Session,
  { works, options, cancellation, behind }: TransactionWork,
): Promise<{ end: RunEnd; ends: WorkEnd[] }> {
  const ends: WorkEnd[] = []
  for (const [index, work] of [beginWork(options), ...works].entries()) {
    if (cancellation.reason !== null) {
      const error = cancellation.reason
      return { end: await rollback(parts, session, { kind: 'error', error, sqlstate: error.sqlstate }), ends }
    }
    const ended = await runAlone(parts, session, work, cancellation)
    if (index > 0) ends.push(ended)
    const { end } = ended
    if (end.kind === 'lost') return { end: { ...end, outcome: 'aborted' }, ends }
    if (end.kind === 'error') {
      const error = works.length > 1 ? end.error.withFacts({ statement: index - 1 }) : end.error
      return { end: await rollback(parts, session, { ...end, error }), ends }
    }
    const refused = end.refused ?? changedSettings(session)
    if (refused !== null) {
      const failed = { kind: 'error', error: refused, sqlstate: refused.sqlstate } as const
      return { end: await rollback(parts, session, failed), ends }
    }
  }
  const { reason } = cancellation
  if (reason !== null) {
    const canceled = { kind: 'error', error: reason, sqlstate: reason.sqlstate } as const
    return { end: await rollback(parts, session, canceled), ends }
  }
  return { end: await commit(parts, session, { cancellation, behind }), ends }
}

/**
 * From here on Postgres is not asked to cancel any more: what happens to a commit under way could not be told. It
 * gets some time beyond a cancel; then the connection goes, and the outcome is unknown.
 */
export async function commit(
  parts: WorkParts,
  session: Session,
  { cancellation, behind }: { cancellation: Cancellation; behind: StatementWork['behind'] },
): Promise<RunEnd> {
  let stop: (() => void) | null = null
  cancellation.whenCancelled((reason) => {
    stop = parts.clock.after(cancelGraceMs, () => {
      session.connection.destroy(reason)
    })
  })
  const work = { ...control('commit', false), behind }
  const { end } = await runAlone(parts, session, work, new Cancellation())
  cancellation.whenCancelled(null)
  ;(stop as (() => void) | null)?.()
  return end
}

/** Ends the transaction without effect; a connection that does not answer in time goes. @returns `end` as it was */
export async function rollback(parts: WorkParts, session: Session, end: RunEnd): Promise<RunEnd> {
  // A request to cancel that is still under way would hit the rollback.
  await settled(session)
  if (session.connection.state !== 'open') return end
  const stop = parts.clock.after(cancelGraceMs, () => {
    session.connection.destroy(new FleetError('shard_unavailable', 'a rollback was not answered in time'))
  })
  await runAlone(parts, session, control('rollback', true), new Cancellation())
  stop()
  return end
}
