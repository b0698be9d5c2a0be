// Keeps a map from going back in time: after a restore, a failed-over catalog or a late answer, an older map must
// never replace a newer one.
import type { KeyspaceSnapshot } from '../model.ts'

/**
 * True when `offered` may take the place of `held`: its epoch is not lower, and of no shard in both is the term or
 * the version lower. A keyspace or shard that was dropped and made anew counts as another one.
 */
export function mayReplace(held: KeyspaceSnapshot | null, offered: KeyspaceSnapshot): boolean {
  if (held === null) return true
  if (held.keyspace.createdAt !== offered.keyspace.createdAt) {
    return Date.parse(offered.keyspace.createdAt) > Date.parse(held.keyspace.createdAt)
  }
  if (offered.epoch < held.epoch) return false
  const byId = new Map(held.shards.map((shard) => [shard.id, shard]))
  return offered.shards.every((shard) => {
    const known = byId.get(shard.id)
    if (known === undefined || known.createdAt !== shard.createdAt) return true
    return shard.term >= known.term && shard.version >= known.version
  })
}
