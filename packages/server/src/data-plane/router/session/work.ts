// What a session runs at once on one connection: a group of the extended protocol or a Query of the simple one, in the
// shape that both share.
import type { KnownStatement } from '@fleetshard/routing/plan'
import type { ServerStatements } from '@fleetshard/routing/wire'
import type { EnteredClient } from '../listeners/pgwire/listener.ts'
import type { SessionEnvironment } from './environment.ts'
import type { GroupItem } from './group-items.ts'
import type { Use } from './plan-use.ts'
import type { Group } from './server-side.ts'
import type { SessionStart } from './session-state.ts'
import type { WireStatement, WireStatements } from './wire-statements.ts'

/** A command that the server is to complete. */
export interface Executed {
  readonly known: KnownStatement
  readonly text: string
}

/** What is sent in a lane. */
export interface InLane {
  readonly group: Group
  /** Which stands in place of the Query; null for the Query itself. */
  readonly prepared: Prepared | null
}

/** A statement that was made of a Query. */
export interface Prepared {
  readonly statement: WireStatement
  /** It was answered; the SQLSTATE is empty where that was no error. */
  ended(sqlstate: string): void
}

/** One piece of work. */
export interface Work {
  /** What decides the shard. */
  readonly uses: readonly Use[]
  /** Commands in the order in which the server completes them. */
  readonly executed: readonly Executed[]
  /**
   * Writes it for a connection that knows these statements. `parsed` gets those that it makes the server parse. With a
   * traceparent its texts go out with that.
   */
  readonly group: (statements: ServerStatements, parsed: WireStatement[], traceparent: string | null) => Group
  /** The same as a statement that the connection prepares; null where it goes as it is. */
  readonly groupPrepared?: (statements: ServerStatements, parsed: WireStatement[]) => Group | null
  /** The same for a lane, where it is another: whatever comes of it but rows, it is sent again as `group` has it. */
  readonly groupInLane?: (statements: ServerStatements, texts: WireStatements) => InLane
  /** True for one command without a limit of rows, which may share a lane as far as its form goes. */
  readonly isPlain: boolean
  /** The client has prepared all it uses anew. */
  readonly isFresh: () => boolean
  /** For the statistics. */
  readonly fingerprint: string
  /** Of the span that waits for the server, once there is one; left out where nobody records it. */
  traceparent?: string
}

/** What a session is made of; `onEnd` is called at its end. */
export interface WireSessionParts {
  readonly environment: SessionEnvironment
  readonly client: EnteredClient
  readonly start: SessionStart
  readonly onEnd: () => void
}

/** What the client is doing, for SHOW CLIENTS. */
export type Activity = 'greeting' | 'idle' | 'idle in transaction' | 'active' | 'over'

/** Where the end of a piece leads. */
export type PieceEnd = 'sync' | 'flush'

/** Items of a group that are run at once. */
export interface GroupPart {
  readonly items: readonly GroupItem[]
  readonly end: PieceEnd
  /** Whether a portal is made or executed. */
  readonly runs: boolean
}

/** The rest of a piece, to be seen to once what is in front is answered. */
export interface Behind {
  /** Why it fails; null where that is to be found out. */
  readonly error: unknown
  readonly end: PieceEnd
  readonly items: readonly GroupItem[]
  /** What is wrong with the one behind them all. */
  readonly broken: unknown
}
