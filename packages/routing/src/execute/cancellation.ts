// One handle a request by which its client or its deadline gives it up, wherever it is at the moment.
import type { Clock, FleetError } from '@fleetshard/core'
import { Chain, type Linked } from './chain.ts'

/** Given up at most once; whoever works on the request says what to do then. */
export class Cancellation {
  #reason: FleetError | null = null
  #react: ((reason: FleetError) => void) | null = null

  /** Why the request was given up; null while it is wanted. */
  get reason(): FleetError | null {
    return this.#reason
  }

  /** Gives the request up. Later calls do nothing. */
  cancel(reason: FleetError): void {
    if (this.#reason !== null) return
    this.#reason = reason
    const react = this.#react
    this.#react = null
    react?.(reason)
  }

  /** What to do on cancel from now on; replaces what was said before. Called at once when it is too late. */
  whenCancelled(react: ((reason: FleetError) => void) | null): void {
    if (this.#reason !== null && react !== null) {
      react(this.#reason)
      return
    }
    this.#react = react
  }

  /** Waits for a promise as long as the request is wanted. What the promise stands for goes on without it. */
  until<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.whenCancelled(reject)
      // Taken back before whoever waits goes on: it may say at once what to do on cancel from then on.
      const leave = (): void => {
        if (this.#react === reject) this.#react = null
      }
      promise.then(
        (value) => {
          leave()
          resolve(value)
        },
        (error: unknown) => {
          leave()
          reject(error as Error)
        },
      )
    })
  }
}

interface Watched extends Linked<Watched> {
  readonly atMs: number
  readonly expire: () => void
}

/** How exact deadlines are, milliseconds. */
const sweepEveryMs = 10

/** Many deadlines on one timer, which runs only while there are some. */
export class DeadlineSweeper {
  readonly #clock: Clock
  readonly #watched = new Chain<Watched>()
  #running = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Calls `expire` once when `atMs` (monotonic) has passed; the returned function takes it back. */
  watch(atMs: number, expire: () => void): () => void {
    const watched: Watched = { atMs, expire, chain: null, before: null, behind: null }
    this.#watched.add(watched)
    this.#start()
    return () => {
      this.#watched.delete(watched)
    }
  }

  #start(): void {
    if (this.#running || this.#watched.size === 0) return
    this.#running = true
    this.#clock.after(sweepEveryMs, () => {
      this.#running = false
      this.#sweep()
    })
  }

  #sweep(): void {
    const now = this.#clock.monotonic()
    for (const watched of this.#watched.members()) {
      // One that is over may have taken back others.
      if (watched.atMs <= now && this.#watched.delete(watched)) watched.expire()
    }
    this.#start()
  }
}
