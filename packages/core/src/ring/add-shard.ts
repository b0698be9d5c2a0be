// Adding one shard to a ring.
import { createRingDealer } from './dealer.ts'
import type { ReceivingShard, RingChange } from './ring-change.ts'
import type { Ring } from './ring.ts'

/**
 * Adds a shard as the (n+1)th owner; see `createRingDealer`, which adds many without building the ring for each.
 * @throws FleetError `conflict` when the shard has tokens already
 */
export function addShard(ring: Ring, shard: ReceivingShard): RingChange {
  return createRingDealer(ring).add(shard)
}
