// Work on a connection of its own: placed, sent, and its effects on the session taken over. Sent again only where
// nothing of it can have happened, or it only reads.
import { FleetError, isFleetError, toFleetError, type ShardMap, type ShardRecord } from '@fleetshard/core'
import {
  forgetNumbers,
  forgotten,
  learnCost,
  recalls,
  refuseForgotten,
  refuseMoreThanReads,
  type ReadTerms,
  type SchemaFacts,
} from '@fleetshard/routing/execute'
import type { KnownStatement, StatementFacts } from '@fleetshard/routing/plan'
import { exec } from '@fleetshard/routing/wire'
import { afterFence, afterLoss, isFenced } from './after-failure.ts'
import { attemptsMax, connectFor, leaveShard, mayMove, shardFor } from './connect.ts'
import { isRepeatable, isTimeless } from './effects.ts'
import { SessionLost } from './errors.ts'
import { refuseOtherPath } from './own-path.ts'
import { check, place, targetOfWork, traitsOf, type Placed, type Traits } from './plan-use.ts'
import type { GroupRunner } from './group-runner.ts'
import type { Answered, Group, Held } from './server-side.ts'
import { transactionAborted, type SessionState } from './session-state.ts'
import { isUntold, tellWritten } from './session-token.ts'
import { keepsSnapshot, OpenTransaction } from './transaction-state.ts'
import { readTermsOf, refuseSettings } from './variables.ts'
import type { WireStatement } from './wire-statements.ts'
import type { Work } from './work.ts'

/** SQLSTATE of a prepared statement that does not exist. */
const lostStatement = '26000'

/** How a piece of work went. */
export interface Ran {
  /** SQLSTATE of the error that the client has been told; empty for none. */
  readonly sqlstate: string
  readonly rows: number
  readonly shard: ShardRecord | null
  /** Messages of the client that were answered without an error. */
  readonly answered: number
}

/** Who is told how it went: one of both, once. */
export interface RanHost {
  readonly ran: (ran: Ran) => void
  /** FleetError, SaidByServer before anything was sent or said; SessionLost. */
  readonly failed: (error: unknown) => void
}

/**
 * Runs it, without a promise where nothing but the server's answer has to be waited for; the client is told everything
 * but ReadyForQuery.
 */
export function runAlone(
  state: SessionState,
  runner: GroupRunner,
  { work, stays }: Piece,
  host: RanHost,
): void {
  attempt(state, runner, { work, stays, host, count: 1 })
}

/** Work, and whether more of its group is to come. */
export interface Piece {
  readonly work: Work
  readonly stays: boolean
}

interface Trying extends Piece {
  readonly host: RanHost
  /** This attempt, the first one is 1. */
  readonly count: number
}

function attempt(state: SessionState, runner: GroupRunner, trying: Trying): void {
  const go = (map: ShardMap): void => {
    attemptBy(state, runner, { ...trying, map })
  }
  try {
    const map = unheldMap(state, trying.work)
    if (map instanceof Promise) map.then(go).catch(trying.host.failed)
    else go(map)
  } catch (error) {
    trying.host.failed(error)
  }
}

function attemptBy(
  state: SessionState,
  runner: GroupRunner,
  { work, stays, host, count, map }: Trying & { readonly map: ShardMap },
): void {
  const isTied = !mayMove(state)
  const isLast = count >= attemptsMax || isTied
  const again = (): void => {
    attempt(state, runner, { work, stays, host, count: count + 1 })
  }
  const failed = (error: unknown): void => {
    const mayHelp = count < attemptsMax && (!isTied || mayMove(state))
    if (!mayHelp || !isFleetError(error, 'stale_map')) {
      host.failed(error)
      return
    }
    state.environment.metrics.retried('stale_map')
    const newer = state.map === map ? state.environment.newerMap(map) : Promise.resolve()
    state.cancellation.until(newer).then(again, host.failed)
  }
  const go = (sending: Sending): void => {
    send(state, runner, sending, {
      ran(ran) {
        if (ran === null) again()
        else host.ran(ran)
      },
      failed,
    })
  }
  try {
    const found = connect(state, { work, stays, map, isLast })
    if (found instanceof Promise) found.then(go).catch(failed)
    else go(found)
  } catch (error) {
    failed(error)
  }
}

/**
 * The map by which the work is placed, once no shard that it belongs to is held for a cutover. What has begun on a
 * shard does not wait: the cutover waits for it, or ends it. Reads that may be older do not wait either.
 * @throws FleetError of placement; of the wait: `overloaded`, `shard_unavailable`, the cancellation's reason
 */
