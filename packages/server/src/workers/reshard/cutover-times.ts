// What each part of a cutover took, for the log: statements wait meanwhile, and so somebody will ask.
import type { Clock } from '@fleetshard/core'

/** Milliseconds by part; parts that ran at once overlap. */
export class CutoverTimes {
  readonly #clock: Clock
  readonly #began: number
  readonly #tookMs: Record<string, number> = {}

  constructor(clock: Clock) {
    this.#clock = clock
    this.#began = clock.monotonic()
  }

  /** Since the hold was begun. */
  elapsedMs(): number {
    return this.#clock.monotonic() - this.#began
  }

  /** Runs a part and keeps its time, also when it fails. */
  async of<T>(part: string, work: () => Promise<T>): Promise<T> {
    const began = this.#clock.monotonic()
    try {
      return await work()
    } finally {
      this.#tookMs[part] = round(this.#clock.monotonic() - began)
    }
  }

  /** For a log line. */
  toLog(): Readonly<Record<string, number>> {
    return { ...this.#tookMs, total: round(this.elapsedMs()) }
  }
}

const round = (ms: number): number => Math.round(ms * 10) / 10
