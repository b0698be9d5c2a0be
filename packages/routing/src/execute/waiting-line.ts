// Those who wait for a connection to one node: first come, first served, each for so long at most.
import type { Clock, FleetError } from '@fleetshard/core'
import type { Cancellation, DeadlineSweeper } from './cancellation.ts'
import { Chain, type Linked } from './chain.ts'
import type { Session } from './session.ts'

/** Who gets a session; one of both is called, once. */
export interface Taker {
  /** Null, for lanes only: there is none to wait for. */
  give(session: Session | null): void
  fail(error: FleetError): void
}

/** What a line is made of. */
export interface WaitingLineParts {
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  readonly waitMs: number
  /** How long one may wait as things are: where there is no connection at all, it is the node that is waited for. */
  readonly patientMs: () => number
  /** Told how long each has waited who was given something. */
  readonly onWaited?: ((waitedMs: number) => void) | undefined
  /** What is said to one who has waited for too long. */
  readonly late: () => FleetError
}

interface Waiter extends Linked<Waiter> {
  readonly taker: Taker
  readonly sinceMs: number
  readonly cancellation: Cancellation
}

/** One line. */
export class WaitingLine {
  readonly #parts: WaitingLineParts
  readonly #waiters = new Chain<Waiter>()
  /** One watch for all: who came first is late first. */
  #isWatched = false

  constructor(parts: WaitingLineParts) {
    this.#parts = parts
  }

  get length(): number {
    return this.#waiters.size
  }

  /** Since when the first has waited; null for nobody. */
  get sinceMs(): number | null {
    return this.#waiters.first?.sinceMs ?? null
  }

  /** Puts a taker at the end. `cancellation`, which must not be over yet, takes it out again. */
  add(taker: Taker, cancellation: Cancellation): void {
    const sinceMs = this.#parts.clock.monotonic()
    const waiter: Waiter = { taker, sinceMs, cancellation, chain: null, before: null, behind: null }
    this.#waiters.add(waiter)
    cancellation.whenCancelled((reason) => {
      if (this.#waiters.delete(waiter)) taker.fail(reason)
    })
    this.#watch()
  }

  /** Gives the first what it waits for. */
  give(session: Session | null): void {
    const { first } = this.#waiters
    if (first !== null) this.#parts.onWaited?.(this.#parts.clock.monotonic() - first.sinceMs)
    this.#leave()?.give(session)
  }

  /** Tells all of now why there is nothing for them. */
  failAll(error: FleetError): void {
    for (let left = this.#waiters.size; left > 0; left -= 1) this.#leave()?.fail(error)
  }

  /** Takes the first out. */
  #leave(): Taker | null {
    const { first } = this.#waiters
    if (first === null) return null
    this.#waiters.delete(first)
    first.cancellation.whenCancelled(null)
    return first.taker
  }

  #watch(): void {
    const { first } = this.#waiters
    if (this.#isWatched || first === null) return
    this.#isWatched = true
    const { clock, late, patientMs, sweeper, waitMs } = this.#parts
    const lateMs = first.sinceMs + waitMs
    const untilMs = clock.monotonic() < lateMs ? lateMs : first.sinceMs + patientMs()
    sweeper.watch(untilMs, () => {
      this.#isWatched = false
      const begunMs = clock.monotonic() - patientMs()
      while (this.#waiters.first !== null && this.#waiters.first.sinceMs <= begunMs)
        this.#leave()?.fail(late())
      this.#watch()
    })
  }
}