function unheldMap(state: SessionState, work: Work): ShardMap | Promise<ShardMap> {
  const { map, transaction } = state
  const hasFailed = transaction !== null && transaction.failure !== null
  if (hasFailed || !map.owners.some(({ hold }) => hold !== undefined)) return map
  const shard = placeAll(state, work, map).find((one) => one.shard?.hold !== undefined)?.shard ?? null
  if (shard === null || !mayMove(state) || readsOlder(state, map, work)) return map
  return whenReleased(state, work, { shard, map })
}

async function whenReleased(
  state: SessionState,
  work: Work,
  { shard, map }: { readonly shard: ShardRecord; readonly map: ShardMap },
): Promise<ShardMap> {
  const { held, environment, cancellation } = state
  if (held !== null) await leaveShard(state, held)
  await environment.holds.wait(shard, map, { map: () => state.map, cancellation })
  return unheldMap(state, work)
}

const placeAll = (state: SessionState, work: Work, map: ShardMap): readonly Placed[] => {
  const session = targetOfWork(state.variables, work.uses)
  return work.uses.map((use) => place(use, map, session))
}

const readsOlder = (state: SessionState, map: ShardMap, work: Work): boolean =>
  state.transaction === null &&
  work.executed.every(({ known }) => known.facts.kind === 'read') &&
  readTermsOf(state.variables, map) !== null

interface Attempt extends Piece {
  readonly map: ShardMap
  readonly isLast: boolean
}

/** Where it is sent, with all that is checked before. @throws FleetError */
function connect(state: SessionState, trial: Attempt): Sending | Promise<Sending> {
  const { work, map } = trial
  const failure = state.transaction?.failure ?? null
  if (failure !== null) throw transactionAborted(failure)
  const session = targetOfWork(state.variables, work.uses)
  const placed = work.uses.map((use) => place(use, map, session))
  const shard = shardFor(state, oneOf(placed), map)
  const access = state.environment.access(shard, state.start.login)
  const schema = access.schemaFacts(state.cancellation)
  const go = (names: SchemaFacts): Sending | Promise<Sending> => {
    for (const one of placed) {
      if (state.start.onlyReads) refuseMoreThanReads(one.use.known.facts, names)
      check(one, map, names, session)
    }
    const traits = work.executed.map(({ known }) => traitsOf(known, names))
    refuseReadOnly(shard, work, traits)
    const facts = work.executed.map(({ known }) => known.facts)
    refuseOtherPath(state, facts, { map, schema: names })
    refuseForgotten(facts, state.held?.hasCounted === true)
    refuseOthers(state, facts)
    const isMovable = mayMove(state)
    const connected = (held: Held): Sending | Promise<Sending> =>
      isMovable && state.map.epoch !== map.epoch ? refuseSuperseded(state, held) : { ...trial, held, traits }
    const held = connectFor(state, {
      shard: placed.some((one) => one.shard !== null) ? shard : null,
      map,
      isRepeatable: work.executed.every(({ known }, index) => mayMoveOn(state, known, traits[index])),
      reads: readTerms(state, map, traits),
    })
    return held instanceof Promise ? held.then(connected, about(shard)) : connected(held)
  }
  return schema instanceof Promise ? schema.then(go) : go(schema)
}

/** The error of a wait for a connection says which shard it is about. */
const about =
  ({ id }: ShardRecord) =>
  (error: unknown): never => {
    throw error instanceof FleetError ? error.withFacts({ shard_id: id }) : error
  }

/** True for what may be done again on another shard. A transaction that keeps its snapshot has it from its first query. */
const mayMoveOn = (state: SessionState, { facts }: KnownStatement, trait: Traits | undefined): boolean =>
  isRepeatable(facts.command) || (trait?.shares === true && isTimeless(facts) && !keepsSnapshot(state))

/**
 * A read that may write after all (by a function) does not run on a shard that takes no writes.
 * @throws FleetError `shard_not_serving`
 */
function refuseReadOnly(shard: ShardRecord, work: Work, traits: readonly Traits[]): void {
  if (shard.status !== 'readonly') return
  for (const [index, { known }] of work.executed.entries()) {
    const { command } = known.facts
    const runs =
      command.kind === 'rows' || command.kind === 'copy' || command.kind === 'do' || command.kind === 'call'
    if (!runs || traits[index]?.writes !== true) continue
    if (command.kind === 'copy' && command.direction === 'out') continue
    throw new FleetError(
      'shard_not_serving',
      `shard ${shard.name} is readonly, and the statement may write`,
      {
        hint: 'fleetshard shard list shows the states',
      },
    )
  }
}

/**
 * After a wait for a connection: nothing is sent that was placed by an older map than the router works with, but for
 * what has begun before.
 * @throws FleetError `stale_map`
 */
