// The connections to one node: lanes shared by autocommit reads and exclusive sessions lent one at a time, together
// under one limit, with a bounded queue in front.
import { FleetError } from '@fleetshard/core'
import type { Cancellation } from './cancellation.ts'
import { laneHeadMsMax, laneSetsMax } from './limits.ts'
import type { NodePoolParts } from './node-pool-parts.ts'
import { noSettings, type SessionSettings } from './session-settings.ts'
import type { LaneSharer, Session, SessionKind } from './session.ts'

interface Waiter {
  /** Null, for lanes only: there is none to wait for. */
  readonly give: (session: Session | null) => void
  readonly fail: (error: FleetError) => void
}

/** How long callers are kept waiting for a node that is gone, so that a restart costs them time but no error. */
const patienceMs = 2_000
/** How long connections may take to end when the pool is closed. */
const closeWithinMs = 5_000
/** First pause after a failed connect; doubles up to the maximum. */
const backoffMsMin = 100
const backoffMsMax = 2_000

/** Why and since when the node can't be reached, and when it is tried next. */
interface Down {
  readonly error: FleetError
  readonly sinceMs: number
  readonly untilMs: number
  readonly pauseMs: number
}

/** Connections to one node. */
export class NodePool {
  readonly #parts: NodePoolParts
  readonly #lanes: Session[] = []
  readonly #idle: Session[] = []
  readonly #lent = new Set<Session>()
  readonly #waiters = { lane: new Set<Waiter>(), exclusive: new Set<Waiter>() }
  /** Of each lane that is being opened the key of its settings. */
  readonly #openingLanes: string[] = []
  #openingExclusive = 0
  /** Of the lent ones, those that are kept over many requests. */
  #held = 0
  /** Set for good by the first who wants a lane. */
  #lanesAsked = false
  #down: Down | null = null
  #closed: FleetError | null = null
  #stopRetry: (() => void) | null = null
  #stopReaper: (() => void) | null = null

  constructor(parts: NodePoolParts) {
    this.#parts = parts
  }

  /** Figures for metrics and for the choice of a node. */
  get counts(): { lanes: number; idle: number; lent: number; waiting: number; inFlight: number } {
    let inFlight = this.#lent.size
    for (const lane of this.#lanes) inFlight += lane.connection.inFlight
    const waiting = this.#waiters.lane.size + this.#waiters.exclusive.size
    return { lanes: this.#lanes.length, idle: this.#idle.length, lent: this.#lent.size, waiting, inFlight }
  }

  /** The shared connections, for whoever wants to look at them. */
  get lanes(): readonly Session[] {
    return this.#lanes
  }

  /** False while the last attempt to connect failed and the pause after it is not over. */
  get isUp(): boolean {
    return this.#down === null || this.#down.untilMs <= this.#parts.clock.monotonic()
  }

  /**
   * A lane with room, or null when every lane is held up by a slow head and the statement should go alone.
   * @throws FleetError (the promise) `overloaded`, `shard_unavailable`, the cancellation's reason
   */
  lane(cancellation: Cancellation): Session | null | Promise<Session | null> {
    this.#makeRoomForLanes()
    const lane = this.#laneWithRoom(noSettings)
    if (lane !== null) return lane
    return this.#isNoLaneToWaitFor() ? null : this.#wait('lane', cancellation)
  }

  /**
   * A lane of the set with these settings that has room now, or null. One is opened in the background where that may
   * help those who come next.
   */
  laneNow(settings: SessionSettings): Session | null {
    if (settings.key === '') this.#makeRoomForLanes()
    const lane = this.#laneWithRoom(settings)
    if (lane === null && this.#canOpen('lane', settings) && !this.#openingLanes.includes(settings.key)) {
      void this.#open('lane', settings)
    }
    return lane ?? this.#anyLane(settings)
  }

  /** While another lane is being opened the ones with room serve. */
  #anyLane(settings: SessionSettings): Session | null {
    const { laneInFlightMax } = this.#parts.limits
    const open = this.#lanes.find(
      (lane) =>
        lane.settings.key === settings.key &&
        lane.connection.state === 'open' &&
        lane.connection.inFlight < laneInFlightMax &&
        !this.#isHeldUp(lane),
    )
    return open ?? null
  }

