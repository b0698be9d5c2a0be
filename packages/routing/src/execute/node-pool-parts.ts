// What a pool stands on.
import type { Clock } from '@fleetshard/core'
import type { RoutingLog } from '../log.ts'
import type { DeadlineSweeper } from './cancellation.ts'
import type { ExecuteLimits } from './limits.ts'
import type { SessionSettings } from './session-settings.ts'
import type { Session, SessionKind } from './session.ts'

/** What a pool is made of. */
export interface NodePoolParts {
  readonly log: RoutingLog
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  readonly limits: ExecuteLimits
  /** For messages. */
  readonly name: string
  /** This router's part of the connections to the node. */
  readonly connectionsMax: () => number
  /**
   * How long callers wait for a node that is gone: for its restart, or for another to take its place. 0: they are told
   * at once, since there are others.
   */
  readonly patienceMs: () => number
  /** Told how long a caller has waited for a connection or a lane, for metrics; callers who need not are not told of. */
  readonly onWaited?: ((waitedMs: number) => void) | undefined
  /** Connects and checks. @throws FleetError `shard_unavailable`, `stale_map`, `wrong_database` */
  readonly open: (kind: SessionKind, settings: SessionSettings) => Promise<Session>
  /** Brings an idle session to these settings. @throws FleetError what the server says; the session stays usable */
  readonly adapt: (session: Session, settings: SessionSettings) => Promise<void>
}
