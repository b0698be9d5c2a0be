// What each statement has cost so far, by its text with the values left out: the most used ones, within a bound.

/** Figures of one statement. */
export interface StatementFigures {
  readonly fingerprint: string
  calls: number
  errors: number
  totalMs: number
  maxMs: number
  rows: number
  /** Ids of the shards that it ran on. */
  readonly shards: Set<string>
}

/** One run. */
export interface StatementRunFigures {
  readonly elapsedMs: number
  readonly rows: number
  readonly failed: boolean
  readonly shard: string | null
}

/** Statements that are kept. */
const statementsMaxDefault = 1_000
/** Characters of a text that are kept. */
const textMax = 500
const shardsMax = 64

/** Counts by statement. */
export class StatementStats {
  readonly #max: number
  readonly #figures = new Map<string, StatementFigures>()

  constructor(max = statementsMaxDefault) {
    this.#max = max
  }

  record(fingerprint: string, run: StatementRunFigures): void {
    const figures = this.#figures.get(fingerprint) ?? this.#begin(fingerprint)
    figures.calls += 1
    figures.totalMs += run.elapsedMs
    figures.rows += run.rows
    if (run.failed) figures.errors += 1
    if (run.elapsedMs > figures.maxMs) figures.maxMs = run.elapsedMs
    if (run.shard !== null && figures.shards.size < shardsMax) figures.shards.add(run.shard)
  }

  /** Those that took the most time, the first first. */
  top(count: number): readonly StatementFigures[] {
    return [...this.#figures.values()].toSorted((left, right) => right.totalMs - left.totalMs).slice(0, count)
  }

  #begin(fingerprint: string): StatementFigures {
    if (this.#figures.size >= this.#max) this.#dropLeast()
    const figures: StatementFigures = {
      fingerprint: fingerprint.slice(0, textMax),
      calls: 0,
      errors: 0,
      totalMs: 0,
      maxMs: 0,
      rows: 0,
      shards: new Set(),
    }
    this.#figures.set(fingerprint, figures)
    return figures
  }

  /** Makes room at once for many, so that it is seldom done. */
  #dropLeast(): void {
    const least = [...this.#figures]
      .toSorted(([, left], [, right]) => left.totalMs - right.totalMs)
      .slice(0, Math.ceil(this.#max / 10))
    for (const [fingerprint] of least) this.#figures.delete(fingerprint)
  }
}