  #isNoLaneToWaitFor(): boolean {
    if (this.#canOpen('lane', noSettings)) return false
    const lanes = this.#lanes.filter(({ settings }) => settings.key === '')
    if (lanes.length === 0) return this.#openingLanes.every((key) => key !== '')
    return lanes.every((held) => this.#isHeldUp(held))
  }

  /** To be called when a statement in a lane has ended: lets waiting ones in. */
  laneAdvanced(): void {
    const waiters = this.#waiters.lane
    if (waiters.size === 0) return
    for (const waiter of waiters) {
      const lane = this.#laneWithRoom(noSettings)
      if (lane === null && !this.#isNoLaneToWaitFor()) return
      waiters.delete(waiter)
      waiter.give(lane)
    }
  }

  /**
   * A session for one borrower, set to these settings.
   * @throws as `lane`, and what the server says of a setting
   */
  borrow(cancellation: Cancellation, settings: SessionSettings = noSettings): Session | Promise<Session> {
    for (let session = this.#takeIdle(settings); session !== undefined; session = this.#takeIdle(settings)) {
      if (session.connection.state !== 'open') continue
      this.#lent.add(session)
      return session.settings.key === settings.key ? session : this.#adapted(session, settings)
    }
    return this.#wait('exclusive', cancellation).then((session) => {
      const given = session as Session
      return given.settings.key === settings.key ? given : this.#adapted(given, settings)
    })
  }

