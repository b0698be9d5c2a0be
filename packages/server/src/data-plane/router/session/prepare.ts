// What must be known of statements before they can be placed: what the grammar says, and the types of parameters that
// decide a shard. Both are kept, so that mostly there is nothing to do.
import { FleetError, isFleetError } from '@fleetshard/core'
import { writeDescribe, writeErrorResponse, writeParse } from '@fleetshard/routing/pgwire'
import { lexQuery, type KnownStatement } from '@fleetshard/routing/plan'
import { step } from './answer.ts'
import { ask } from './ask.ts'
import { leaveShard } from './connect.ts'
import { ownCommandOf } from './effects.ts'
import { SaidByServer } from './errors.ts'
import { built, type ClientStatement, type GroupItem } from './group-items.ts'
import { wantsTypes } from './plan-use.ts'
import type { GroupRunner } from './group-runner.ts'
import { teachNames, untaught } from './teach-names.ts'
import type { SessionState } from './session-state.ts'
import type { WireStatement } from './wire-statements.ts'

/** A group of which only the first items can be run. */
export interface Unready {
  /** How many. */
  readonly ready: number
  /** What is wrong with the one behind them; null when that can only be found out once they have been run. */
  readonly error: unknown
}

/** Null when everything is known, else the work of finding out, which ends with what cannot be run. It does not throw. */
export function prepare(
  state: SessionState,
  runner: GroupRunner,
  items: readonly GroupItem[],
): Promise<Unready | null> | null {
  return items.every((item) => isKnown(state, item)) ? null : findOut(state, runner, items)
}

function isReady(state: SessionState, use: ClientStatement, isBound: boolean): boolean {
  const { statement } = use
  statement.known ??= state.environment.statements.get(statement.text)
  if (statement.known === null) return false
  if (!isBound) return true
  if (isDoubtful(state, use)) return false
  if (!wantsTypes(statement.known, state.map)) return true
  return isDescribed(state, statement) || ownCommandOf(statement.known.facts.command) !== null
}

/** The tables have changed since the client was told of the rows. */
const isDoubtful = (
  { environment }: SessionState,
  { shape, generation, isOnServer }: ClientStatement,
): boolean => shape !== null && !isOnServer && generation < environment.wireStatements.generation

const isDescribed = (state: SessionState, { described }: WireStatement): boolean =>
  described !== null && described.under === state.map.tables && described.settings === state.settings.key

async function findOut(
  state: SessionState,
  runner: GroupRunner,
  items: readonly GroupItem[],
): Promise<Unready | null> {
  for (const [ready, item] of items.entries()) {
    // What is asked, and fails, within a transaction fails it: what stands in front of it goes first.
    if (ready > 0 && !isKnown(state, item) && isWithin(state)) return { ready, error: null }
    try {
      await know(state, runner, item)
      // A server learns names for good, and an error in front would take them from the client.
      if (ready > 0 && asksNames(state, item)) return { ready, error: null }
      await findOne(state, runner, item)
    } catch (error) {
      return await unreadyAfter(state, ready, error)
    }
  }
  return null
}

/** How much can be run once a question has failed. */
async function unreadyAfter(state: SessionState, ready: number, error: unknown): Promise<Unready> {
  // With a transaction that has gone goes what stands in front of it.
  if (isLost(state)) return { ready: 0, error }
  const { held } = state
  if (ready === 0 || held === null || !isWithin(state)) return { ready, error }
  // The question has begun the transaction, and failed it: what stands in front of it finds one that has not failed.
  try {
    await leaveShard(state, held)
    return { ready, error }
  } catch (failure) {
    return { ready: 0, error: failure }
  }
}

const isLost = ({ transaction }: SessionState): boolean =>
  transaction !== null && transaction.failure !== null

/** True when a server has a transaction under way. */
const isWithin = ({ isGroupOpen, held }: SessionState): boolean =>
  isGroupOpen || (held !== null && held.session.connection.transactionStatus !== 'idle')

/** A statement of which a server may have to learn names first; null for none. */
function namingOf(item: GroupItem): KnownStatement | null {
  switch (item.kind) {
    case 'execute':
    case 'parse':
    case 'parse-taken':
    case 'describe-statement':
    case 'bind':
      // Servers learn what EXECUTE gives when they parse it, and what its portal does when they bind it.
      return item.use?.statement.known ?? null
    default:
      return null
  }
}

const asksNames = (state: SessionState, item: GroupItem): boolean =>
  untaught(state, namingOf(item)).length > 0

