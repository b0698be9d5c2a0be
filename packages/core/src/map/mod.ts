// The shard map: which shard owns a key, at one epoch.
export { mayReplace } from './guard.ts'
export { ownerOfUntyped } from './untyped-key.ts'
export { buildShardMap, type Location, type PlacedRange, type ShardMap } from './shard-map.ts'
