// Work on one session: a statement in a lane, a statement alone, and the cleaning afterwards. Nothing here waits
// without an end: a cancel is passed on to Postgres, and a connection that does not heed it is destroyed.
import { assertNever, FleetError, isFleetError, type Clock } from '@fleetshard/core'
import { exec, type StatementDescription } from '../wire/mod.ts'
import { withTraceparent, type KeyParameter } from '../plan/mod.ts'
import type { Traceparent } from './calls.ts'
import type { Cancellation, DeadlineSweeper } from './cancellation.ts'
import { cancelAgainMs, cancelGraceMs, preparedTextMax } from './limits.ts'
import { checkKeyTypes, encodeParameters } from './parameters.ts'
import type { LaneSharer, Session } from './session.ts'
import { noSettings } from './session-settings.ts'
import { StatementRun, type RowsConsumer, type RunEnd } from './statement-run.ts'

/** One statement to run. */
export interface StatementWork {
  readonly text: string
  readonly params: readonly unknown[]
  readonly consumer: RowsConsumer
  /** False for what commits while it runs. */
  readonly commitsAtSync: boolean
  /** Parameters that have decided the shard: Postgres must read them by the same type. */
  readonly keys: readonly KeyParameter[]
  /** OID of a domain → OID of the type that it is made of. */
  readonly domains: ReadonlyMap<number, number>
  /** Called right after it was sent, to send what belongs behind it. `isOver` tells whether it has been answered. */
  readonly behind?: ((isOver: () => boolean) => void) | undefined
  /** The columns are looked at before it runs, so that a write is not refused when it has happened. */
  readonly looksFirst: boolean
  /** A sequence may count by it. */
  readonly counts: boolean
  /** Goes to the server with the text. */
  readonly traceparent: Traceparent
}

/** What the work needs beside its session. */
export interface WorkParts {
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
}

/** How long the request to cancel may take. */
const cancelRequestTimeoutMs = 1_000

/** Bytes that the result had, for whoever learns from it. */
export interface WorkEnd {
  readonly end: RunEnd
  readonly bytes: number
  /** Time on the server, as far as it can be told from here. */
  readonly serverMs: number
}

const noop = (): void => undefined

const errorEnd = (error: FleetError): WorkEnd => ({
  end: { kind: 'error', error, sqlstate: error.sqlstate },
  bytes: 0,
  serverMs: 0,
})

/** Runs a statement on a session that nobody else uses. A cancel is passed on to Postgres. */
export async function runAlone(
  parts: WorkParts,
  session: Session,
  work: StatementWork,
  cancellation: Cancellation,
): Promise<WorkEnd> {
  let stopGrace: (() => void) | null = null
  const detach = attach(session, work.consumer)
  const giveUp = (reason: FleetError): void => {
    // Rows that nobody wants any more are passed over, however slowly their reader reads.
    detach()
    requestCancel(session)
    stopGrace ??= insist(parts, session, reason)
  }
  try {
    if (cancellation.reason !== null) return errorEnd(cancellation.reason)
    // A lock may keep Postgres from parsing as well.
    cancellation.whenCancelled(giveUp)
    const written = writeParams(session, work)
    const params = written instanceof Promise ? await written : written
    if (cancellation.reason !== null) return errorEnd(cancellation.reason)
    if (isEnd(params)) return { end: params, bytes: 0, serverMs: 0 }
    return await new Promise<WorkEnd>((resolve) => {
      const run = submit(session, { work, params, giveUp }, resolve)
      cancellation.whenCancelled((reason) => {
        run.abandon(reason)
        giveUp(reason)
      })
    })
  } finally {
    cancellation.whenCancelled(null)
    detach()
    ;(stopGrace as (() => void) | null)?.()
    if (work.text.length > preparedTextMax) session.prepared.renew()
  }
}

/** Lets a consumer hold the connection back. @returns ends that, with the connection reading on */
function attach({ connection }: Session, consumer: RowsConsumer): () => void {
  if (consumer.attach === undefined) return noop
  let over = false
  consumer.attach({
    pause: () => {
      if (!over) connection.pause()
    },
    resume: () => {
      if (!over) connection.resume()
    },
  })
  return () => {
    over = true
    if (connection.paused) connection.resume()
  }
}

/** Asks Postgres to cancel what the session runs; `settled` tells when the request can't hit anything later. */
export function requestCancel(session: Session): void {
  const before = session.canceling
  const asked = session.connection.cancel({ timeoutMs: cancelRequestTimeoutMs }).then(
    () => true,
    () => false,
  )
  session.canceling =
    before === null ? asked : Promise.all([before, asked]).then((all) => !all.includes(false))
}

/**
 * Waits until no request to cancel is under way any more: it would hit the next statement on that session. Where one
 * has failed nobody knows whether it still comes, and the connection goes.
 */
