// The connections to one node: lanes shared by autocommit reads and exclusive sessions lent one at a time, together
// under one limit, with a bounded queue in front.
import { FleetError } from '@fleetshard/core'
import type { Cancellation } from './cancellation.ts'
import { Chain } from './chain.ts'
import { leastBusyLane } from './least-busy-lane.ts'
import { laneHeadMsMax, laneSetsMax, laneStuckMsMax } from './limits.ts'
import type { NodePoolParts } from './node-pool-parts.ts'
import { OpeningPace } from './opening-pace.ts'
import { Reach } from './reach.ts'
import { noSettings, type SessionSettings } from './session-settings.ts'
import { isHeldUp, type LaneSharer, type Session, type SessionKind } from './session.ts'
import { WaitingLine, type Taker } from './waiting-line.ts'

/** How long connections may take to end when the pool is closed. */
const closeWithinMs = 5_000
/** Connections to one node. */
export class NodePool {
  readonly #parts: NodePoolParts
  readonly #lanes: Session[] = []
  readonly #idle: Session[] = []
  readonly #lent = new Chain<Session>()
  readonly #waiters: Readonly<Record<SessionKind, WaitingLine>>
  /** Of each lane that is being opened the key of its settings. */
  readonly #openingLanes: string[] = []
  #openingExclusive = 0
  /** Of the lent ones, those that are kept over many requests. */
  #held = 0
  /** Set for good by the first who wants a lane. */
  #lanesAsked = false
  #lanesWatched = false
  readonly #reach: Reach
  #closed: FleetError | null = null
  #stopRetry: (() => void) | null = null
  #stopReaper: (() => void) | null = null
  readonly #pace: OpeningPace

