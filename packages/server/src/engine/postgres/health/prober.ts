// Looks at a server every second without a login every second: the session is kept, and beside each statement the
// server is knocked at.
import { FleetError, type Clock } from '@fleetshard/core'
import type { NodeProbe, NodeProber } from '../../health-engine.ts'
import type { CallBounds, NodeTarget } from '../../shard-engine.ts'
import { describeTarget } from '../errors.ts'
import { inSession, openSession, type Session } from '../session.ts'
import type { Knocks } from './knocks.ts'
import { probe } from './probe.ts'

/** A session is given up after that time, so that a login is tried now and then. */
const sessionMsMax = 60_000

/** A session, and what ends it at once. */
interface Kept {
  readonly session: Session
  readonly end: AbortController
}

/** A prober of one Postgres server. */
export class KeptProbe implements NodeProber {
  readonly #clock: Clock
  readonly #target: NodeTarget
  readonly #knocks: Knocks
  #kept: Kept | null = null
  #isClosed = false

  constructor(clock: Clock, target: NodeTarget, knocks: Knocks) {
    this.#clock = clock
    this.#target = target
    this.#knocks = knocks
  }

  async probe({ signal, timeoutMs }: Required<CallBounds>): Promise<NodeProbe> {
    const begun = this.#clock.monotonic()
    const kept = this.#kept
    if (kept !== null) {
      const answer = await this.#askKept(kept, signal, timeoutMs)
      if (answer !== null) return answer
    }
    const restMs = timeoutMs - (this.#clock.monotonic() - begun)
    return await this.#within(new AbortController(), { signal, timeoutMs: restMs }, (end) =>
      this.#askNew(end),
    )
  }

  /** Says goodbye without waiting for it. */
  [Symbol.dispose](): void {
    this.#isClosed = true
    this.#keep(null)
  }

  #keep(kept: Kept | null): void {
    void this.#kept?.session[Symbol.asyncDispose]()
    this.#kept = kept
  }

  /** Null where the session has ended, or no new one seems to be taken: a login decides. */
  async #askKept(kept: Kept, signal: AbortSignal, timeoutMs: number): Promise<NodeProbe | null> {
    try {
      const [answer] = await this.#within(kept.end, { signal, timeoutMs }, () =>
        Promise.all([
          inSession(kept.session, { signal: kept.end.signal }, () => probe(kept.session)),
          this.#knocks.at(this.#target, timeoutMs / 2),
        ]),
      )
      return answer
    } catch (error) {
      const isOver = kept.end.signal.aborted
      kept.end.abort(error)
      if (this.#kept === kept) this.#keep(null)
      // A session that hangs has used up the time.
      if (isOver) throw error
      return null
    }
  }

  async #askNew(end: AbortController): Promise<NodeProbe> {
    const target = this.#target
    const bounds = { signal: end.signal, timeoutMs: sessionMsMax }
    const session = await openSession({ clock: this.#clock, target, bounds })
    try {
      const answer = await inSession(session, bounds, () => probe(session))
      if (this.#isClosed) await session[Symbol.asyncDispose]()
      else this.#keep({ session, end })
      return answer
    } catch (error) {
      await session[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Runs `work`, and aborts that controller when the signal does or after that time. */
  async #within<T>(
    stop: AbortController,
    { signal, timeoutMs }: Required<CallBounds>,
    work: (stop: AbortController) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted()
    const onAbort = (): void => {
      stop.abort(signal.reason)
    }
    const cancel = this.#clock.after(Math.max(0, timeoutMs), () => {
      stop.abort(
        new FleetError('deadline_exceeded', `${describeTarget(this.#target)} did not answer in time`),
      )
    })
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      return await work(stop)
    } finally {
      cancel()
      signal.removeEventListener('abort', onAbort)
    }
  }
}