  /** The last used with these settings, else the last used. */
  #takeIdle(settings: SessionSettings): Session | undefined {
    const index = this.#idle.findLastIndex((session) => session.settings.key === settings.key)
    return index < 0 ? this.#idle.pop() : this.#idle.splice(index, 1)[0]
  }

  async #adapted(session: Session, settings: SessionSettings): Promise<Session> {
    try {
      await this.#parts.adapt(session, settings)
      return session
    } catch (error) {
      this.giveBack(session)
      throw error
    }
  }

  /**
   * Takes a lane away from all others, whose reads are sent again elsewhere. It is the caller's, who must close its
   * connection when he is done.
   */
  detachLane(session: Session, by: LaneSharer): void {
    const index = this.#lanes.indexOf(session)
    if (index < 0) return
    this.#lanes.splice(index, 1)
    this.#lent.add(session)
    for (const sharer of session.sharers) if (sharer !== by) sharer.moveAway()
    this.laneAdvanced()
  }

  /**
   * To be called before a session is borrowed for many requests: at most half of the connections are kept so, since
   * everybody else waits for the rest. The returned function takes it back.
   * @throws FleetError `overloaded`
   */
  hold(): () => void {
    const heldMax = Math.max(1, Math.floor(this.#parts.connectionsMax() / 2))
    if (this.#held >= heldMax) {
      throw this.#overloaded(`${String(this.#held)} transactions are open on ${this.#parts.name}`)
    }
    this.#held += 1
    let over = false
    return () => {
      if (!over) this.#held -= 1
      over = true
    }
  }

  /** Gives a borrowed session back. It must be idle, outside a transaction, and clean. */
  giveBack(session: Session): void {
    this.#lent.delete(session)
    const { connection } = session
    if (connection.state !== 'open') {
      this.#openWanted()
      return
    }
    if (this.#closed !== null || connection.inFlight > 0 || connection.transactionStatus !== 'idle') {
      connection.destroy(new FleetError('internal', 'the connection was given back in use'))
      this.#openWanted()
      return
    }
    if (this.#leavesNoRoom(this.#sessions + 1)) {
      void connection.close()
      return
    }
    session.idleSinceMs = this.#parts.clock.monotonic()
    for (const waiter of this.#waiters.exclusive) {
      this.#waiters.exclusive.delete(waiter)
      this.#lent.add(session)
      waiter.give(session)
      return
    }
    this.#idle.push(session)
    this.#scheduleReaper()
  }

  /** The schema has changed: statements are prepared anew on every connection. */
  renewStatements(): void {
    for (const session of [...this.#lanes, ...this.#idle, ...this.#lent]) {
      session.prepared.renew()
      session.statements.renew()
    }
  }

  /**
   * Ends everything: callers who wait, now or later, fail with the reason; connections end when what is in flight is
   * done, or when that takes too long.
   */
  async close(reason: FleetError): Promise<void> {
    this.#closed ??= reason
    this.#stopReaper?.()
    this.#stopRetry?.()
    this.#failWaiters(reason)
    const sessions = [...this.#lanes, ...this.#idle, ...this.#lent]
    const stop = this.#parts.clock.after(closeWithinMs, () => {
      for (const { connection } of sessions) connection.destroy(reason)
    })
    await Promise.all(sessions.map((session) => session.connection.close()))
    stop()
  }

  #laneWithRoom(settings: SessionSettings): Session | null {
    let best: Session | null = null
    for (const lane of this.#lanes) {
      if (lane.settings.key !== settings.key) continue
      const { inFlight, state } = lane.connection
      if (state !== 'open' || inFlight >= this.#parts.limits.laneInFlightMax || this.#isHeldUp(lane)) continue
      if (best === null || inFlight < best.connection.inFlight) best = lane
    }
    // A second lane is opened while the first still has room, as soon as statements pile up in it.
    return best !== null && best.connection.inFlight > 0 && this.#canOpen('lane', settings) ? null : best
  }

  #isHeldUp(lane: Session): boolean {
    if (lane.abandoned > 0) return true
    const since = lane.connection.headSinceMs
    return since !== null && this.#parts.clock.monotonic() - since > laneHeadMsMax
  }

  #canOpen(kind: SessionKind, settings: SessionSettings): boolean {
    if (this.#closed !== null || !this.isUp) return false
    if (kind === 'lane' && !this.#isLaneAllowed(settings)) return false
    const opening = this.#openingLanes.length + this.#openingExclusive
    if (opening >= this.#parts.limits.openingMax) return false
    const reserved = kind === 'lane' && settings.key === '' ? 0 : this.#lanesReserved
    return this.#sessions + reserved < this.#parts.connectionsMax()
  }

  /** Lanes without settings that may still be opened. One connection at least is left to those who need one alone. */
  get #lanesWanting(): number {
    const lanesMax = Math.min(this.#parts.limits.lanesPerNodeMax, this.#parts.connectionsMax() - 1)
    let lanes = 0
    for (const { settings } of this.#lanes) if (settings.key === '') lanes += 1
    for (const key of this.#openingLanes) if (key === '') lanes += 1
    return Math.max(0, lanesMax - lanes)
  }

  /** Connections kept for lanes once somebody has asked for one. */
  get #lanesReserved(): number {
    return this.#lanesAsked ? this.#lanesWanting : 0
  }

  /** Somebody wants a lane: from now on there is room for them. */
  #makeRoomForLanes(): void {
    this.#lanesAsked = true
    if (this.#leavesNoRoom(this.#sessions)) void this.#idle.shift()?.connection.close()
  }

  /**
   * True when that many sessions leave no room for the lanes. Sessions for one may have taken all connections before
   * anybody asked for a lane; under load none of them would ever end by itself.
   */
  #leavesNoRoom(sessions: number): boolean {
    return this.#lanesReserved > 0 && sessions + this.#lanesReserved > this.#parts.connectionsMax()
  }

  /** One connection at least, and where there are sets of lanes half of all, is left to those who need one alone. */
  #isLaneAllowed({ key }: SessionSettings): boolean {
    const max = this.#parts.connectionsMax()
    let same = 0
    for (const { settings } of this.#lanes) if (settings.key === key) same += 1
    for (const opening of this.#openingLanes) if (opening === key) same += 1
    if (same >= Math.min(this.#parts.limits.lanesPerNodeMax, max - 1)) return false
    if (key === '') return true
    const keys = [...this.#lanes.map(({ settings }) => settings.key), ...this.#openingLanes]
    const sets = new Set(keys).add('').add(key)
    return sets.size <= laneSetsMax && keys.length < max / 2
  }

  #wait(kind: SessionKind, cancellation: Cancellation): Promise<Session | null> {
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters[kind]
      const refusal = this.#refusal(waiters)
      if (refusal !== null) {
        reject(refusal)
        return
      }
      const stop = this.#parts.sweeper.watch(
        this.#parts.clock.monotonic() + this.#parts.limits.queueWaitMs,
        () => {
          waiter.fail(this.#overloaded(`no connection to ${this.#parts.name} came free in time`))
        },
      )
      const leave = (): void => {
        stop()
        waiters.delete(waiter)
        cancellation.whenCancelled(null)
      }
      const waiter: Waiter = {
        give: (session) => {
          leave()
          resolve(session)
        },
        fail: (error) => {
          leave()
          reject(error)
        },
      }
      waiters.add(waiter)
      cancellation.whenCancelled((reason) => {
        waiter.fail(reason)
      })
      if (waiters.has(waiter)) this.#openWanted()
    })
  }

  #refusal(waiters: ReadonlySet<Waiter>): FleetError | null {
    if (this.#closed !== null) return this.#closed
    if (this.#down !== null && !this.isUp && this.#isHopeless(this.#down)) return this.#down.error
    if (waiters.size < this.#parts.limits.queueMax) return null
    return this.#overloaded(`${String(waiters.size)} statements already wait for ${this.#parts.name}`)
  }

  /** Nobody should wait: there is no connection that could come free, and the node has been gone for a while. */
  #isHopeless(down: Down): boolean {
    if (this.#sessions > 0) return false
    const mayComeBack = this.#parts.patient && down.error.code === 'shard_unavailable'
    return !mayComeBack || this.#parts.clock.monotonic() - down.sinceMs >= patienceMs
  }

  get #sessions(): number {
    const opening = this.#openingLanes.length + this.#openingExclusive
    return this.#lanes.length + this.#idle.length + this.#lent.size + opening
  }

  #overloaded(message: string): FleetError {
    return new FleetError('overloaded', message, { hint: 'try again; send fewer statements at once' })
  }

  #openWanted(): void {
    if (this.#closed !== null) return
    const wantsLane = this.#waiters.lane.size > 0 && !this.#openingLanes.includes('')
    if (wantsLane && this.#canOpen('lane', noSettings)) void this.#open('lane', noSettings)
    while (this.#waiters.exclusive.size > this.#openingExclusive && this.#canOpen('exclusive', noSettings)) {
      void this.#open('exclusive', noSettings)
    }
  }

  async #open(kind: SessionKind, settings: SessionSettings): Promise<void> {
    const opened = this.#beginOpening(kind, settings)
    try {
      const session = await this.#parts.open(kind, settings)
      opened()
      this.#down = null
      this.#admit(session, kind)
    } catch (error) {
      opened()
      if (settings.key !== '' && error instanceof FleetError && error.code === 'sql_error') return
      this.#openFailed(
        error instanceof FleetError
          ? error
          : new FleetError('internal', 'connecting failed', { cause: error }),
      )
    }
  }

  #beginOpening(kind: SessionKind, { key }: SessionSettings): () => void {
    if (kind === 'lane') this.#openingLanes.push(key)
    else this.#openingExclusive += 1
    return () => {
      if (kind === 'lane') this.#openingLanes.splice(this.#openingLanes.indexOf(key), 1)
      else this.#openingExclusive -= 1
    }
  }

  #admit(session: Session, kind: SessionKind): void {
    void session.connection.closed.then(() => {
      this.#forget(session)
    })
    if (this.#closed !== null) {
      session.connection.destroy(this.#closed)
      return
    }
    if (kind === 'lane') {
      this.#lanes.push(session)
      this.#scheduleReaper()
      this.laneAdvanced()
      return
    }
    this.giveBack(session)
    this.#openWanted()
  }

  #forget(session: Session): void {
    this.#lent.delete(session)
    for (const list of [this.#lanes, this.#idle]) {
      const index = list.indexOf(session)
      if (index >= 0) list.splice(index, 1)
    }
    this.#openWanted()
    this.laneAdvanced()
  }

  /** With other connections left the waiting ones wait for those; with none there is nothing to wait for. */
  #openFailed(error: FleetError): void {
    if (error.code === 'stale_map') {
      // Nothing is wrong with the node: the callers refresh their map and come back.
      this.#failWaiters(error)
      return
    }
    const now = this.#parts.clock.monotonic()
    // Connects that were begun together and fail together are one failure.
    if (this.#down === null || this.isUp) {
      const pauseMs = Math.min((this.#down?.pauseMs ?? backoffMsMin / 2) * 2, backoffMsMax)
      this.#down = { error, sinceMs: this.#down?.sinceMs ?? now, untilMs: now + pauseMs, pauseMs }
      this.#parts.log.warn(
        { node: this.#parts.name, code: error.code, err: error },
        'cannot connect to a node',
      )
    }
    if (this.#isHopeless(this.#down)) this.#failWaiters(error)
    else this.#retryAfterPause(this.#down)
    this.laneAdvanced()
  }

  /** Those who wait must not depend on somebody else to come by when the pause is over. */
  #retryAfterPause(down: Down): void {
    this.#stopRetry?.()
    const leftMs = Math.max(1, down.untilMs - this.#parts.clock.monotonic())
    this.#stopRetry = this.#parts.clock.after(leftMs, () => {
      this.#stopRetry = null
      // Timers count in whole milliseconds and may come a little early.
      if (this.isUp) this.#openWanted()
      else this.#retryAfterPause(down)
    })
  }

  #failWaiters(error: FleetError): void {
    for (const waiter of [...this.#waiters.lane, ...this.#waiters.exclusive]) waiter.fail(error)
  }

  #scheduleReaper(): void {
    this.#stopReaper ??= this.#parts.clock.after(this.#parts.limits.idleMs / 2, () => {
      this.#stopReaper = null
      this.#reap()
    })
  }

  #reap(): void {
    const oldest = this.#parts.clock.monotonic() - this.#parts.limits.idleMs
    while (this.#idle[0] !== undefined && this.#idle[0].idleSinceMs < oldest)
      void this.#idle.shift()?.connection.close()
    const unused = this.#lanes.filter(
      ({ settings, lastEndMs, connection }) =>
        settings.key !== '' && connection.inFlight === 0 && lastEndMs < oldest,
    )
    for (const lane of unused) {
      this.#lanes.splice(this.#lanes.indexOf(lane), 1)
      this.#lent.add(lane)
      void lane.connection.close()
    }
    if (this.#idle.length > 0 || this.#lanes.some(({ settings }) => settings.key !== ''))
      this.#scheduleReaper()
  }
}
