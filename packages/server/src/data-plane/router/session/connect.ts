// A connection for what a session is about to do: the one it holds, or one of the shard that the statement belongs to,
// with the transaction begun on it.
import { FleetError, type ShardMap, type ShardRecord } from '@fleetshard/core'
import { forgetNumbers, type ReadTerms } from '@fleetshard/routing/execute'
import { exec } from '@fleetshard/routing/wire'
import { borrow, type Held } from './server-side.ts'
import type { SessionState } from './session-state.ts'

/** Work is tried at most this often: a failover alone may take three, and the map changes again after it. */
export const attemptsMax = 6

/** What the connection is for. */
export interface Purpose {
  /** Null for any. */
  readonly shard: ShardRecord | null
  readonly map: ShardMap
  /** What is done may be done again on another shard, as long as the transaction is bound to none. */
  readonly isRepeatable: boolean
  /** What is asked of a replica; null for the primary. */
  readonly reads: ReadTerms | null
}

/**
 * At once where nothing has to be waited for.
 * @throws FleetError `cross_shard` when the session is bound to another shard; those of the queue; what a server says
 * of a setting; `stale_map`
 */
export function connectFor(state: SessionState, purpose: Purpose): Held | Promise<Held> {
  const { shard } = purpose
  const { held } = state
  if (held === null) return takeOne(state, purpose)
  if (shard === null || shard.id === held.shard.id) return harden(state, held, purpose)
  if (!mayMove(state)) throw elsewhere(state, held, shard)
  return leaveShard(state, held).then(() => takeOne(state, purpose))
}

function takeOne(state: SessionState, purpose: Purpose): Held | Promise<Held> {
  const { environment, start, settings, cancellation } = state
  const shard = shardFor(state, purpose.shard, purpose.map)
  const held = borrow(environment, { ...purpose, shard, settings, login: start.login, cancellation })
  return held instanceof Promise
    ? held.then((given) => begin(state, given, purpose))
    : begin(state, held, purpose)
}

function begin(state: SessionState, held: Held, purpose: Purpose): Held | Promise<Held> {
  state.held = held
  held.session.onNotification = state.onNotification
  const begun = beginOn(state, held)
  if (begun === null) return harden(state, held, purpose)
  return begun.then(
    () => harden(state, held, purpose),
    (error: unknown) => {
      state.release()
      throw error
    },
  )
}

/** True as long as nothing ties the session to the connection it holds. */
export function mayMove({ isBound, isGroupOpen, transaction }: SessionState): boolean {
  return !isBound && !isGroupOpen && (transaction === null || transaction.pin !== 'hard')
}

function harden(state: SessionState, held: Held, { isRepeatable }: Purpose): Held {
  const { transaction } = state
  if (transaction !== null && transaction.pin !== 'hard') transaction.pin = isRepeatable ? 'soft' : 'hard'
  return held
}

/** Gives up the connection, and with it a transaction that has only done what can be done again elsewhere. */
export async function leaveShard(state: SessionState, held: Held): Promise<void> {
  if (state.transaction !== null) {
    const { connection } = held.session
    if (state.transaction.isClients) {
      await exec(connection, 'rollback').catch((error: unknown) => {
        // A connection that is lost has taken the transaction with it.
        if (connection.state === 'open') throw error
      })
    }
    held.session.settings = state.transaction.before.settings
    state.transaction.pin = 'none'
  }
  state.release()
}

/** BEGIN, and what the transaction has done so far; null when there is nothing to wait for. */
function beginOn({ transaction }: SessionState, held: Held): Promise<void> | null {
  if (transaction === null || transaction.pin !== 'none') return null
  const { begin: first, prologue, isClients } = transaction
  // The server begins that one itself.
  if (!isClients) return null
  const { session } = held
  // Within the transaction it would be a query in front of those that must come first.
  if (session.remembers) forgetNumbers(session)
  held.recallsOthers = false
  const begun = exec(session.connection, [first, ...prologue].join(';\n'))
  if (prologue.length > 0) return begun
  // BEGIN alone cannot fail on a primary: what follows is sent right behind it.
  begun.catch(() => undefined)
  return null
}

/** The shard of what is to be done; what belongs nowhere stays where the session is, or is spread over the shards. */
export function shardFor(
  { held, start }: SessionState,
  shard: ShardRecord | null,
  { owners }: ShardMap,
): ShardRecord {
  const owner = shard ?? held?.shard ?? owners[start.ordinal % owners.length]
  if (owner !== undefined) return owner
  throw new FleetError('no_shard', 'the keyspace has no active shard', {
    hint: 'create one: fleetshard shard create',
  })
}

function elsewhere({ isBound }: SessionState, held: Held, shard: ShardRecord): FleetError {
  const why = isBound
    ? `the session has state on shard ${held.shard.name} that cannot be carried to shard ${shard.name}`
    : `the transaction is on shard ${held.shard.name}, the statement belongs to shard ${shard.name}`
  return new FleetError('cross_shard', why, {
    hint: isBound
      ? 'DISCARD ALL gives the state up (temporary tables, advisory locks, LISTEN, what functions have set); or use another connection'
      : 'end the transaction first: a transaction is on one shard',
    facts: { shard_id: held.shard.id },
  })
}
