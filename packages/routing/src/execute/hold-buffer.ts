// Statements for shards whose ranges are about to change hands: they wait for the next map, within bounds, and are
// then placed anew. What they feel is a pause.
import { FleetError, type Clock, type ShardMap, type ShardRecord } from '@fleetshard/core'
import type { Cancellation } from './cancellation.ts'
import { heldMax, heldMsMax } from './limits.ts'

/** What holding stands on. */
export interface HoldParts {
  readonly clock: Clock
  /** Resolves when the keyspace's map is newer than that one, or the time for it is over. */
  readonly newerMap: (map: ShardMap) => Promise<void>
}

/** Who waits. */
export interface HeldCall {
  readonly map: () => ShardMap
  readonly cancellation: Cancellation
}

/** Bounded in number and time. One for all statements of a listener. */
export class HoldBuffer {
  readonly #parts: HoldParts
  #held = 0

  constructor(parts: HoldParts) {
    this.#parts = parts
  }

  /** Statements that wait now. */
  get held(): number {
    return this.#held
  }

  /**
   * Waits until the map is newer than the one that holds the shard.
   * @throws FleetError `overloaded` when too many wait, `shard_unavailable` when it takes too long, the cancellation's
   * reason
   */
  async wait(shard: ShardRecord, map: ShardMap, { map: now, cancellation }: HeldCall): Promise<void> {
    if (this.#held >= heldMax) {
      throw new FleetError('overloaded', `${String(heldMax)} statements wait for a shard that is being moved`)
    }
    const deadlineMs = this.#parts.clock.monotonic() + heldMsMax
    this.#held += 1
    try {
      while (now().epoch <= map.epoch) {
        if (this.#parts.clock.monotonic() >= deadlineMs) {
          throw new FleetError(
            'shard_unavailable',
            `shard ${shard.name} has been held for a move for too long`,
            {
              hint: 'see the job of the move: fleetshard job list',
            },
          )
        }
        await cancellation.until(this.#parts.newerMap(map))
        if (cancellation.reason !== null) throw cancellation.reason
      }
    } finally {
      this.#held -= 1
    }
  }
}
