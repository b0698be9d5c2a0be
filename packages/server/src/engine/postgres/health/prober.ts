// Looks at a server every second without a login every second: the session is kept, and beside its statement the server
// is knocked at every other time. Once a minute a new session takes its place, and the one before tells what the server
// bears: sizes are read from the disk, and no probe waits behind that.
import { FleetError, type Clock } from '@fleetshard/core'
import type { NodeFigures, NodeProbe, NodeProber } from '../../health-engine.ts'
import type { CallBounds, NodeTarget } from '../../shard-engine.ts'
import { describeTarget } from '../errors.ts'
import { inSession, openSession, type Session } from '../session.ts'
import { figures } from './figures.ts'
import type { Knocks } from './knocks.ts'
import { probe } from './probe.ts'

/** A session is relieved after that time, so that a login is tried now and then. */
const sessionMs = 60_000
/** The same where the one before did not tell what the server bears. */
const retryMs = 5_000
/** Longest that the figures of a server are waited for. */
const figuresMsMax = 5_000

/** A session, and what ends it at once. */
interface Kept {
  readonly session: Session
  readonly end: AbortController
  /** `clock.monotonic()` from which on it is relieved. */
  untilMs: number
}

/** What a prober works with. */
export interface KeptProbeParts {
  readonly clock: Clock
  readonly target: NodeTarget
  readonly knocks: Knocks
  /** The first session is relieved so soon, for the figures. */
  readonly firstMs: number
}

/** A prober of one Postgres server. */
export class KeptProbe implements NodeProber {
  readonly #clock: Clock
  readonly #target: NodeTarget
  readonly #knocks: Knocks
  readonly #firstMs: number
  #kept: Kept | null = null
  #relieved: Kept | null = null
  #figures: NodeFigures | null = null
  #isClosed = false

  constructor({ clock, target, knocks, firstMs }: KeptProbeParts) {
    this.#clock = clock
    this.#target = target
    this.#knocks = knocks
    this.#firstMs = Math.min(firstMs, sessionMs)
  }

  get figures(): NodeFigures | null {
    return this.#figures
  }

  async probe({ signal, timeoutMs }: Required<CallBounds>): Promise<NodeProbe> {
    const begun = this.#clock.monotonic()
    const kept = this.#kept
    if (kept !== null && begun < kept.untilMs) {
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
    this.#relieved?.end.abort()
    this.#drop()
  }

  #drop(): void {
    void this.#kept?.session[Symbol.asyncDispose]()
    this.#kept = null
  }

  /** The session that was kept until now says what the server bears, and ends. */
  #keep(session: Session, end: AbortController): void {
    const relieved = this.#kept
    const lifeMs = relieved === null && this.#figures === null ? this.#firstMs : sessionMs
    const kept = { session, end, untilMs: this.#clock.monotonic() + lifeMs }
    this.#kept = kept
    if (relieved === null) return
    this.#readFigures(relieved).then(
      (found) => {
        this.#figures = found
      },
      () => {
        this.#figures = null
        kept.untilMs = Math.min(kept.untilMs, this.#clock.monotonic() + retryMs)
      },
    )
  }

  async #readFigures(relieved: Kept): Promise<NodeFigures> {
    const { session, end } = relieved
    await using _ = session
    this.#relieved = relieved
    const cancel = this.#clock.after(figuresMsMax, () => {
      end.abort()
    })
    try {
      return await figures(session)
    } finally {
      cancel()
      if (this.#relieved === relieved) this.#relieved = null
    }
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
      if (this.#kept === kept) this.#drop()
      // A session that hangs has used up the time.
      if (isOver) throw error
      return null
    }
  }

  async #askNew(end: AbortController): Promise<NodeProbe> {
    const target = this.#target
    // It outlives its time by a probe that comes late, and by the figures.
    const bounds = { signal: end.signal, timeoutMs: 2 * sessionMs }
    const session = await openSession({ clock: this.#clock, target, bounds })
    try {
      const answer = await inSession(session, bounds, () => probe(session))
      if (this.#isClosed) await session[Symbol.asyncDispose]()
      else this.#keep(session, end)
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
