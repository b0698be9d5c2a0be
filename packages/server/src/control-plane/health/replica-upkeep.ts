// Replicas that do not follow any more: one that was promoted by hand, that lost its slot or its log, or that is still a
// standby after a failover that was superseded. Each gets a job that makes it a replica again. SPEC.md, "Rebuilding".
import type { NodeId, NodeRecord, ShardRecord } from '@fleetshard/core'
import type { FailoverJob } from './job.ts'
import { effect, nowText, type Leading } from './parts.ts'
import { answerOf, type ShardProbe } from './probes.ts'
import { rebuildJob } from './rebuild.ts'
import { beginRebuild } from './shard-change.ts'

/** How long a replica may not stream before it is seen to: one that starts again, or a link that is cut for a while. */
const patienceMs = 15_000

/** What is kept of the replicas of a shard from one look to the next: since when each does not follow. */
export type ReplicaWatch = Map<NodeId, number>

/** A primary that is well, and its replicas as they were found. */
export interface ReplicaLook {
  readonly shard: ShardRecord
  readonly primary: NodeRecord
  readonly probe: ShardProbe
  /** Open failovers of the shard. */
  readonly open: readonly FailoverJob[]
  readonly watch: ReplicaWatch
}

/** Begins a rebuild for each replica that needs one. */
export async function keepReplicas(leading: Leading, look: ReplicaLook): Promise<void> {
  const { parts } = leading
  const { shard, primary, open, watch } = look
  const nowMs = parts.clock.monotonic()
  for (const node of shard.nodes) {
    const isMinded =
      node === primary || node.agent === null || open.some(({ detail }) => detail.from === node.id)
    const unfit = isMinded ? null : unfitness(look, node)
    if (unfit === null) {
      watch.delete(node.id)
      continue
    }
    const sinceMs = watch.get(node.id) ?? nowMs
    watch.set(node.id, sinceMs)
    if (unfit.waits && nowMs - sinceMs < patienceMs) continue
    watch.delete(node.id)
    await rebuild(leading, look, { node, reason: unfit.reason })
  }
}

/** Null for one that follows. `waits`: it may come back by itself. */
function unfitness(
  { probe }: ReplicaLook,
  node: NodeRecord,
): { readonly reason: string; readonly waits: boolean } | null {
  if (node.role === 'standby') return { reason: 'it serves nothing since a failover', waits: false }
  const found = answerOf(probe, node.id)
  if (found?.inRecovery === false) return { reason: 'it was promoted behind our back', waits: false }
  const senders = probe.primary?.kind === 'answered' ? probe.primary.probe.senders : []
  if (senders.some(({ name }) => name === node.id)) return null
  return { reason: found === null ? 'it does not answer' : 'it does not follow the primary', waits: true }
}

async function rebuild(
  leading: Leading,
  { shard, primary }: ReplicaLook,
  { node, reason }: { readonly node: NodeRecord; readonly reason: string },
): Promise<void> {
  const now = nowText(leading.parts)
  const record = rebuildJob(shard, { node, primary }, { by: 'health', reason, now })
  leading.parts.log.warn({ shard: shard.id, node: node.id, reason }, 'a replica is made anew')
  await effect(leading, 'rebuild', () => beginRebuild(leading, record, { shard, node }))
}
