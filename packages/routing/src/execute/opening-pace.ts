// How fast a pool grows. A burst of statements is over sooner than many connections are there, and opening them takes
// the time of those who work: beyond a few, the first in the line waits as long as it takes to open one before another
// is opened, and one is opened at a time. Where the way is long, several are.
import type { Clock } from '@fleetshard/core'
import { openedAtOnceMax, openPatienceMsMax } from './limits.ts'

/** What is there when somebody waits. */
export interface Opening {
  /** Since when the first waits; null for nobody. */
  readonly sinceMs: number | null
  /** Connections that may come free, those that are being opened among them. */
  readonly connections: number
  /** Of those, the ones that are being opened. */
  readonly opening: number
}

/** Decides when one more connection is opened. */
export class OpeningPace {
  readonly #clock: Clock
  readonly #onTime: () => void
  #stopTimer: (() => void) | null = null
  /** How long it took to open the last one. */
  #openMs = 0

  /** @param onTime called when the first in the line has waited long enough; it is to ask again */
  constructor(clock: Clock, onTime: () => void) {
    this.#clock = clock
    this.#onTime = onTime
  }

  /** One was opened, in so many milliseconds. */
  opened(tookMs: number): void {
    this.#openMs = tookMs
  }

  /** False also where it will be right a little later: `onTime` is called then. */
  mayOpen({ sinceMs, connections, opening }: Opening): boolean {
    if (sinceMs === null || connections < openedAtOnceMax) return true
    // The next look is when one of them is there.
    if (opening > this.#openMs / openPatienceMsMax) return false
    const patienceMs = Math.min(this.#openMs, openPatienceMsMax)
    const leftMs = Math.ceil(sinceMs + patienceMs - this.#clock.monotonic())
    if (leftMs <= 0) return true
    this.#stopTimer ??= this.#clock.after(leftMs, () => {
      this.#stopTimer = null
      this.#onTime()
    })
    return false
  }

  /** Nothing is called any more. */
  stop(): void {
    this.#stopTimer?.()
    this.#stopTimer = null
  }
}
