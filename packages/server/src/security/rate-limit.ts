// Token buckets by name: how many requests one caller may send, and how many times one address may fail to log in.
// Bounded: the names that were heard of longest ago are forgotten first.
import { FleetError, type Clock } from '@fleetshard/core'

/** Names that are remembered. */
export const limitedNamesMax = 10_000

/** Times the burst that may be owed by those who were not asked to wait. */
const owedBurstsMax = 10

/** One kind of limit. */
export interface RateLimitOptions {
  readonly clock: Clock
  /** What comes back in a second; 0 for no limit at all. */
  readonly perSecond: number
  /** What may be used at once. */
  readonly burst: number
  /** Of the error: `requests of ci`. */
  readonly what: (name: string) => string
  /** What to do, where it is not what the catalogue says. */
  readonly hint?: string
}

interface Bucket {
  left: number
  atMs: number
}

/** Limits by name. */
export class RateLimit {
  readonly #options: RateLimitOptions
  readonly #buckets = new Map<string, Bucket>()

  constructor(options: RateLimitOptions) {
    this.#options = options
  }

  /**
   * Takes so many, where there is one left: what is more is owed, and holds up the next ones.
   * @throws FleetError `rate_limited` with the time to wait
   */
  use(name: string, count = 1): void {
    this.check(name)
    if (this.#options.perSecond > 0) this.#bucketOf(name).left -= count
  }

  /** @throws FleetError `rate_limited` when there is none left */
  check(name: string): void {
    const { perSecond, what, hint } = this.#options
    if (perSecond === 0) return
    const bucket = this.#buckets.get(name)
    if (bucket === undefined) return
    this.#refill(bucket)
    if (bucket.left >= 1) return
    throw new FleetError('rate_limited', `too many ${what(name)}`, {
      ...(hint === undefined ? {} : { hint }),
      facts: { retry_after_ms: Math.ceil(((1 - bucket.left) / perSecond) * 1000) },
    })
  }

  /** Takes one without a look at what is left: many at a time that passed the check together are owed, up to a bound. */
  count(name: string): void {
    if (this.#options.perSecond === 0) return
    const bucket = this.#bucketOf(name)
    bucket.left = Math.max(-owedBurstsMax * this.#options.burst, bucket.left - 1)
  }

  #bucketOf(name: string): Bucket {
    const { burst, clock } = this.#options
    const bucket = this.#buckets.get(name) ?? { left: burst, atMs: clock.monotonic() }
    this.#buckets.delete(name)
    this.#buckets.set(name, bucket)
    this.#refill(bucket)
    const [oldest] = this.#buckets.keys()
    if (this.#buckets.size > limitedNamesMax && oldest !== undefined) this.#buckets.delete(oldest)
    return bucket
  }

  #refill(bucket: Bucket): void {
    const { clock, perSecond, burst } = this.#options
    const nowMs = clock.monotonic()
    bucket.left = Math.min(burst, bucket.left + ((nowMs - bucket.atMs) / 1000) * perSecond)
    bucket.atMs = nowMs
  }
}
