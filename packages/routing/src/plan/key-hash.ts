// Where the keys of a call lie on the ring, for records that must move along with them.
import { isFleetError, type ShardMap } from '@fleetshard/core'
import type { KnownStatement } from './cache.ts'
import { keysOf } from './placement.ts'
import { planOf } from './plan.ts'
import { keysOfSlot } from './slot-values.ts'
import { slotKey } from './slot-key.ts'

/** What a call shows of its keys. */
export interface KeyedCall {
  readonly statements: readonly { readonly known: KnownStatement; readonly params: readonly unknown[] }[]
  readonly shardKey?: string | number | undefined
}

/** The hash of the first key that the call names or shows, unsigned decimal; null when there is none. */
export function keyHashOf({ statements, shardKey }: KeyedCall, map: ShardMap): string | null {
  for (const { known, params } of statements) {
    const plan = planOf(known, map)
    const [keys] = keysOf(plan)
    const type =
      keys?.table.keyType ?? (plan.kind === 'unkeyed' ? plan.keyType : null) ?? map.keyType ?? 'text'
    const slot = keys?.slots[0]
    try {
      if (shardKey !== undefined) return map.locate(slotKey(shardKey, type), type).hash
      const key = slot === undefined ? undefined : keysOfSlot(slot, { params }, type)[0]
      if (key !== undefined) return map.locate(key, type).hash
    } catch (error) {
      // A keyspace with one shard takes keys that have no place on the ring.
      if (!isFleetError(error, 'invalid_shard_key')) throw error
    }
  }
  return null
}
