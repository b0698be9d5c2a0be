// A bounded number of transactions for each shard: those beyond wait in line instead of being refused by the pool.
import type { Cancellation } from '@fleetshard/routing/execute'

interface Gate {
  inside: number
  readonly waiting: Set<() => void>
}

/** Gates by the shard's id. */
export class Gates {
  readonly #max: number
  readonly #gates = new Map<string, Gate>()

  /** @param max how many may be inside at a time */
  constructor(max: number) {
    this.#max = max
  }

  /**
   * Waits until there is room; the returned function leaves, once.
   * @throws FleetError the cancellation's reason
   */
  async enter(shard: string, cancellation: Cancellation): Promise<() => void> {
    let gate = this.#gates.get(shard)
    if (gate === undefined) this.#gates.set(shard, (gate = { inside: 0, waiting: new Set() }))
    if (gate.inside >= this.#max) await this.#wait(gate, cancellation)
    else gate.inside += 1
    return this.#leaver(shard, gate)
  }

  async #wait(gate: Gate, cancellation: Cancellation): Promise<void> {
    let inside = false
    const { promise, resolve } = Promise.withResolvers<void>()
    const enter = (): void => {
      inside = true
      resolve()
    }
    gate.waiting.add(enter)
    try {
      await cancellation.until(promise)
    } catch (error) {
      gate.waiting.delete(enter)
      // Given up in the moment in which it was let in.
      if (inside) this.#next(gate)
      throw error
    }
  }

  #leaver(shard: string, gate: Gate): () => void {
    let left = false
    return () => {
      if (left) return
      left = true
      this.#next(gate)
      if (gate.inside === 0) this.#gates.delete(shard)
    }
  }

  /** The place goes to the next in line. */
  #next(gate: Gate): void {
    const [next] = gate.waiting
    if (next === undefined) {
      gate.inside -= 1
      return
    }
    gate.waiting.delete(next)
    next()
  }
}