/** True when nobody has to be asked about the item. */
function isKnown(state: SessionState, item: GroupItem): boolean {
  switch (item.kind) {
    case 'execute':
      return !asksNames(state, item)
    case 'parse':
    case 'parse-taken':
    case 'describe-statement':
      return isReady(state, item.use, false) && !asksNames(state, item)
    case 'bind':
      return isReady(state, item.use, true) && !asksNames(state, item)
    default:
      return true
  }
}

/** What the grammar says of its statement. A portal's was known when it was bound. */
async function know(state: SessionState, runner: GroupRunner, item: GroupItem): Promise<void> {
  switch (item.kind) {
    case 'parse':
    case 'parse-taken':
    case 'describe-statement':
    case 'bind': {
      const { statement } = item.use
      statement.known ??=
        state.environment.statements.get(statement.text) ?? (await load(state, runner, statement))
      return
    }
    default:
  }
}

/** A server is asked about it, or taught. */
async function findOne(state: SessionState, runner: GroupRunner, item: GroupItem): Promise<void> {
  await teachNames(state, runner, namingOf(item))
  if (item.kind === 'bind' && !isReady(state, item.use, true)) await learn(state, runner, item.use)
}

async function load(
  state: SessionState,
  runner: GroupRunner,
  { text }: WireStatement,
): Promise<KnownStatement> {
  try {
    return await state.cancellation.until(state.environment.statements.load(text))
  } catch (error) {
    if (isFleetError(error, 'invalid_request') && lexQuery(text).length === 0)
      return emptyStatement(state, text)
    if (isTooDeep(error) && state.map.owners.length <= 1) return unseenStatement(state, text)
    if (isFleetError(error, 'sql_syntax') || isFleetError(error, 'several_statements')) {
      await askToParse(state, runner, text)
    }
    throw error
  }
}

/** A text without a statement does no more than this one; any server answers it. */
const harmless = 'select 1'

async function emptyStatement(state: SessionState, text: string): Promise<KnownStatement> {
  const known = await state.environment.statements.load(harmless)
  return { ...known, text, cost: { meanMs: null, large: false, alone: 0 } }
}

/** True for a statement that Postgres may take though it cannot be analysed. */
export const isTooDeep = (error: unknown): boolean =>
  isFleetError(error, 'invalid_request') && error.facts['too_deep'] === true

/** Where there is one shard, a statement need not be understood: it may do whatever code of the user's may do. */
export async function unseenStatement(state: SessionState, text: string): Promise<KnownStatement> {
  const { facts, ...known } = await state.environment.statements.load(harmless)
  return {
    ...known,
    text,
    facts: { ...facts, kind: 'opaque', command: { kind: 'do' } },
    cost: { meanMs: null, large: true, alone: 0 },
  }
}

/**
 * Lets a server say what is wrong with a text, in its own words and for its own version of the grammar. Returns when
 * it finds nothing wrong: to parse runs nothing.
 * @throws SaidByServer
 */
export async function askToParse(state: SessionState, runner: GroupRunner, text: string): Promise<void> {
  await ask(state, runner, (out, end) => {
    writeParse(out, '', text)
    end(out)
    return [step.hide]
  })
}

/**
 * Asks a server for the types of a statement's parameters, and whether its rows are as the client was told.
 * @throws SaidByServer also for rows of another shape, as the connection would say it that the client believes it has
 */
export async function learn(state: SessionState, runner: GroupRunner, use: ClientStatement): Promise<void> {
  const { map, settings } = state
  const { statement } = use
  const { generation } = state.environment.wireStatements
  const { learned } = await ask(state, runner, (out, end) => {
    writeParse(out, '', statement.text, statement.paramTypes)
    writeDescribe(out, 'S', '')
    end(out)
    return [step.hide, step.learn]
  })
  if (learned === null) throw new FleetError('internal', 'a server did not describe a statement')
  statement.described = { under: map.tables, settings: settings.key, types: learned.types }
  if (use.shape === null) return
  if (use.shape !== learned.shape) throw changedShape()
  use.generation = generation
}

/** Drivers know this error by its routine, and prepare anew. */
function changedShape(): SaidByServer {
  const code = '0A000'
  const bytes = built((out) => {
    writeErrorResponse(out, {
      severity: 'ERROR',
      code,
      message: 'cached plan must not change result type',
      routine: 'RevalidateCachedQuery',
    })
  })
  return new SaidByServer(bytes, code)
}
