// The hash ring: packed tokens, ownership, and changes of it as pure functions.
export { addShard } from './add-shard.ts'
export { createRingDealer, firstShard, type RingDealer } from './dealer.ts'
export { handOver, mergeShards, removeShard, splitShard } from './changes.ts'
export type { HandOver, MergeShards, SplitShard } from './changes.ts'
export type { RangeMove, ReceivingShard, RingChange } from './ring-change.ts'
export { contiguousRange, rangesByShard, rangesOf, shareOf, vnodeRanges } from './ranges.ts'
export { buildRing, lookupRing, tokenOf, type HashRange, type Ring, type RingShard } from './ring.ts'
export { packTokens, tokensPerShardMax, unpackTokens, vnodeCountDefault } from './tokens.ts'
