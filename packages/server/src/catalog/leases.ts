// Leases that keep themselves alive, and tell their loss before the store could give the key to another.
// The time left is counted from the moment a successful renewal was sent, on the monotonic clock: the store can
// only have counted from later.
import { FleetError, isFleetError, toFleetError, type Clock } from '@fleetshard/core'
import type { Logger } from '../runtime/mod.ts'
import type { CatalogStore, StoreLease } from './store.ts'

/** What leases and all that is built on them need. */
export interface LeaseDeps {
  readonly store: CatalogStore
  readonly clock: Clock
  readonly log: Logger
}

/** A lease that is renewed every third of its time until it is released or lost. */
export interface HeldLease extends AsyncDisposable {
  readonly lease: StoreLease
  /** Aborts, with a FleetError `lease_lost`, strictly before the store could let it expire. */
  readonly lost: AbortSignal
  /** True while the lease is certain: by the monotonic clock, since a timer may fire late. */
  isHeld(): boolean
  /** Revokes it, best effort, and aborts `lost`. Idempotent, never throws. */
  release(): Promise<void>
}

/** Held until this part of the time is left: for clocks that run at different rates, and for late timers. */
const marginPart = 10
const renewalsPerTtl = 3

/** @throws FleetError `catalog_unavailable` */
export async function holdLease(deps: LeaseDeps, ttlMs: number, signal?: AbortSignal): Promise<HeldLease> {
  const sentAtMs = deps.clock.monotonic()
  const lease = await deps.store.lease(ttlMs, signal)
  return new RenewedLease(deps, lease, ttlMs, sentAtMs)
}

class RenewedLease implements HeldLease {
  readonly lease: StoreLease
  readonly #deps: LeaseDeps
  readonly #ttlMs: number
  readonly #lost = new AbortController()
  #heldUntilMs: number
  #cancelTimer: () => void
  #renewing: Promise<void>
  #released: Promise<void> | null = null

  constructor(deps: LeaseDeps, lease: StoreLease, ttlMs: number, sentAtMs: number) {
    this.#deps = deps
    this.lease = lease
    this.#ttlMs = ttlMs
    this.#heldUntilMs = this.#deadline(sentAtMs)
    this.#cancelTimer = this.#arm()
    this.#renewing = this.#renew(sentAtMs)
  }

  get lost(): AbortSignal {
    return this.#lost.signal
  }

  isHeld(): boolean {
    return !this.lost.aborted && this.#deps.clock.monotonic() < this.#heldUntilMs
  }

  release(): Promise<void> {
    this.#released ??= this.#release()
    return this.#released
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release()
  }

  #deadline(sentAtMs: number): number {
    return sentAtMs + this.#ttlMs * (1 - 1 / marginPart)
  }

  #arm(): () => void {
    const leftMs = Math.max(0, this.#heldUntilMs - this.#deps.clock.monotonic())
    return this.#deps.clock.after(leftMs, () => {
      this.#lose('it could not be renewed in time')
    })
  }

  #lose(why: string): void {
    if (this.lost.aborted) return
    this.#cancelTimer()
    this.#lost.abort(new FleetError('lease_lost', `a lease of ${this.#ttlMs} ms was lost: ${why}`))
  }

  /** Never rejects. */
  async #renew(firstSentAtMs: number): Promise<void> {
    const { clock, log } = this.#deps
    let nextAtMs = firstSentAtMs + this.#ttlMs / renewalsPerTtl
    while (await this.#sleepUntil(nextAtMs)) {
      const sentAtMs = clock.monotonic()
      nextAtMs = sentAtMs + this.#ttlMs / renewalsPerTtl
      try {
        await this.lease.keepAlive(this.lost)
        this.#extend(sentAtMs)
      } catch (error) {
        if (this.lost.aborted) return
        if (isFleetError(error, 'lease_lost')) {
          this.#lose('the store has ended it')
          return
        }
        log.debug({ code: toFleetError(error).code }, 'a lease could not be renewed yet')
        nextAtMs = sentAtMs + this.#ttlMs / (renewalsPerTtl * marginPart)
      }
    }
  }

  /** False when the lease is over. */
  async #sleepUntil(atMs: number): Promise<boolean> {
    const { clock } = this.#deps
    await clock.sleep(Math.max(1, atMs - clock.monotonic()), this.lost).catch(() => undefined)
    return !this.lost.aborted
  }

  #extend(sentAtMs: number): void {
    // A lease that was not certain any more when the answer came has been given up by whoever asked isHeld.
    if (!this.isHeld()) {
      this.#lose('the answer to its renewal came too late')
      return
    }
    this.#cancelTimer()
    this.#heldUntilMs = this.#deadline(sentAtMs)
    this.#cancelTimer = this.#arm()
  }

  async #release(): Promise<void> {
    this.#lose('it was released')
    await this.#renewing
    await this.lease.revoke().catch((error: unknown) => {
      this.#deps.log.debug({ code: toFleetError(error).code }, 'a lease could not be revoked; it will expire')
    })
  }
}
