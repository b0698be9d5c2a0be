// The server connection that a session holds for a while: for one group of messages, for a transaction, or, where it
// keeps state that belongs to the session, until the session ends. Borrowed clean, given back clean.
import { FleetError, toFleetError, type ShardMap, type ShardRecord } from '@fleetshard/core'
import {
  cleanSession,
  refuseOldMap,
  requestCancel,
  settled,
  type Cancellation,
  type NodeAccess,
  type Session,
  type SessionSettings,
  type ShardAccess,
  type ShardLogin,
} from '@fleetshard/routing/execute'
import { frontendCode, writeQuery, writeSync, type WireWriter } from '@fleetshard/routing/pgwire'
import type { ClientOutput } from '../listeners/pgwire/output.ts'
import { Answer, step, type AnswerEnd, type AnswerHost, type AnswerStep } from './answer.ts'
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
}

/** Where and how a connection is wanted. */
export interface Wanted {
  readonly shard: ShardRecord
  readonly map: ShardMap
  readonly settings: SessionSettings
  readonly login: ShardLogin | null
  readonly cancellation: Cancellation
  readonly onReplica: boolean
}

/** One group to be sent. */
export interface Group {
  readonly encode: (out: WireWriter) => readonly AnswerStep[]
  readonly wantsTags: boolean
  readonly isHidden?: boolean
  /** The client's name for a statement that the server knows by another one; null for none of the group's. */
  readonly clientNameOf?: (serverName: string) => string | null
}

/** An answer and how it ended. */
export interface Answered {
  readonly answer: Answer
  readonly end: AnswerEnd
}

/** How long a transaction that nobody wants may take to roll back. */
const rollbackMs = 5_000

/** @throws FleetError of the queue, of the server, `stale_map` */
export async function borrow(environment: SessionEnvironment, wanted: Wanted): Promise<Held> {
  const { shard, map, settings, login, cancellation, onReplica } = wanted
  const access = environment.access(shard, login)
  const node = (onReplica ? access.replica(new Set()) : null) ?? access.primary()
  const session = await node.pool.borrow(cancellation, settings)
  try {
    refuseOldMap(session, map)
  } catch (error) {
    node.pool.giveBack(session)
    throw error
  }
  environment.metrics.routed(node.node.role === 'primary' ? 'primary' : 'replica', 'alone')
  return { session, access, node, shard, left: 'nothing' }
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

/** Sends one group and waits for its answer, which goes to the client as it comes. */
export class GroupRunner implements AnswerHost {
  readonly #output: ClientOutput
  readonly #onCopyIn: (held: Held) => void
  #held: Held | null = null
  #answer: Answer | null = null
  #ended: ((answered: Answered) => void) | null = null

  constructor(output: ClientOutput, onCopyIn: (held: Held) => void) {
    this.#output = output
    this.#onCopyIn = onCopyIn
  }

  /** What runs now; null between groups. */
  get running(): Held | null {
    return this.#held
  }

  /** True when what runs has failed: the server passes over all that comes up to a Sync. */
  get hasFailed(): boolean {
    return this.#answer !== null && this.#answer.sqlstate !== ''
  }

  /** @throws FleetError `overloaded`: nothing was sent */
  run(held: Held, group: Group): Promise<Answered> {
    const answer = new Answer({
      output: this.#output,
      host: this,
      wantsTags: group.wantsTags,
      isHidden: group.isHidden === true,
    })
    return new Promise((resolve, reject) => {
      try {
        held.session.connection.submitWith((out) => {
          answer.expect(group.encode(out), group.clientNameOf)
        }, answer)
        this.#held = held
        this.#answer = answer
        this.#ended = resolve
      } catch (error) {
        reject(toFleetError(error))
      }
    })
  }

  /** Asks the server to give up what runs. */
  cancel(): void {
    if (this.#held !== null) requestCancel(this.#held.session)
  }

  /** The client has gone: nobody waits for what comes, and the server must not wait for its reader. */
  abandon(): void {
    if (this.#held === null) return
    this.#held.session.connection.resume()
    this.cancel()
  }

  lagging(): void {
    const connection = this.#held?.session.connection
    if (connection === undefined || connection.paused) return
    connection.pause()
    this.#output.whenTaken(() => {
      connection.resume()
    })
  }

  copyIn(): void {
    if (this.#held !== null) this.#onCopyIn(this.#held)
  }

  ended(answer: Answer, end: AnswerEnd): void {
    this.#held = null
    this.#answer = null
    const resolve = this.#ended
    this.#ended = null
    resolve?.({ answer, end })
  }
}

/** A portal that nobody has: to execute it is an error, by which a transaction on a server fails as it should. */
const noPortal = 'fleetshard: refused'

/** Makes the transaction on the server fail, and says `error` (an ErrorResponse) in place of what the server says. */
export function poison(error: Buffer): Group {
  return {
    encode: (out) => {
      const offset = out.begin(frontendCode.execute)
      out.cstring(noPortal)
      out.int32(0)
      out.end(offset)
      writeSync(out)
      return [step.poison, error]
    },
    wantsTags: false,
  }
}

/** Statements of the router's own, in the simple protocol; the client sees nothing of the answer. */
export function hiddenQuery(text: string): Group {
  return {
    encode: (out) => {
      writeQuery(out, text)
      return []
    },
    wantsTags: true,
    isHidden: true,
  }
}
