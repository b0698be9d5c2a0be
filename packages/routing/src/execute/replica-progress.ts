// Which replicas of a shard are fresh enough for a read: what each has replayed, and when the primary was where.
// Kept, and asked again only where what is kept does not do. A replica that has replayed what the primary had written
// by a moment shows at least that moment: so an idle primary makes nobody late, and no clocks are compared.
import type { Clock, SessionPosition } from '@fleetshard/core'
import { Cancellation } from './cancellation.ts'
import { askPrimary, askReplica, type ReplicaPosition } from './positions.ts'
import type { Session } from './session.ts'
import type { NodeAccess, ShardAccess } from './shard-access.ts'

/** What a read wants of a replica. */
export interface Freshness {
  /** It has replayed this; null when anything will do. */
  readonly position: SessionPosition | null
  /** What it shows is not older; null when it may be. */
  readonly maxStalenessMs: number | null
}

/** Positions that were asked so lately are not asked again. */
const askEveryMs = 10
/** A server that does not tell by then is passed over. */
const askWithinMs = 250
/** Moments of the primary that are kept; the older they are, the fewer. */
const samplesMax = 64

interface Sample extends SessionPosition {
  readonly atMs: number
}

interface Known extends ReplicaPosition {
  /** The position holds as long as this connection does: a server that was set up anew may be further back. */
  readonly session: Session
}

/** The progress of one shard's replicas. */
export class ReplicaProgress {
  readonly #clock: Clock
  readonly #replicas = new WeakMap<NodeAccess, Known>()
  #samples: Sample[] = []
  #ofPrimary: NodeAccess | null = null
  #term = -1
  #asking: Promise<void> | null = null
  #askedMs = -Infinity

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The same at once, of what is known already. */
  known(access: ShardAccess, wanted: Freshness): NodeAccess | null {
    return this.#isOf(access) ? this.#chosen(access.primary(), access.replicas(new Set()), wanted) : null
  }

  /** The first of the shard's replicas, least busy first, that is fresh enough; null when none is known to be. */
  async choose(
    access: ShardAccess,
    wanted: Freshness,
    { without, cancellation }: { without: ReadonlySet<NodeAccess>; cancellation: Cancellation },
  ): Promise<NodeAccess | null> {
    const replicas = access.replicas(without)
    if (replicas.length === 0) return null
    const primary = access.primary()
    if (!this.#isOf(access)) {
      this.#samples = []
      this.#ofPrimary = primary
      this.#term = access.record.term
    }
    const known = this.#chosen(primary, replicas, wanted)
    if (known !== null) return known
    if (this.#clock.monotonic() - this.#askedMs < askEveryMs && this.#asking === null) return null
    await cancellation.until(this.#ask(primary, replicas))
    return replicas.find((replica) => this.#fits(replica, wanted)) ?? null
  }

  /** What is known is of the shard as it is now. */
  #isOf(access: ShardAccess): boolean {
    return this.#ofPrimary === access.primary() && this.#term === access.record.term
  }

  #chosen(primary: NodeAccess, replicas: readonly NodeAccess[], wanted: Freshness): NodeAccess | null {
    const known = replicas.find((replica) => this.#fits(replica, wanted)) ?? null
    if (known !== null && this.#isHalfStale(known, wanted)) void this.#ask(primary, replicas)
    return known
  }

  #fits(replica: NodeAccess, { position, maxStalenessMs }: Freshness): boolean {
    const known = this.#replicas.get(replica)
    const latest = this.#samples.at(-1)
    if (known === undefined || latest === undefined || known.session.connection.state !== 'open') return false
    // What was lost with another timeline is on none of ours.
    if (known.timeline !== latest.timeline || known.term > this.#term) return false
    if (position !== null && (position.timeline !== known.timeline || known.lsn < position.lsn)) return false
    return maxStalenessMs === null || this.#stalenessMs(known) <= maxStalenessMs
  }

  #stalenessMs(known: Known): number {
    const seen = this.#samples.findLast(
      ({ timeline, lsn }) => timeline === known.timeline && lsn <= known.lsn,
    )
    return seen === undefined ? Infinity : this.#clock.monotonic() - seen.atMs
  }

  /** Asked before it is too late, nobody has to wait for the answer. */
  #isHalfStale(replica: NodeAccess, { maxStalenessMs }: Freshness): boolean {
    const known = this.#replicas.get(replica)
    if (maxStalenessMs === null || known === undefined || this.#asking !== null) return false
    const now = this.#clock.monotonic()
    return now - this.#askedMs >= askEveryMs && this.#stalenessMs(known) > maxStalenessMs / 2
  }

  /** Asks all at once; those who come meanwhile share the answer. */
  #ask(primary: NodeAccess, replicas: readonly NodeAccess[]): Promise<void> {
    this.#asking ??= this.#askAll(primary, replicas).finally(() => {
      this.#asking = null
      this.#askedMs = this.#clock.monotonic()
    })
    return this.#asking
  }

  async #askAll(primary: NodeAccess, replicas: readonly NodeAccess[]): Promise<void> {
    // Before the question is sent: the answer may be of any moment after.
    const atMs = this.#clock.monotonic()
    const asked = [
      this.#within(primary, async (session) => {
        const position = await askPrimary(session)
        if (position !== null && this.#ofPrimary === primary) this.#sample({ ...position, atMs })
      }),
      ...replicas.map((replica) =>
        this.#within(replica, async (session) => {
          const position = await askReplica(session)
          if (position !== null) this.#replicas.set(replica, { ...position, session })
          else this.#replicas.delete(replica)
        }),
      ),
    ]
    await Promise.all(asked)
  }

  /** Works on a session of the node, in a lane where there is one. Resolves when time is over, done or not. */
  #within({ pool }: NodeAccess, work: (session: Session) => Promise<void>): Promise<void> {
    const cancellation = new Cancellation()
    const run = async (): Promise<void> => {
      const lane = await pool.lane(cancellation)
      if (lane !== null) {
        await work(lane)
        pool.laneAdvanced()
        return
      }
      const session = await pool.borrow(cancellation)
      try {
        await work(session)
      } finally {
        pool.giveBack(session)
      }
    }
    return new Promise((resolve) => {
      const stop = this.#clock.after(askWithinMs, resolve)
      void run()
        .catch(() => undefined)
        .then(() => {
          stop()
          resolve()
        })
    })
  }

  /** Keeps the moment, and thins out the older ones: gaps may grow with age. */
  #sample(sample: Sample): void {
    const latest = this.#samples.at(-1)
    if (latest !== undefined && latest.timeline !== sample.timeline) this.#samples = []
    this.#samples.push(sample)
    if (this.#samples.length <= samplesMax) return
    const gapOf = (index: number): number => {
      const [before, it, after] = [this.#samples[index - 1], this.#samples[index], this.#samples[index + 1]]
      if (before === undefined || it === undefined || after === undefined) return Infinity
      return (after.atMs - before.atMs) / Math.max(1, sample.atMs - it.atMs)
    }
    let least = 0
    for (let index = 1; index < this.#samples.length - 1; index += 1)
      if (gapOf(index) < gapOf(least)) least = index
    this.#samples.splice(least, 1)
  }
}
