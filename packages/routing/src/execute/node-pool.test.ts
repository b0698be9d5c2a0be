// The pool of one node: limits, waiting, and what it does when the node goes away. Sessions are stand-ins here; the
// clock is moved by hand.
import { FleetError, type Clock } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'

import { Cancellation, DeadlineSweeper } from './cancellation.ts'
import { executeLimitsDefault, type ExecuteLimits } from './limits.ts'
import { NodePool } from './node-pool.ts'
import { noSettings } from './session-settings.ts'
import type { Session, SessionKind } from './session.ts'

class HandClock implements Clock {
  #nowMs = 0
  #timers: { atMs: number; action: () => void }[] = []
  now(): number {
    return this.#nowMs
  }
  monotonic(): number {
    return this.#nowMs
  }
  sleep(): Promise<void> {
    return Promise.reject(new Error('nobody sleeps here'))
  }
  after(ms: number, action: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, action }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer)
    }
  }
  /** Moves on in small steps, letting promises settle in between. */
  async pass(ms: number): Promise<void> {
    for (const endMs = this.#nowMs + ms; this.#nowMs < endMs;) {
      this.#nowMs += 10
      const due = this.#timers.filter(({ atMs }) => atMs <= this.#nowMs)
      this.#timers = this.#timers.filter((one) => !due.includes(one))
      for (const { action } of due) action()
      await settle()
    }
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface FakeSession {
  readonly session: Session
  readonly at: { state: string; inFlight: number; headSinceMs: number | null }
  /** The server ends it. */
  end(): void
}

function fakeSession(): FakeSession {
  const closed = Promise.withResolvers<null>()
  const at = { state: 'open', inFlight: 0, headSinceMs: null as number | null, transactionStatus: 'idle' }
  const end = (): void => {
    at.state = 'closed'
    closed.resolve(null)
  }
  const connection = Object.assign(at, {
    closed: closed.promise,
    close: () => {
      end()
      return closed.promise
    },
    destroy: end,
  })
  const place = { chain: null, before: null, behind: null }
  const session = {
    ...place,
    connection,
    abandoned: 0,
    idleSinceMs: 0,
    settings: noSettings,
  } as unknown as Session
  return { session, at, end }
}

const gone = () => new FleetError('shard_unavailable', 'nobody answers')

function makePool(limits: Partial<ExecuteLimits> = {}, patienceMs = 2_000) {
  const clock = new HandClock()
  const made: FakeSession[] = []
  const opened: SessionKind[] = []
  const node = { error: null as FleetError | null, tries: 0, openMs: 0 }
  const waited: number[] = []
  const all: ExecuteLimits = { ...executeLimitsDefault, connectionsPerNodeMax: 3, ...limits }
  const pool = new NodePool({
    log: { warn: () => undefined },
    clock,
    sweeper: new DeadlineSweeper(clock),
    limits: all,
    name: 'n1',
    patienceMs: () => patienceMs,
    onWaited: (ms) => waited.push(ms),
    connectionsMax: () => all.connectionsPerNodeMax,
    open(kind) {
      node.tries += 1
      if (node.error !== null) return Promise.reject(node.error)
      const fake = fakeSession()
      made.push(fake)
      opened.push(kind)
      if (node.openMs === 0) return Promise.resolve(fake.session)
      return new Promise((resolve) => {
        clock.after(node.openMs, () => {
          resolve(fake.session)
        })
      })
    },
    adapt(session, settings) {
      session.settings = settings
      return Promise.resolve()
    },
  })
  return { pool, clock, made, opened, node, waited }
}

const wanted = () => new Cancellation()

describe('a pool', () => {
  it('opens no more connections than it may, and gives them on in the order of asking', async () => {
    const { pool, made } = makePool({ connectionsPerNodeMax: 2 })
    const order: number[] = []
    const sessions = [0, 1, 2, 3].map(async (number) => {
      const session = await pool.borrow(wanted())
      order.push(number)
      return session
    })
    const [first] = await Promise.all(sessions.slice(0, 2))
    expect(made.length).toBe(2)
    expect(pool.counts).toMatchObject({ lent: 2, waiting: 2 })
    pool.giveBack(first!)
    pool.giveBack(await sessions[2]!)
    await sessions[3]
    expect(order).toEqual([0, 1, 2, 3])
    expect(made.length).toBe(2)
  })

  it('opens two at once, then one at a time for who waits as long as that takes', async () => {
    const { pool, clock, made, node } = makePool({ connectionsPerNodeMax: 50 })
    node.openMs = 30
    const sessions = Array.from({ length: 20 }, () => Promise.resolve(pool.borrow(wanted())))
    expect(made.length).toBe(2)
    await clock.pass(30)
    // They have waited for as long as the first two took.
    expect(made.length).toBe(3)
    await clock.pass(20)
    expect(made.length).toBe(3)
    await clock.pass(10)
    expect(made.length).toBe(4)
    // A burst that is over sooner opens none.
    for (const session of sessions.slice(0, 3)) pool.giveBack(await session)
    for (const session of sessions.slice(3)) pool.giveBack(await session)
    await clock.pass(30)
    expect(made.length).toBe(4)
    const burst = Array.from({ length: 20 }, () => Promise.resolve(pool.borrow(wanted())))
    await clock.pass(20)
    expect(made.length).toBe(4)
    for (const session of burst) pool.giveBack(await session)
    await clock.pass(60)
    expect(made.length).toBe(4)
  })

  it('opens several at a time where the way is long', async () => {
    const { pool, clock, made, node } = makePool({ connectionsPerNodeMax: 50 })
    node.openMs = 210
    for (let count = 0; count < 20; count += 1) void pool.borrow(wanted())
    await clock.pass(210)
    expect(made.length).toBe(2 + 5)
  })

  it('keeps a connection for those who need their own, however few it has', async () => {
    const { pool, opened } = makePool({ connectionsPerNodeMax: 1 })
    expect(pool.lane(wanted())).toBeNull()
    await pool.borrow(wanted())
    expect(opened).toEqual(['exclusive'])
  })

  it('forgets who has gone, and refuses beyond the queue', async () => {
    const { pool } = makePool({ connectionsPerNodeMax: 1, queueMax: 1 })
    const held = await pool.borrow(wanted())
    const leaves = wanted()
    const left = Promise.resolve(pool.borrow(leaves))
    await expect(pool.borrow(wanted())).rejects.toMatchObject({ code: 'overloaded' })
    leaves.cancel(new FleetError('canceled', 'gone'))
    await expect(left).rejects.toMatchObject({ code: 'canceled' })
    expect(pool.counts.waiting).toBe(0)
    const next = pool.borrow(wanted())
    pool.giveBack(held)
    expect(await next).toBe(held)
  })

  it('tells how long each has waited who was given a connection, and nothing of those who need not wait', async () => {
    const { pool, clock, waited } = makePool({ connectionsPerNodeMax: 1, queueWaitMs: 10_000 })
    const held = await pool.borrow(wanted())
    waited.length = 0
    const next = pool.borrow(wanted())
    await clock.pass(70)
    pool.giveBack(held)
    pool.giveBack(await next)
    await pool.borrow(wanted())
    expect(waited).toEqual([70])
  })

  it('ends a wait that takes too long', async () => {
    const { pool, clock } = makePool({ connectionsPerNodeMax: 1, queueWaitMs: 100 })
    await pool.borrow(wanted())
    const late = expect(pool.borrow(wanted())).rejects.toMatchObject({ code: 'overloaded' })
    await clock.pass(200)
    await late
    expect(pool.counts.waiting).toBe(0)
  })

  it('keeps callers waiting for longer than a queue may last where another may take its place', async () => {
    const { pool, clock, node } = makePool({ queueWaitMs: 1_000 }, 10_000)
    node.error = gone()
    const waits = pool.borrow(wanted())
    await clock.pass(6_000)
    expect(pool.counts.waiting).toBe(1)
    node.error = null
    await clock.pass(500)
    await waits
    node.error = gone()
  })

  it('keeps callers waiting while a node restarts, by itself', async () => {
    const { pool, clock, node, made } = makePool()
    const first = await pool.borrow(wanted())
    node.error = gone()
    made[0]?.end()
    pool.giveBack(first)
    const waits = [1, 2].map(async () => await pool.borrow(wanted()))
    await clock.pass(600)
    const tried = node.tries
    expect(tried).toBeLessThan(12)
    node.error = null
    await clock.pass(1_000)
    await Promise.all(waits)
    expect(pool.counts).toMatchObject({ lent: 2, waiting: 0 })
  })

  it('tells callers at once when the node stays away, and tries no more often than it should', async () => {
    const { pool, clock, node } = makePool()
    node.error = gone()
    const first = expect(pool.borrow(wanted())).rejects.toMatchObject({ code: 'shard_unavailable' })
    await clock.pass(4_000)
    await first
    const before = node.tries
    for (let index = 0; index < 100; index += 1) {
      const refused = Promise.resolve(pool.borrow(wanted()))
      await expect(refused).rejects.toMatchObject({ code: 'shard_unavailable' })
    }
    expect(node.tries - before).toBeLessThanOrEqual(1)
    expect(pool.counts.waiting).toBe(0)
  })

  it('is not patient with a replica, nor with a database that is another shard', async () => {
    for (const [patienceMs, error] of [
      [0, gone()],
      [2_000, new FleetError('wrong_database', 'not ours')],
    ] as const) {
      const { pool, node } = makePool({}, patienceMs)
      node.error = error
      await expect(pool.borrow(wanted())).rejects.toMatchObject({ code: error.code })
    }
  })

  it('lets those who wait for a lane go alone when there is none to come', async () => {
    const { pool, clock, made, node } = makePool({ laneInFlightMax: 1, lanesPerNodeMax: 1 })
    const lane = await pool.lane(wanted())
    expect(lane).not.toBeNull()
    made[0]!.at.inFlight = 1
    made[0]!.at.headSinceMs = clock.monotonic()
    const waits = Promise.resolve(pool.lane(wanted()))
    node.error = gone()
    made[0]!.end()
    await clock.pass(50)
    expect(await waits).toBeNull()
  })

  it('wakes who waits for a lane when an abandoned statement has left it', async () => {
    const { pool, made } = makePool({ laneInFlightMax: 1, lanesPerNodeMax: 1 })
    const lane = await pool.lane(wanted())
    made[0]!.at.inFlight = 1
    const waits = Promise.resolve(pool.lane(wanted()))
    made[0]!.at.inFlight = 0
    pool.laneAdvanced()
    expect(await waits).toBe(lane)
  })

  it('lets nobody leave the lanes because their heads take a little longer on a busy machine', async () => {
    const { pool, clock, made, opened } = makePool({ lanesPerNodeMax: 1 })
    const lane = await pool.lane(wanted())
    made[0]!.at.inFlight = 1
    made[0]!.at.headSinceMs = clock.monotonic()
    await clock.pass(50)
    const waits = Promise.resolve(pool.lane(wanted()))
    await clock.pass(30)
    expect(pool.counts.waiting).toBe(1)
    made[0]!.at.headSinceMs = clock.monotonic()
    pool.laneAdvanced()
    expect(await waits).toBe(lane)
    expect(opened).toEqual(['lane'])
  })

  it('lets those who wait go alone when the heads of all lanes do not end, without anybody coming by', async () => {
    const { pool, clock, made } = makePool({ lanesPerNodeMax: 1 })
    await pool.lane(wanted())
    made[0]!.at.inFlight = 1
    made[0]!.at.headSinceMs = clock.monotonic()
    await clock.pass(20)
    const waits = Promise.resolve(pool.lane(wanted()))
    await clock.pass(200)
    expect(await waits).toBeNull()
    expect(pool.lane(wanted())).toBeNull()
  })

  it('lets no more into a lane than there is room for, however many wait', async () => {
    const { pool, made } = makePool({ laneInFlightMax: 2, lanesPerNodeMax: 1 })
    const lane = await pool.lane(wanted())
    const { at } = made[0]!
    at.inFlight = 2
    let given = 0
    const taker = {
      give: () => (at.inFlight += given += 1),
      fail: () => undefined,
    }
    const waits = [1, 2, 3].map(() => Promise.resolve(pool.lane(wanted())))
    expect(pool.laneFor(taker, wanted())).toBeUndefined()
    at.inFlight = 0
    pool.laneAdvanced()
    expect(await Promise.all(waits.slice(0, 2))).toEqual([lane, lane])
    expect(pool.counts.waiting).toBe(2)
    at.inFlight = 1
    pool.laneAdvanced()
    expect(await waits[2]).toBe(lane)
    pool.laneAdvanced()
    expect(given).toBe(1)
    expect(pool.counts.waiting).toBe(0)
  })

  it('makes room for lanes when sessions for one have taken all connections', async () => {
    const { pool, opened } = makePool({ connectionsPerNodeMax: 4, lanesPerNodeMax: 2 })
    const lent = await Promise.all([1, 2, 3, 4].map(async () => pool.borrow(wanted())))
    expect(pool.lane(wanted())).toBeNull()
    for (const session of lent) pool.giveBack(session)
    await settle()
    const lane = await pool.lane(wanted())
    expect(lane).not.toBeNull()
    expect(opened.filter((kind) => kind === 'lane')).toHaveLength(1)
    // Those who need one of their own still get one, but not those of the lanes.
    const again = await Promise.all([1, 2].map(async () => pool.borrow(wanted())))
    expect(again).toHaveLength(2)
    expect(opened).toHaveLength(5)
  })

  it('fails those who wait with the reason of its end', async () => {
    const { pool } = makePool({ connectionsPerNodeMax: 1 })
    await pool.borrow(wanted())
    const waits = expect(pool.borrow(wanted())).rejects.toMatchObject({ code: 'stale_map' })
    await pool.close(new FleetError('stale_map', 'moved'))
    await waits
    await expect(pool.borrow(wanted())).rejects.toMatchObject({ code: 'stale_map' })
  })
})
