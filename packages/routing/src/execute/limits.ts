// The bounds of execution, each with a name.

/** Bounds of a router's work; the composition root takes them from the configuration. */
export interface ExecuteLimits {
  /** Connections to one node, lanes included, over all routers; divided by the number of live routers. */
  readonly connectionsPerNodeMax: number
  /** Lanes to one node. */
  readonly lanesPerNodeMax: number
  /** Statements in flight in one lane. */
  readonly laneInFlightMax: number
  /** Statements that wait for a connection to one node; more are refused. */
  readonly queueMax: number
  /** How long one waits for a connection. */
  readonly queueWaitMs: number
  /** Time of a statement whose request names none. */
  readonly statementTimeoutMs: number
  readonly connectTimeoutMs: number
  /** Connections being opened to one node at a time. */
  readonly openingMax: number
  /** Idle connections are closed after this time, all but lanes. */
  readonly idleMs: number
}

export const executeLimitsDefault: ExecuteLimits = {
  connectionsPerNodeMax: 100,
  lanesPerNodeMax: 2,
  laneInFlightMax: 64,
  queueMax: 1_000,
  queueWaitMs: 5_000,
  statementTimeoutMs: 30_000,
  connectTimeoutMs: 5_000,
  openingMax: 8,
  idleMs: 60_000,
}

/** So many connections are opened as soon as somebody waits. */
export const openedAtOnceMax = 2
/** For more the first in the line waits as long as it takes to open one, but no longer than this, milliseconds. */
export const openPatienceMsMax = 50
/** A statement may share a lane when it takes less than this on average, milliseconds. */
export const laneMeanMsMax = 2
/**
 * One that takes longer, but not longer than this, is tried in a lane every so many runs: on connections of their own
 * many cheap ones hold each other up, and none looks cheap any more.
 */
export const laneTrialMsMax = 50
export const laneTrialEvery = 64
/** A lane whose head runs longer than this takes no more statements. */
export const laneHeadMsMax = 10
/**
 * When the heads of all lanes run longer than this nobody waits for a lane any more. On a busy machine any cheap
 * statement may take some ten milliseconds, and statements that left the lanes for that would only make it busier.
 */
export const laneStuckMsMax = 100
/** A result beyond this shows that the statement should not share a lane, bytes. */
export const laneResultBytesMax = 256 * 1024
/** Longer texts are not kept prepared, characters. */
export const preparedTextMax = 64 * 1024
/** How often Postgres is asked to cancel a statement that goes on. */
export const cancelAgainMs = 250
/** How long a cancelled statement may take to end before its connection is destroyed. */
export const cancelGraceMs = 2_000
/** Sets of lanes to one node, one for each kind of session settings; the sessions of others take exclusive connections. */
export const laneSetsMax = 8
/** Statements that wait while their shard is held for a cutover. */
export const heldMax = 10_000
/** How long one of them waits at most; a cutover that takes longer is released. */
export const heldMsMax = 10_000