  constructor(parts: NodePoolParts) {
    this.#parts = parts
    const { limits, name } = parts
    this.#reach = new Reach(parts)
    this.#pace = new OpeningPace(parts.clock, () => {
      this.#openWanted()
    })
    const late = (): FleetError => this.#overloaded(`no connection to ${name} came free in time`)
    const waitMs = limits.queueWaitMs
    const patientMs = (): number => (this.#connected > 0 ? waitMs : Math.max(waitMs, parts.patienceMs()))
    const line = (): WaitingLine => new WaitingLine({ ...parts, waitMs, patientMs, late })
    this.#waiters = { lane: line(), exclusive: line() }
  }

  /** Figures for metrics and for the choice of a node. */
  get counts(): { lanes: number; idle: number; lent: number; waiting: number; inFlight: number } {
    let inFlight = this.#lent.size
    for (const lane of this.#lanes) inFlight += lane.connection.inFlight
    const waiting = this.#waiters.lane.length + this.#waiters.exclusive.length
    return { lanes: this.#lanes.length, idle: this.#idle.length, lent: this.#lent.size, waiting, inFlight }
  }

  /** The shared connections, for whoever wants to look at them. */
  get lanes(): readonly Session[] {
    return this.#lanes
  }

  /** False while the last attempt to connect failed and the pause after it is not over. */
  get isUp(): boolean {
    return this.#reach.isUp
  }

  /**
   * A lane with room, or null when there is none to wait for and the statement should go alone.
   * @throws FleetError (the promise) `overloaded`, `shard_unavailable`, the cancellation's reason
   */
  lane(cancellation: Cancellation): Session | null | Promise<Session | null> {
    const now = this.#laneAtOnce()
    if (now !== undefined) return now
    return new Promise((resolve, reject) => {
      this.#wait('lane', { give: resolve, fail: reject }, cancellation)
    })
  }

  /**
   * The same without a promise: undefined when the taker will be told, which is not before this returns.
   */
  laneFor(taker: Taker, cancellation: Cancellation): Session | null | undefined {
    const now = this.#laneAtOnce()
    if (now === undefined) this.#wait('lane', taker, cancellation)
    return now
  }

  /** Undefined when there is one to wait for. */
  #laneAtOnce(): Session | null | undefined {
    this.#makeRoomForLanes()
    // Who waits already comes first.
    const lane = this.#waiters.lane.length > 0 ? null : this.#laneWithRoom(0)
    if (lane !== null) return lane
    return this.#isNoLaneToWaitFor() ? null : undefined
  }

  /**
   * A lane of the set with these settings that has room now, or null. One is opened in the background where that may
   * help those who come next.
   */
  laneNow(settings: SessionSettings): Session | null {
    if (settings.key === '') this.#makeRoomForLanes()
    // While another lane is being opened the ones with room serve.
    const lane = this.#leastBusyLane(settings)
    const isPilingUp = lane === null || lane.connection.inFlight > 0
    if (isPilingUp && this.#canOpen('lane', settings) && !this.#openingLanes.includes(settings.key)) {
      void this.#open('lane', settings)
    }
    return lane
  }

  #isNoLaneToWaitFor(): boolean {
    if (this.#canOpen('lane', noSettings)) return false
    const stuckSinceMs = this.#parts.clock.monotonic() - laneStuckMsMax
    let lanes = 0
    for (const lane of this.#lanes) {
      if (lane.settings.key !== '') continue
      lanes += 1
      if (!isHeldUp(lane, stuckSinceMs)) return false
    }
    return lanes > 0 || !this.#openingLanes.includes('')
  }

  /** To be called when a statement in a lane has ended: lets waiting ones in. */
  laneAdvanced(): void {
    const waiters = this.#waiters.lane
    // Who takes a lane by a promise begins later: its place is counted here.
    let promised = 0
    while (waiters.length > 0) {
      const lane = this.#laneWithRoom(promised)
      if (lane === null && !this.#isNoLaneToWaitFor()) return
      const before = lane?.connection.inFlight
      waiters.give(lane)
      if (lane?.connection.inFlight === before) promised += 1
    }
  }

  /** A lane that is held up tells nobody when it has been so for too long. */
  #watchLanes(): void {
    if (this.#lanesWatched) return
    this.#lanesWatched = true
    this.#parts.sweeper.watch(this.#parts.clock.monotonic() + laneHeadMsMax, () => {
      this.#lanesWatched = false
      this.laneAdvanced()
      if (this.#waiters.lane.length > 0) this.#watchLanes()
    })
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
    return new Promise<Session>((resolve, reject) => {
      // Only lanes are given as null.
      const give = (session: Session | null): void => {
        resolve(session as Session)
      }
      this.#wait('exclusive', { give, fail: reject }, cancellation)
    }).then((given) => (given.settings.key === settings.key ? given : this.#adapted(given, settings)))
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
    for (const sharer of session.sharers.members()) if (sharer !== by) sharer.moveAway()
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
    if (this.#waiters.exclusive.length > 0) {
      this.#lent.add(session)
      this.#waiters.exclusive.give(session)
      return
    }
    this.#idle.push(session)
    this.#scheduleReaper()
  }

  /** The schema has changed: statements are prepared anew on every connection. */
  renewStatements(): void {
    for (const session of [...this.#lanes, ...this.#idle, ...this.#lent.members()]) {
      session.prepared.renew()
      session.statements.renew()
    }
  }

  /**
   * Ends everything: callers who wait, now or later, fail with the reason; connections end when what is in flight is
   * done, or when that takes too long.
   */
  async close(reason: FleetError, withinMs = closeWithinMs): Promise<void> {
    this.#closed ??= reason
    this.#stopReaper?.()
    this.#stopRetry?.()
    this.#pace.stop()
    this.#failWaiters(reason)
    const sessions = [...this.#lanes, ...this.#idle, ...this.#lent.members()]
    const stop = this.#parts.clock.after(withinMs, () => {
      for (const { connection } of sessions) connection.destroy(reason)
    })
    await Promise.all(sessions.map((session) => session.connection.close()))
    stop()
  }

  /** A second lane is opened while the first still has room, as soon as statements pile up in it. */
  #laneWithRoom(promised: number): Session | null {
    const lane = this.#leastBusyLane(noSettings, promised)
    return lane !== null && lane.connection.inFlight > 0 && this.#canOpen('lane', noSettings) ? null : lane
  }

  #leastBusyLane(settings: SessionSettings, promised = 0): Session | null {
    const inFlightMax = this.#parts.limits.laneInFlightMax - promised
    return leastBusyLane(this.#lanes, { settings, inFlightMax, clock: this.#parts.clock })
  }

  #canOpen(kind: SessionKind, settings: SessionSettings): boolean {
    if (kind === 'lane' && !this.#isLaneAllowed(settings)) return false
    if (this.#closed !== null || !this.isUp) return false
    const opening = this.#openingLanes.length + this.#openingExclusive
    if (opening >= this.#parts.limits.openingMax) return false
    const reserved = kind === 'lane' && settings.key === '' ? 0 : this.#lanesReserved
    return this.#sessions + reserved < this.#parts.connectionsMax()
  }

  /** Lanes without settings that may still be opened. One connection at least is left to those who need one alone. */
  get #lanesWanting(): number {
    const { lanesPerNodeMax } = this.#parts.limits
    const lanes = this.#lanesOf('')
    if (lanes >= lanesPerNodeMax) return 0
    return Math.max(0, Math.min(lanesPerNodeMax, this.#parts.connectionsMax() - 1) - lanes)
  }

  /** Lanes with these settings, those that are being opened among them. */
  #lanesOf(key: string): number {
    let lanes = 0
    for (const { settings } of this.#lanes) if (settings.key === key) lanes += 1
    for (const opening of this.#openingLanes) if (opening === key) lanes += 1
    return lanes
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
    const { lanesPerNodeMax } = this.#parts.limits
    if (this.#lanesOf(key) >= lanesPerNodeMax) return false
    const max = this.#parts.connectionsMax()
    if (this.#lanesOf(key) >= max - 1) return false
    if (key === '') return true
    const keys = [...this.#lanes.map(({ settings }) => settings.key), ...this.#openingLanes]
    const sets = new Set(keys).add('').add(key)
    return sets.size <= laneSetsMax && keys.length < max / 2
  }

  #wait(kind: SessionKind, taker: Taker, cancellation: Cancellation): void {
    const refusal = cancellation.reason ?? this.#refusal(this.#waiters[kind])
    if (refusal !== null) {
      queueMicrotask(() => {
        taker.fail(refusal)
      })
      return
    }
    this.#waiters[kind].add(taker, cancellation)
    if (kind === 'lane') this.#watchLanes()
    this.#openWanted()
  }

  #refusal(line: WaitingLine): FleetError | null {
    if (this.#closed !== null) return this.#closed
    const hopeless = this.isUp ? null : this.#hopeless
    if (hopeless !== null) return hopeless
    if (line.length < this.#parts.limits.queueMax) return null
    return this.#overloaded(`${String(line.length)} statements already wait for ${this.#parts.name}`)
  }

  /** Nobody should wait: there is no connection that could come free, and the node has been gone for a while. */
  get #hopeless(): FleetError | null {
    return this.#sessions > 0 ? null : this.#reach.hopeless
  }

  get #connected(): number {
    return this.#lanes.length + this.#idle.length + this.#lent.size
  }

  get #sessions(): number {
    return this.#connected + this.#openingLanes.length + this.#openingExclusive
  }

  #overloaded(message: string): FleetError {
    return new FleetError('overloaded', message, { hint: 'try again; send fewer statements at once' })
  }

  #openWanted(): void {
    if (this.#closed !== null) return
    const wantsLane = this.#waiters.lane.length > 0 && !this.#openingLanes.includes('')
    if (wantsLane && this.#canOpen('lane', noSettings)) void this.#open('lane', noSettings)
    while (
      this.#waiters.exclusive.length > this.#openingExclusive &&
      this.#canOpen('exclusive', noSettings)
    ) {
      const opening = this.#openingExclusive
      const connections = this.#idle.length + this.#lent.size + opening
      if (!this.#pace.mayOpen({ sinceMs: this.#waiters.exclusive.sinceMs, connections, opening })) return
      void this.#open('exclusive', noSettings)
    }
  }

  async #open(kind: SessionKind, settings: SessionSettings): Promise<void> {
    const opened = this.#beginOpening(kind, settings)
    const beganMs = this.#parts.clock.monotonic()
    try {
      const session = await this.#parts.open(kind, settings)
      this.#pace.opened(this.#parts.clock.monotonic() - beganMs)
      opened()
      this.#reach.reached()
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
    this.#reach.failed(error)
    if (this.#hopeless === null) this.#retryAfterPause()
    else this.#failWaiters(error)
    this.laneAdvanced()
  }

  /** Those who wait must not depend on somebody else to come by when the pause is over. */
  #retryAfterPause(): void {
    this.#stopRetry?.()
    this.#stopRetry = this.#parts.clock.after(Math.max(1, this.#reach.pauseMs), () => {
      this.#stopRetry = null
      // Timers count in whole milliseconds and may come a little early.
      if (this.isUp) this.#openWanted()
      else this.#retryAfterPause()
    })
  }

  #failWaiters(error: FleetError): void {
    this.#waiters.lane.failAll(error)
    this.#waiters.exclusive.failAll(error)
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
