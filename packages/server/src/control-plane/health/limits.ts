// What cannot be done for a shard, pure: servers that no agent runs are watched, and nothing more; and too few replicas
// for what the keyspace asks for. Told by the API and by the doctor.
import type { Durability, ShardRecord } from '@fleetshard/core'
import { durabilityOf } from './quorum.ts'

/** One sentence for each; none where everything can be done. */
export function limitsOf(shard: ShardRecord, wanted: Durability | undefined): readonly string[] {
  const primary = shard.nodes.find(({ role }) => role === 'primary')
  const others = shard.nodes.filter((node) => node !== primary)
  const limits: string[] = []
  if (primary?.agent === null) {
    limits.push(
      `no agent runs the primary ${primary.id}: when it dies nobody can confirm that, and nothing is promoted; ` +
        'what its provider does behind the same endpoint is followed',
    )
    if (wanted !== undefined && wanted !== 'performance') {
      limits.push(`commits wait for what ${primary.id} is set to, whatever ${wanted} asks for`)
    }
  }
  const alone = others.filter(({ agent }) => agent === null).map(({ id }) => id)
  if (alone.length > 0) {
    limits.push(`no agent runs ${alone.join(', ')}: read from, and neither promoted nor made anew`)
  }
  if (durabilityOf(wanted, shard) === 'protection' && others.length < 2) {
    limits.push(
      others.length === 0
        ? 'there is no replica that could confirm commits'
        : 'after a failover no replica is left to confirm commits: writes wait until the former primary is back',
    )
  }
  return limits
}