async function refuseSuperseded(state: SessionState, held: Held): Promise<never> {
  if (state.transaction === null) state.release()
  else await leaveShard(state, held)
  throw new FleetError('stale_map', 'the shard map changed while the statement waited')
}

function readTerms(state: SessionState, map: ShardMap, traits: readonly Traits[]): ReadTerms | null {
  const isRead = state.transaction === null && traits.length > 0 && traits.every(({ shares }) => shares)
  return isRead ? readTermsOf(state.variables, map) : null
}

/** The one shard of all. @throws FleetError `cross_shard` */
function oneOf(placed: readonly Placed[]): Placed['shard'] {
  let shard: Placed['shard'] = null
  for (const one of placed) {
    if (one.shard === null || one.shard === shard) continue
    if (shard !== null) {
      throw new FleetError(
        'cross_shard',
        `statements that are sent together concern several shards: ${shard.name} and ${one.shard.name}`,
        { hint: 'put a Sync between them, or send each as a query of its own' },
      )
    }
    shard = one.shard
  }
  return shard
}

/**
 * Within a transaction that began with a group of messages, a connection cannot forget what others have counted on it.
 * @throws FleetError `statement_refused`
 */
function refuseOthers({ held, isGroupOpen }: SessionState, statements: readonly StatementFacts[]): void {
  if (held?.recallsOthers === true && (held.hasCounted || isGroupOpen) && statements.some(recalls))
    throw forgotten()
}

/** Before a session asks what its connection remembers, or takes it for its own, and before a transaction that may ask. */
function forgetOthers({ isGroupOpen }: SessionState, held: Held, { work, traits }: Sending): void {
  if (!held.recallsOthers || held.hasCounted || isGroupOpen) return
  const mayAsk = ({ facts }: KnownStatement): boolean => facts.command.kind === 'begin' || recalls(facts)
  if (!traits.some(({ binds }) => binds) && !work.executed.some(({ known }) => mayAsk(known))) return
  held.recallsOthers = false
  forgetNumbers(held.session)
}

function note(state: SessionState, held: Held, { left, binds, writes, counts, remembers }: Traits): void {
  if (writes) held.hasWritten = true
  if (counts) held.hasCounted = true
  if (remembers) held.session.remembers = true
  if (left === 'more' || (left === 'state' && held.left === 'nothing')) held.left = left
  if (binds) state.bind()
}

interface Sending extends Attempt {
  readonly held: Held
  readonly traits: readonly Traits[]
}

interface SentHost {
  /** Null when another attempt is worth it. */
  readonly ran: (ran: Ran | null) => void
  readonly failed: (error: unknown) => void
}

/** @throws FleetError before it was sent */
function send(state: SessionState, runner: GroupRunner, sending: Sending, host: SentHost): void {
  const { held, stays } = sending
  forgetOthers(state, held, sending)
  for (const trait of sending.traits) note(state, held, trait)
  const before = { settings: state.settings, transaction: state.transaction }
  const parsed: WireStatement[] = []
  const ended = (answered: Answered): void => {
    let ran: Ran | null | Promise<Ran>
    try {
      ran = finish(state, sending, { answered, before, parsed })
    } catch (error) {
      host.failed(error)
      return
    }
    if (ran instanceof Promise) ran.then(host.ran, host.failed)
    else host.ran(ran)
  }
  try {
    const group = groupFor(state, sending, parsed)
    runner.begin(held, { group, stays }, ended)
    state.isGroupOpen = runner.isOpen
  } catch (error) {
    state.release()
    throw error
  }
}

/** What has bound a session may make its server forget statements. */
function groupFor(
  { isBound }: SessionState,
  { work, held, traits }: Sending,
  parsed: WireStatement[],
): Group {
  const { statements } = held.session
  const { traceparent } = work
  if (traceparent !== undefined) return work.group(statements, parsed, traceparent)
  const mayPrepare = !isBound && traits[0]?.preparable === true
  const prepared = mayPrepare ? work.groupPrepared?.(statements, parsed) : null
  return prepared ?? work.group(statements, parsed, null)
}

interface Done {
  readonly answered: Answered
  readonly before: Pick<SessionState, 'settings' | 'transaction'>
  readonly parsed: readonly WireStatement[]
}

/** Takes over what was done; null when another attempt is worth it. @throws FleetError, SessionLost */
function finish(
  state: SessionState,
  sending: Sending,
  { answered, before, parsed }: Done,
): Ran | null | Promise<Ran> {
  const { work, held } = sending
  const { answer, end } = answered
  if (end.kind === 'lost') return afterLoss(state, sending, { answer, error: end.error, sent: end.sent })
  state.isGroupOpen = end.kind === 'open'
  if (mayReparse(sending, answered, parsed)) {
    state.release()
    return null
  }
  if (isFenced(sending, { answered, before: before.transaction }) && answer.takeBack())
    return afterFence(state, sending)
  takeOver(state, work, { answered, before })
  const { headTookMs } = held.session.connection
  const learned = (): Ran => learn(state, sending, { answer, serverMs: headTookMs })
  if (end.kind === 'open') {
    state.beginImplicit()
    return learn(state, sending, { answer, serverMs: null })
  }
  const settling = settle(state, held)
  return settling === null ? learned() : settling.then(learned)
}

