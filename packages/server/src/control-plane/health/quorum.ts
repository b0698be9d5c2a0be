// The arithmetic of quorums, pure: when nothing that was acknowledged can be missed, and who must confirm commits.
import type { CommitQuorum, Durability, NodeId, NodeRecord, ShardRecord } from '@fleetshard/core'

/** How many replicas must have a commit. */
export const requiredDefault = 1

/** The mode of a shard: that of its keyspace, else by the number of its replicas. */
export function durabilityOf(wanted: Durability | undefined, shard: ShardRecord): Durability {
  if (wanted !== undefined) return wanted
  return shard.nodes.length > 2 ? 'availability' : 'performance'
}

/** True when each set waits for replicas: then the old primary needs them to acknowledge anything. */
export function isSynchronous(sets: readonly (CommitQuorum | null)[]): boolean {
  return sets.length > 0 && sets.every((set) => set !== null)
}

/**
 * What is missing for the proof that an old primary, dead or alive, can acknowledge nothing more and that whoever is
 * the most advanced of `revoked` has everything that it did: of N listed, of which k must confirm, N − k + 1 must be
 * revoked and read. Null when the proof is there.
 */
export function missingProof(
  sets: readonly (CommitQuorum | null)[],
  revoked: ReadonlySet<NodeId>,
): string | null {
  if (!isSynchronous(sets)) return 'writes were acknowledged without a replica'
  for (const set of sets) {
    if (set === null) continue
    const have = set.members.filter((member) => revoked.has(member)).length
    const needed = set.members.length - set.required + 1
    if (have < needed) {
      return `${String(have)} of ${String(needed)} replicas (${set.members.join(', ')}) were cut off and read`
    }
  }
  return null
}

/**
 * Who confirms the commits of that primary; null for nobody. Those that are no replicas yet, or not any more, are none
 * of them as long as there are others: they would have to be asked if this primary died, too.
 */
export function quorumOf(
  mode: Durability,
  primary: NodeId,
  nodes: readonly Pick<NodeRecord, 'id' | 'agent' | 'role'>[],
): CommitQuorum | null {
  if (mode === 'performance') return null
  const others = nodes.filter(({ id, agent }) => id !== primary && agent !== null)
  const replicas = others.filter(({ role }) => role === 'replica')
  const members = (replicas.length === 0 ? others : replicas).map(({ id }) => id).toSorted()
  return members.length === 0 ? null : { members, required: Math.min(requiredDefault, members.length) }
}

/** True for the same members and number. */
export function isSameQuorum(a: CommitQuorum | null, b: CommitQuorum | null): boolean {
  if (a === null || b === null) return a === b
  return a.required === b.required && a.members.join(' ') === b.members.join(' ')
}
