// Looks at the cluster from outside again and again while a scenario runs: what may never be seen, at no moment.

/** One look: throws nothing where it cannot see, tells what is wrong by `breach`. */
export type Look = (breach: (text: string) => void) => Promise<void>

/** Looks that are taken in turns, every one of them until the end. */
export class Observer {
  readonly #looks: Look[] = []
  readonly #everyMs: number
  readonly #breach: (text: string) => void
  #taken = 0

  constructor(everyMs: number, breach: (text: string) => void) {
    this.#everyMs = everyMs
    this.#breach = breach
  }

  /** Looks taken so far. */
  get taken(): number {
    return this.#taken
  }

  add(look: Look): void {
    this.#looks.push(look)
  }

  /** Until the signal aborts. A look that fails has seen nothing: servers are down in scenarios. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      for (const look of this.#looks) {
        await look(this.#breach).then(
          () => (this.#taken += 1),
          () => undefined,
        )
      }
      await new Promise((resolve) => setTimeout(resolve, this.#everyMs))
    }
  }
}