function learn(
  state: SessionState,
  { work, held }: Sending,
  { answer, serverMs }: { readonly answer: Answered['answer']; readonly serverMs: number | null },
): Ran {
  const [only] = work.executed
  if (serverMs !== null && answer.sqlstate === '' && only !== undefined && work.executed.length === 1) {
    learnCost(only.known.cost, { bytes: answer.rowBytes, serverMs })
  }
  if (work.executed.some(({ known }) => known.facts.kind === 'ddl')) {
    held.access.schemaChanged()
    state.environment.wireStatements.generation += 1
  }
  const { sqlstate, rows, answered } = answer
  return { sqlstate, rows, shard: held.shard, answered }
}

/**
 * What the server may not have learned is forgotten. True when it had lost a statement, or the statement does not fit
 * its tables any more, and nothing else has happened: with a fresh Parse it may work. One that its client has described
 * before is told as changed, as Postgres does.
 */
function mayReparse(
  { work, held, isLast }: Sending,
  { answer, end }: Answered,
  parsed: readonly WireStatement[],
): boolean {
  const { statements } = held.session
  if (answer.sqlstate !== '') for (const statement of parsed) statements.forget(statement)
  if (!answer.isStale) return false
  for (const { wire } of work.uses) if (wire !== null) statements.forget(wire)
  const mayHelp = work.isFresh() || answer.sqlstate === lostStatement
  const isUntouched = end.kind === 'ready' && end.status === 'idle' && answer.completed === 0
  return mayHelp && isUntouched && !isLast && answer.takeBack()
}

/** What the completed commands have done to the session. */
function takeOver(
  state: SessionState,
  work: Work,
  {
    answered,
    before,
  }: {
    answered: Answered
    before: Done['before']
  },
): void {
  const { answer } = answered
  for (const [index, { known, text }] of work.executed.slice(0, answer.completed).entries()) {
    const { command } = known.facts
    if (command.kind === 'rows') continue
    const { transaction } = state
    if (transaction?.pin === 'soft' && isRepeatable(command) && command.kind !== 'show')
      transaction.prologue.push(text)
    state.carried({ command, text, tag: answer.tags[index] ?? '' })
  }
  if (answer.sqlstate !== '') state.failImplicit()
  // An error takes back the settings of an implicit transaction; where one had been ended before, nobody knows which.
  if (answer.sqlstate === '' || state.settings === before.settings || state.transaction !== null) return
  if (before.transaction !== null) state.bind()
  state.settings = before.settings
  if (state.held !== null && before.transaction === null) state.held.session.settings = before.settings
}

/**
 * A function, DO or a procedure has changed how texts are read: the shard keys of the next statements would become
 * others; or the name of the connection, by which a fence ends it. The connection is not given to anybody any more.
 * @throws SessionLost
 */
function refuseUnreadable(held: Held): void {
  try {
    refuseSettings(held.session.connection.parameters)
  } catch (error) {
    held.left = 'more'
    const refused = toFleetError(error)
    throw new SessionLost(refused.message, refused)
  }
}

/**
 * After ReadyForQuery, to a Sync or to a Query: the transaction is what the server says it is, and the connection goes where it belongs. Null
 * when that is done.
 * @throws SessionLost
 */
function settle(state: SessionState, held: Held): Promise<void> | null {
  const { session } = held
  refuseUnreadable(held)
  const status = session.connection.transactionStatus
  if (status === 'idle' && state.transaction !== null) {
    if (state.transaction.pin !== 'none') {
      state.transaction = null
      state.endLocal()
    }
    state.clearPortals()
  }
  if (status !== 'idle' && state.transaction === null) {
    state.transaction = new OpenTransaction('begin', state.kept)
    state.transaction.pin = 'hard'
  }
  const leave = (): void => {
    if (status !== 'idle') return
    state.clearPortals()
    state.release()
  }
  if (status === 'idle' && isUntold(state, held))
    return tellWritten(state, held).then(() => settle(state, held) ?? undefined)
  const isDifferent = session.settings.key !== state.settings.key
  if (status === 'failed' || !isDifferent || state.held === null) {
    leave()
    return null
  }
  return exec(session.connection, state.settings.changesFrom(session.settings)).then(() => {
    session.settings = state.settings
    leave()
  })
}
