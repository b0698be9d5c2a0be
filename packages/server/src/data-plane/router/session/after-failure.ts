// What becomes of work whose server has gone in the middle of it, or does not own its rows any more, or that the router
// itself refuses: another attempt where nothing of it has happened, else what the client is told.
import { FleetError, toFleetError } from '@fleetshard/core'
import { connectFor, leaveShard } from './connect.ts'
import { SessionLost } from './errors.ts'
import type { Traits } from './plan-use.ts'
import type { GroupRunner } from './group-runner.ts'
import { poison, type Answered, type Held } from './server-side.ts'
import { isYetToFail, mustFail, rolledBack, type SessionState } from './session-state.ts'
import { OpenTransaction } from './transaction-state.ts'
import type { PieceEnd, Work } from './work.ts'

/** SQLSTATE of a server that refuses rows which have moved to another shard. */
const fencedState = 'FS001'

/** Work that was sent. */
interface Sent {
  readonly work: Work
  /** More of its group is to come. */
  readonly stays: boolean
  readonly held: Held
  readonly traits: readonly Traits[]
  readonly isLast: boolean
}

/** True when a transaction may have been committed by it: by COMMIT, or by the Sync of a group answered in parts. */
const mayCommit = ({ transaction }: SessionState, { work, stays }: Pick<Sent, 'work' | 'stays'>): boolean =>
  (transaction?.isClients === false && !stays) ||
  work.executed.some(({ known }) => known.facts.command.kind === 'commit')

/** True for ROLLBACK of a transaction that a server has, and nothing else: without its connection it is rolled back. */
const isRollback = ({ transaction, isBound }: SessionState, { executed }: Work): boolean =>
  transaction?.isClients === true &&
  transaction.pin === 'hard' &&
  !isBound &&
  executed.length === 1 &&
  executed[0]?.known.facts.command.kind === 'rollback'

/** The connection is gone in the middle of the work; null when it is worth another attempt. @throws FleetError, SessionLost */
export function afterLoss(
  state: SessionState,
  { work, traits, isLast, stays }: Sent,
  { answer, error, sent }: { answer: Answered['answer']; error: FleetError; sent: boolean },
): null {
  const { transaction } = state
  state.isGroupOpen = false
  const commits = mayCommit(state, { work, stays })
  const writes = transaction === null ? traits.some((trait) => trait.writes) : false
  const isSafe = !sent || !(writes || commits)
  if (isSafe && !isLast && state.cancellation.reason === null && answer.takeBack()) {
    // Another attempt was possible since it had done nothing before.
    state.startOver()
    state.environment.metrics.retried('lost')
    return null
  }
  if (transaction !== null && isRollback(state, work) && answer.takeBack()) {
    state.lose(error)
    // As its client wants it: an empty one is ended in its place.
    state.transaction = new OpenTransaction(transaction.begin, transaction.before)
    return null
  }
  const wasBound = state.isBound
  state.lose(error)
  // COMMIT ends a transaction, whatever comes of it.
  if (commits) state.transaction = null
  if (wasBound) throw new SessionLost(error.message)
  if (isSafe) throw transaction === null ? error : rolledBack(error)
  throw new FleetError(
    'outcome_unknown',
    `the connection was lost before the statement was acknowledged: ${error.message}`,
    { hint: 'read the rows to see whether it was done', cause: error },
  )
}

/**
 * True when the server has refused the work since its rows have moved, and nothing of it has happened, or will: alone it
 * may be tried elsewhere, in a transaction of the client that one has failed.
 */
export function isFenced(
  { work, isLast }: Sent,
  {
    answered: { answer, end },
    before,
  }: { readonly answered: Answered; readonly before: OpenTransaction | null },
): boolean {
  // Another command may have ended a transaction in between, or have taken what the client cannot send again.
  const isPlain = work.executed.every(({ known }) => known.facts.command.kind === 'rows')
  if (answer.sqlstate !== fencedState || end.kind !== 'ready' || !isPlain) return false
  return before === null ? end.status === 'idle' && !isLast : end.status === 'failed' && before.isClients
}

/**
 * What comes of that, the client having been told nothing yet.
 * @throws FleetError always: `stale_map` when another attempt is right, with the transaction given up where one had
 * begun; in one that has done more, 40001
 */
export async function afterFence(state: SessionState, { held, isLast }: Sent): Promise<never> {
  const moved = new FleetError('stale_map', 'the rows have moved to another shard')
  if (isLast) throw rolledBack(moved)
  await leaveShard(state, held)
  throw moved
}

/** An error of the router's own, as its client is told it, and the end of what it is said of. */
interface Told {
  readonly bytes: Buffer
  readonly end: PieceEnd
}

/**
 * Makes the client's transaction fail on its server, where one is under way or is to be begun. Null where there is none;
 * false when there is no server to be had, and the client has been told nothing.
 */
export function failTransaction(
  state: SessionState,
  runner: GroupRunner,
  thrown: unknown,
  told: Told,
): Promise<boolean> | null {
  const { held } = state
  if (held !== null)
    return mustFail(state, held) && !runner.isOpenFailed ? failOnServer(state, runner, held, told) : null
  // A server that was not to be had for the statement is not for its failure.
  return isYetToFail(state) && !toFleetError(thrown).retryable ? beginAndFail(state, runner, told) : null
}

async function failOnServer(
  state: SessionState,
  runner: GroupRunner,
  held: Held,
  { bytes, end: asked }: Told,
): Promise<true> {
  const stays = runner.isOpen && asked === 'flush'
  const { end } = await runner.run(held, poison(bytes), stays)
  state.isGroupOpen = end.kind === 'open'
  if (end.kind === 'lost') {
    state.output.copy(bytes, 0, bytes.length)
    state.lose(end.error)
  }
  return true
}

/** A transaction that no server knows of yet is begun on any, which knows best what may be done in one that has failed. */
async function beginAndFail(state: SessionState, runner: GroupRunner, told: Told): Promise<boolean> {
  let held: Held
  try {
    held = await connectFor(state, { shard: null, map: state.map, isRepeatable: true, reads: null })
  } catch (error) {
    if (error instanceof SessionLost) throw error
    return false
  }
  return failOnServer(state, runner, held, told)
}
