// What the bench of failovers asks of whoever takes over from a primary that is gone: the product, and its peers.
import type { RoamingTarget } from '../../load/roaming-writer.ts'

/**
 * What happens to a primary, in this order. `cut link`: it runs on, and nobody but its own host reaches it or is reached
 * by it; last, since its links stay in the way of all that comes behind.
 */
export const FAULTS = ['switchover', 'kill -9', 'SIGSTOP', 'cut link'] as const

/** One of {@link FAULTS}. */
export type Fault = (typeof FAULTS)[number]

/** What was done to a primary. */
export interface Strike {
  /** When it happened, `performance.now()`. */
  readonly atMs: number
  /** True when another server leads. */
  readonly isOver: () => Promise<boolean>
  /** Undoes what the fault left, once another leads. */
  readonly mend: () => Promise<void> | void
}

/** A cluster whose primaries are hurt. Disposing ends it and removes its files. */
export interface Contestant extends AsyncDisposable {
  readonly name: string
  readonly target: RoamingTarget
  /** Resolves when there is a primary, and all that would take over from it are at hand. @throws Error when it takes too long */
  whole(): Promise<void>
  strike(fault: Fault): Promise<Strike>
}

const pollMs = 20
const patienceMs = 180_000

/** Looks until the condition holds; what it throws counts as no. @throws Error after three minutes */
export async function untilTrue(what: string, look: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = performance.now() + patienceMs
  let last: unknown = null
  while (performance.now() < deadline) {
    try {
      if (await look()) return
    } catch (error) {
      last = error
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs))
  }
  throw new Error(`gave up waiting until ${what}`, { cause: last })
}
