// A connection to a shard's node as the pools hold it: checked against the shard's state when it was made, with the
// statements prepared on it.
import type { Epoch } from '@fleetshard/core'
import type {
  PreparedStatements,
  ServerConnection,
  ServerNotification,
  ServerStatements,
} from '../wire/mod.ts'
import type { Chain, Linked } from './chain.ts'
import type { SessionSettings } from './session-settings.ts'

/** A read under way in a lane. */
export interface LaneSharer extends Linked<LaneSharer> {
  /** The lane belongs to somebody else from now on: the read is to be sent again elsewhere. */
  moveAway(): void
}

/** One server connection with what belongs to it. */
export interface Session extends Linked<Session> {
  readonly connection: ServerConnection
  /**
   * The shard's epoch_min when the connection was checked. A statement placed by an older map must not run here: a
   * fence ended the connections of its time, and this one came after. (A fence that comes later ends this one too.)
   */
  readonly epochMin: Epoch
  readonly prepared: PreparedStatements
  /** Statements of clients of the wire protocol. */
  readonly statements: ServerStatements
  /** What the connection is set to. Whoever changes settings on it says so here. */
  settings: SessionSettings
  /** Who has borrowed it and wants to hear of notifications. */
  onNotification: ((notification: ServerNotification) => void) | null
  /** `clock.monotonic()` when it was last put back. */
  idleSinceMs: number
  /** `clock.monotonic()` when the last statement on it ended. */
  lastEndMs: number
  /** Statements in a lane whose clients have gone; the lane takes no more until they have ended. */
  abandoned: number
  /** A sequence may have counted on it since it forgot: currval() and lastval() tell the number to whoever asks. */
  remembers: boolean
  /** Requests to cancel that are under way; false when one of them has failed. */
  canceling: Promise<boolean> | null
  /** Of a lane: the reads under way in it. */
  readonly sharers: Chain<LaneSharer>
  /** `headSinceMs` of the statement in a lane that was cancelled last. */
  canceledHeadMs: number | null
}

/** A lane: a session shared by many clients, or an exclusive one: lent to one at a time. */
export type SessionKind = 'lane' | 'exclusive'

/** True for a lane whose head runs since before that time, or that takes no more because of somebody who has gone. */
export function isHeldUp(lane: Session, sinceMs: number): boolean {
  const head = lane.connection.headSinceMs
  return lane.abandoned > 0 || (head !== null && head < sinceMs)
}