export async function settled(session: Session): Promise<void> {
  while (session.canceling !== null) {
    const { canceling } = session
    const safe = await canceling
    if (session.canceling === canceling) session.canceling = null
    if (!safe)
      session.connection.destroy(
        new FleetError('shard_unavailable', 'a request to cancel has not been answered'),
      )
  }
}

/**
 * A request that Postgres gets before it has begun with the statement has no effect, so it is made again until the
 * statement has ended; a connection that does not heed it is destroyed.
 */
function insist(parts: WorkParts, session: Session, reason: FleetError): () => void {
  const untilMs = parts.clock.monotonic() + cancelGraceMs
  let stop: () => void = noop
  const later = (): void => {
    stop = parts.clock.after(cancelAgainMs, () => {
      requestCancel(session)
      if (parts.clock.monotonic() < untilMs) later()
      else
        void session.canceling?.then(() => {
          session.connection.destroy(reason)
        })
    })
  }
  later()
  return () => {
    stop()
  }
}

const destroyLater = (parts: WorkParts, session: Session, reason: FleetError): (() => void) =>
  parts.clock.after(cancelGraceMs, () => {
    session.connection.destroy(reason)
  })

/**
 * Runs a read in a lane. When its client goes, the read is only cancelled in Postgres once nobody else waits in the
 * lane; until then the lane takes nothing new. `onFree` is told when it does again.
 */
export function runInLane(
  parts: WorkParts,
  session: Session,
  work: StatementWork,
  { cancellation, onFree }: { cancellation: Cancellation; onFree: () => void },
): Promise<WorkEnd> {
  return new Promise((resolve, reject) => {
    let run: StatementRun | null = null
    /** Set once the client has gone: somebody keeps the lane free until the read has ended. */
    let abandoned: (() => void) | null = null
    const sharer: LaneSharer = {
      chain: null,
      before: null,
      behind: null,
      moveAway() {
        const error = new FleetError('shard_unavailable', 'the lane was taken by a slow reader')
        run?.abandon(error)
        resolve({ end: { kind: 'lost', error, outcome: 'aborted' }, bytes: 0, serverMs: 0 })
      },
    }
    const over = (): void => {
      session.sharers.delete(sharer)
      if (cancellation.reason === null) cancellation.whenCancelled(null)
      abandoned?.()
    }
    const ended = (end: WorkEnd): void => {
      over()
      resolve(end)
    }
    const failed = (error: unknown): void => {
      over()
      reject(error as Error)
    }
    const begin = (params: WrittenParams): void => {
      if (cancellation.reason !== null) ended(errorEnd(cancellation.reason))
      else if (isEnd(params)) ended({ end: params, bytes: 0, serverMs: 0 })
      else run = submit(session, { work, params, giveUp: noop }, ended)
    }
    session.sharers.add(sharer)
    cancellation.whenCancelled((reason) => {
      run?.abandon(reason)
      abandonInLane(parts, session, new Promise<void>((done) => (abandoned = done)), onFree)
      resolve(errorEnd(reason))
    })
    try {
      const written = writeParams(session, work)
      if (written instanceof Promise) written.then(begin).catch(failed)
      else begin(written)
    } catch (error) {
      failed(error)
    }
  })
}

/** Keeps others out of the lane until the statement has ended, and sees to it that it does. */
export function abandonInLane(
  parts: WorkParts,
  session: Session,
  running: Promise<unknown>,
  onFree: () => void,
): void {
  session.abandoned += 1
  let over = false
  cancelWhenAlone(parts, session, () => over)
  void running.catch(noop).then(async () => {
    over = true
    await settled(session)
    session.abandoned -= 1
    onFree()
  })
}

function cancelWhenAlone(parts: WorkParts, session: Session, isOver: () => boolean): void {
  const { connection } = session
  if (isOver() || connection.state === 'closed') return
  const head = connection.headSinceMs
  if (connection.inFlight <= session.abandoned && session.canceledHeadMs !== head && head !== null) {
    session.canceledHeadMs = head
    requestCancel(session)
    const reason = new FleetError('deadline_exceeded', 'the server did not cancel in time')
    parts.clock.after(cancelGraceMs, () => {
      if (isOver() || connection.headSinceMs !== head) return
      // The first request may have come before Postgres had begun with the statement.
      requestCancel(session)
      void session.canceling?.then(() => {
        connection.destroy(reason)
      })
    })
  }
  parts.sweeper.watch(parts.clock.monotonic(), () => {
    cancelWhenAlone(parts, session, isOver)
  })
}

/** The parameters as text, or how the statement ended because they can't be written. */
type WrittenParams = readonly (string | null)[] | RunEnd

