// Whether a node can be reached, and how long it is left alone after it could not.
import type { Clock, FleetError } from '@fleetshard/core'
import type { RoutingLog } from '../log.ts'

/** What is known of a node. */
export interface ReachParts {
  readonly log: RoutingLog
  readonly clock: Clock
  readonly name: string
  /**
   * How long callers wait for a node that is gone: for its restart, or for another to take its place. 0: they are told
   * at once, since there are others.
   */
  readonly patienceMs: () => number
}

/** First pause after a failed connect; doubles up to the maximum. While callers are kept waiting it stays short. */
const backoffMsMin = 100
const backoffMsMax = 2_000
const backoffWaitedForMsMax = 400

/** Why and since when the node can't be reached, and when it is tried next. */
interface Down {
  readonly error: FleetError
  readonly sinceMs: number
  readonly untilMs: number
  readonly pauseMs: number
}

/** The reach of one node. */
export class Reach {
  readonly #parts: ReachParts
  #down: Down | null = null

  constructor(parts: ReachParts) {
    this.#parts = parts
  }

  /** False while the last attempt to connect failed and the pause after it is not over. */
  get isUp(): boolean {
    return this.#down === null || this.#down.untilMs <= this.#parts.clock.monotonic()
  }

  /** What is left of the pause; 0 when it is over. */
  get pauseMs(): number {
    return this.#down === null ? 0 : Math.max(0, this.#down.untilMs - this.#parts.clock.monotonic())
  }

  /** Why nobody should wait for a node to which there is no connection; null when it may come back in time. */
  get hopeless(): FleetError | null {
    const down = this.#down
    if (down === null) return null
    const mayComeBack = down.error.code === 'shard_unavailable' && this.#isWaitedFor(down.sinceMs)
    return mayComeBack ? null : down.error
  }

  /** A connection was made. */
  reached(): void {
    this.#down = null
  }

  /** One could not be made. Connects that were begun together and fail together are one failure. */
  failed(error: FleetError): void {
    const { clock, log, name } = this.#parts
    const now = clock.monotonic()
    if (this.#down !== null && !this.isUp) return
    const sinceMs = this.#down?.sinceMs ?? now
    const longestMs = this.#isWaitedFor(sinceMs) ? backoffWaitedForMsMax : backoffMsMax
    const pauseMs = Math.min((this.#down?.pauseMs ?? backoffMsMin / 2) * 2, longestMs)
    this.#down = { error, sinceMs, untilMs: now + pauseMs, pauseMs }
    log.warn({ node: name, code: error.code, err: error }, 'cannot connect to a node')
  }

  #isWaitedFor(sinceMs: number): boolean {
    return this.#parts.clock.monotonic() - sinceMs < this.#parts.patienceMs()
  }
}
