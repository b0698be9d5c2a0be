// A rebuild: a node becomes a replica, whatever it holds. Begun by the controller for one that does not follow any more,
// and by managers for an operator, who adds a node or has one made anew. SPEC.md, "Rebuilding".
import { randomUUID } from 'node:crypto'
import { FleetError, type JobRecord, type NodeRecord, type ShardRecord } from '@fleetshard/core'
import { newFailoverJob } from './job.ts'

/** Why, and on whose behalf. */
export interface RebuildReason {
  readonly by: 'health' | 'operator'
  readonly reason: string
  /** ISO 8601. */
  readonly now: string
}

/** The job; it is to be created in the commit that makes the node a standby. */
export function rebuildJob(
  shard: ShardRecord,
  { node, primary }: { readonly node: NodeRecord; readonly primary: NodeRecord },
  { by, reason, now }: RebuildReason,
): JobRecord {
  return newFailoverJob({
    id: `rebuild-${randomUUID()}`,
    keyspace: shard.keyspace,
    kind: 'rebuild',
    shard: shard.id,
    from: node.id,
    by,
    reason,
    now,
    state: 'degraded',
    detail: { to: primary.id, term: shard.term },
  })
}

/**
 * The shard with the node as a standby, which serves no reads; a node that it has not yet is added.
 * @throws FleetError `conflict` when another leads the shard than the job was made for
 */
export function withStandby(
  shards: readonly ShardRecord[],
  { shard, node }: { readonly shard: ShardRecord; readonly node: NodeRecord },
): ShardRecord {
  const now = shards.find(({ id }) => id === shard.id)
  const found = now?.nodes.find(({ id }) => id === node.id)
  if (now === undefined || now.term !== shard.term || found?.role === 'primary') {
    throw new FleetError('conflict', `shard ${shard.id} has changed meanwhile`, { hint: 'try again' })
  }
  const standby = { ...(found ?? node), role: 'standby' as const }
  const nodes = now.nodes.filter(({ id }) => id !== node.id)
  return { ...now, nodes: [...nodes, standby] }
}