/** At once when the statement is prepared, as it nearly always is: a promise would cost more than the work itself. */
function writeParams(session: Session, work: StatementWork): WrittenParams | Promise<WrittenParams> {
  if (work.params.length === 0 && !work.looksFirst) return noParams
  const known = session.prepared.known(work.text)
  return known === null ? describeFirst(session, work) : encodeFor(work, known)
}

const noParams: readonly null[] = []

async function describeFirst(session: Session, work: StatementWork): Promise<WrittenParams> {
  try {
    return encodeFor(work, await session.prepared.describe(work.text))
  } catch (error) {
    return notWritten(error)
  }
}

function encodeFor(work: StatementWork, known: StatementDescription): WrittenParams {
  try {
    if (work.looksFirst && known.fields !== null) work.consumer.fields(known.fields)
    checkKeyTypes(work.keys, known.paramTypes, work.domains)
    return encodeParameters(work.params, known.paramTypes, work.domains)
  } catch (error) {
    return notWritten(error)
  }
}

function notWritten(error: unknown): RunEnd {
  const failure =
    error instanceof FleetError
      ? error
      : new FleetError('internal', 'a parameter cannot be written', { cause: error })
  if (failure.code === 'shard_unavailable') return { kind: 'lost', error: failure, outcome: 'aborted' }
  return { kind: 'error', error: failure, sqlstate: failure.sqlstate }
}

const isEnd = (params: WrittenParams): params is RunEnd => !Array.isArray(params)

interface Submission {
  readonly work: StatementWork
  readonly params: readonly (string | null)[]
  /** Stops a result that is not wanted any more. */
  readonly giveUp: (reason: FleetError) => void
}

/** Sends a statement; `done` is told its end, never before this has returned. @throws as `ServerConnection.submit` */
function submit(
  session: Session,
  { work, params, giveUp }: Submission,
  done: (end: WorkEnd) => void,
): StatementRun {
  let over = false
  if (work.counts) session.remembers = true
  const run: StatementRun = new StatementRun({
    consumer: work.consumer,
    commitsAtSync: work.commitsAtSync,
    refusing: giveUp,
    ended: (end) => {
      over = true
      const { receivedMs, headTookMs: serverMs } = session.connection
      session.lastEndMs = receivedMs
      done({ end, bytes: run.bytes, serverMs })
    },
  })
  const { text, traceparent } = work
  const once = traceparent === null ? {} : { sentOnce: withTraceparent(text, traceparent) }
  session.prepared.execute({ text, params, ...once }, run)
  work.behind?.(() => over)
  return run
}

/** Removes whatever a statement may have left in a session. False when the connection had to go. */
export async function cleanSession(parts: WorkParts, session: Session): Promise<boolean> {
  const late = new FleetError('shard_unavailable', 'a session could not be cleaned in time')
  const stop = destroyLater(parts, session, late)
  try {
    await exec(session.connection, 'discard all')
    session.prepared.clear()
    session.statements.clear()
    session.settings = noSettings
    session.remembers = false
    return true
  } catch (error) {
    session.connection.destroy(
      error instanceof FleetError
        ? error
        : new FleetError('internal', 'a session cannot be cleaned', { cause: error }),
    )
    return false
  } finally {
    stop()
  }
}

/**
 * The end of a run as a result or an error. `writes`: an unknown outcome matters. `partial`: it may have committed
 * something before it failed, as procedures do.
 */
export function endOrThrow(
  end: RunEnd,
  { writes, partial = false }: { readonly writes: boolean; readonly partial?: boolean },
): { rowCount: number } {
  switch (end.kind) {
    case 'completed':
      if (end.refused === null) return { rowCount: end.rowCount }
      throw writes ? committedWithoutRows(end.refused) : end.refused
    case 'error':
      throw partial ? end.error.withFacts({ outcome: 'unknown' }) : end.error
    case 'lost':
      if (end.outcome === 'aborted' || !writes) throw end.error
      throw new FleetError(
        'outcome_unknown',
        `the connection was lost before the write was acknowledged: ${end.error.message}`,
        {
          hint: 'read the row to see whether it was written',
          cause: end.error,
        },
      )
    default:
      return assertNever(end)
  }
}

/** True when the server ended the connection by an order, as a cutover gives it; what comes next tells why. */
export const isEnded = (error: unknown): boolean =>
  isFleetError(error, 'shard_unavailable') && error.facts['server_sqlstate'] === '57P01'

/** A write that was done though its rows could not be handed over: to send it again would do it twice. */
function committedWithoutRows(error: FleetError): FleetError {
  return new FleetError(error.code, `${error.message}; the write itself was done`, {
    hint: 'do not send it again; read the rows it has written',
    retryable: false,
    cause: error,
    facts: { ...error.facts, outcome: 'committed' },
  })
}
