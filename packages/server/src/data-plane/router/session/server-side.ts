// The server connection that a session holds for a while: for one group of messages, for a transaction, or, where it
// keeps state that belongs to the session, until the session ends. Borrowed clean, given back clean.
import { FleetError, type ShardMap, type ShardRecord } from '@fleetshard/core'
import {
  cleanSession,
  freshnessOf,
  refuseOldMap,
  settled,
  type Cancellation,
  type NodeAccess,
  type ReadTerms,
  type Session,
  type SessionSettings,
  type ShardAccess,
  type ShardLogin,
} from '@fleetshard/routing/execute'
import { frontendCode, writeQuery, type WireWriter, type writeSync } from '@fleetshard/routing/pgwire'
import { step, type Answer, type AnswerEnd, type AnswerStep, type ToldError } from './answer.ts'
import type { SessionEnvironment } from './environment.ts'

/** What a connection may hold when it is given back. */
export type Leftover = 'nothing' | 'state' | 'more'

/** A connection in the hands of a session. */
export interface Held {
  readonly session: Session
  readonly access: ShardAccess
  readonly node: NodeAccess
  readonly shard: ShardRecord
  left: Leftover
  /** Something on it may have written since the session's token was told last. */
  hasWritten: boolean
  /** Something on it may have asked a sequence since the session has it. */
  hasCounted: boolean
  /** It may remember numbers that others were given by sequences. */
  recallsOthers: boolean
}

/** Where and how a connection is wanted. */
export interface Wanted {
  readonly shard: ShardRecord
  readonly map: ShardMap
  readonly settings: SessionSettings
  readonly login: ShardLogin | null
  readonly cancellation: Cancellation
  readonly reads: ReadTerms | null
}

/** One group to be sent. */
export interface Group {
  /** Writes it. `end` stands behind messages of the extended protocol; a Query has its end in itself. */
  readonly encode: (out: WireWriter, end: GroupEnd) => readonly AnswerStep[]
  readonly wantsTags: boolean
  readonly isHidden?: boolean
  readonly told?: ToldError
}

/** Writes Sync; Flush for a group that stays open. */
export type GroupEnd = typeof writeSync

/** An answer and how it ended. */
export interface Answered {
  readonly answer: Answer
  readonly end: AnswerEnd
}

/** How long a transaction that nobody wants may take to roll back. */
const rollbackMs = 5_000

/** At once where a connection is free. @throws FleetError of the queue, of the server, `stale_map` */
export function borrow(environment: SessionEnvironment, wanted: Wanted): Held | Promise<Held> {
  const access = environment.access(wanted.shard, wanted.login)
  const node = nodeFor(access, wanted)
  return node instanceof Promise
    ? node.then((found) => borrowFrom(environment, wanted, { access, node: found }))
    : borrowFrom(environment, wanted, { access, node })
}

/** A replica that is fresh enough, else the primary. */
function nodeFor(
  access: ShardAccess,
  { reads, shard, cancellation }: Wanted,
): NodeAccess | Promise<NodeAccess> {
  const freshness = reads === null ? 'none' : freshnessOf(reads, shard)
  if (freshness === 'none') return access.primary()
  if (freshness === 'any') return access.replica(new Set()) ?? access.primary()
  const choosing = access.progress.choose(access, freshness, { without: new Set(), cancellation })
  return choosing.then((replica) => replica ?? access.primary())
}

function borrowFrom(
  environment: SessionEnvironment,
  wanted: Wanted,
  { access, node }: Pick<Held, 'access' | 'node'>,
): Held | Promise<Held> {
  const { settings, cancellation } = wanted
  const session = node.pool.borrow(cancellation, settings)
  if (!(session instanceof Promise)) return take(environment, wanted, { access, node, session })
  return session.then((given) => take(environment, wanted, { access, node, session: given }))
}

function take(
  environment: SessionEnvironment,
  { shard, map }: Wanted,
  { access, node, session }: Pick<Held, 'access' | 'node' | 'session'>,
): Held {
  try {
    refuseOldMap(session, map)
  } catch (error) {
    node.pool.giveBack(session)
    throw error
  }
  environment.metrics.routed(node.node.role === 'primary' ? 'primary' : 'replica', 'alone')
  return {
    session,
    access,
    node,
    shard,
    left: 'nothing',
    hasWritten: false,
    hasCounted: false,
    recallsOthers: session.remembers,
  }
}

/** Gives a connection back; what was left in it is removed first, in the background. */
export function giveBack(environment: SessionEnvironment, held: Held): void {
  const { session, node } = held
  session.onNotification = null
  const isClean =
    held.left === 'nothing' && session.canceling === null && session.connection.transactionStatus === 'idle'
  if (session.connection.state !== 'open' || (isClean && session.connection.inFlight === 0)) {
    node.pool.giveBack(session)
    return
  }
  void clean(environment, held).finally(() => {
    node.pool.giveBack(session)
  })
}

async function clean(environment: SessionEnvironment, { session, left }: Held): Promise<void> {
  const { connection } = session
  const late = new FleetError(
    'shard_unavailable',
    'a transaction that its client has left did not end in time',
  )
  const stop = environment.clock.after(rollbackMs, () => {
    connection.destroy(late)
  })
  try {
    await settled(session)
    if (left === 'more')
      connection.destroy(new FleetError('canceled', 'the session cannot be cleaned for others'))
    if (connection.state !== 'open') return
    if (connection.inFlight > 0 || connection.transactionStatus !== 'idle') {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          resolve()
        }
        connection.submitWith(
          (out) => {
            writeQuery(out, 'rollback')
          },
          { message: () => undefined, done, failed: done },
        )
      })
    }
    if (connection.state === 'open') await cleanSession(environment, session)
  } catch (error) {
    connection.destroy(new FleetError('internal', 'a connection cannot be cleaned', { cause: error }))
  } finally {
    stop()
  }
}

/** A portal that nobody has: to execute it is an error, by which a transaction on a server fails as it should. */
const noPortal = 'fleetshard: refused'

/** Makes the transaction on the server fail, and says `error` (an ErrorResponse) in place of what the server says. */
export function poison(error: Buffer): Group {
  return {
    encode: (out, end) => {
      const offset = out.begin(frontendCode.execute)
      out.cstring(noPortal)
      out.int32(0)
      out.end(offset)
      end(out)
      return [step.poison, error]
    },
    wantsTags: false,
  }
}
