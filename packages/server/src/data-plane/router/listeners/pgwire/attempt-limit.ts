// How often somebody may be wrong: with a password, with the key of a cancel request. Whoever was wrong too often is not
// listened to for a while, right or not, so that guessing gets nowhere.
import type { Clock } from '@fleetshard/core'

/** How wrong one may be. */
export interface AttemptBounds {
  /** Wrong attempts in a row. */
  readonly attemptsMax: number
  /** After so long one more is allowed. */
  readonly renewMs: number
}

/** Of cancel requests of one address. A client whose query has just ended may be wrong in good faith. */
export const cancelBounds: AttemptBounds = { attemptsMax: 100, renewMs: 100 }
/** Of logins as one user from one address. */
export const loginBounds: AttemptBounds = { attemptsMax: 20, renewMs: 1_000 }

/** Who is remembered; those who were wrong longest ago are forgotten. */
const rememberedMax = 10_000
const keyCharsMax = 200

interface Remembered {
  /** Attempts that are not allowed again yet. */
  used: number
  /** Up to when renewal is counted in. */
  atMs: number
}

/** Counts wrong attempts by who makes them. */
export class AttemptLimit {
  readonly #clock: Clock
  readonly #bounds: AttemptBounds
  readonly #remembered = new Map<string, Remembered>()
  /** Wrong attempts, and those that were not looked at, since the start. */
  wrong = 0
  ignored = 0

  constructor(clock: Clock, bounds: AttemptBounds) {
    this.#clock = clock
    this.#bounds = bounds
  }

  /** Who is remembered at the moment. */
  get size(): number {
    return this.#remembered.size
  }

  /** Takes an attempt; false when it is not to be looked at. One that was not wrong is to be given back. */
  take(who: string): boolean {
    const key = who.slice(0, keyCharsMax)
    const now = this.#clock.monotonic()
    const known = this.#remembered.get(key) ?? { used: 0, atMs: now }
    const { attemptsMax, renewMs } = this.#bounds
    const renewed = Math.floor((now - known.atMs) / renewMs)
    known.used = Math.max(0, known.used - renewed)
    known.atMs = known.used === 0 ? now : known.atMs + renewed * renewMs
    if (known.used >= attemptsMax) {
      this.ignored += 1
      return false
    }
    known.used += 1
    this.#remembered.delete(key)
    this.#remembered.set(key, known)
    const [oldest] = this.#remembered.keys()
    if (this.#remembered.size > rememberedMax && oldest !== undefined) this.#remembered.delete(oldest)
    return true
  }

  /** The attempt was right, or none: it does not count. */
  giveBack(who: string): void {
    const key = who.slice(0, keyCharsMax)
    const known = this.#remembered.get(key)
    if (known === undefined) return
    known.used -= 1
    if (known.used <= 0) this.#remembered.delete(key)
  }
}
