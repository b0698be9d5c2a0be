// What follows once the map names the new primary: is it one, do its replicas confirm, and how the former primary comes
// back; and the way back before anything was promoted.
import { toFleetError, type NodeId, type NodeRecord, type ShardRecord } from '@fleetshard/core'
import { termOf } from './fence.ts'
import { agentOf, effect, nodeOf, upstreamOf, within } from './parts.ts'
import { letGo, welcomeBack } from './shard-change.ts'
import { repoint, setsOf, type StepContext, type StepOutcome } from './steps.ts'

const checkMsMax = 3_000
const confirmMsMax = 2_000
/** A clone takes as long as the data is large; its agent goes on when the order is given up. */
const rejoinMsMax = 24 * 3_600_000
const startMsMax = 30_000

/** `map_updated`: the new primary is none in name only. */
export async function checkSuccessor({ leading, job, shard }: StepContext): Promise<StepOutcome> {
  const { parts } = leading
  const to = successor(shard, job.detail.to)
  using signal = within(leading, checkMsMax)
  const target = await parts.target(to, signal)
  const probe = await parts.engine('postgres').probe(target, { signal, timeoutMs: checkMsMax })
  if (probe.inRecovery) return { kind: 'wait', reason: `${to.id} is still in recovery` }
  if (job.detail.timeline !== null && probe.timeline !== job.detail.timeline) {
    return { kind: 'wait', reason: `${to.id} is on timeline ${String(probe.timeline)}` }
  }
  return { kind: 'event', event: 'checked' }
}

/** `verifying`: a write of the new primary is durable, and where commits wait for replicas, confirmed. */
export async function verifyWrite(context: StepContext): Promise<StepOutcome> {
  const { leading, job, shard } = context
  const { parts } = leading
  const to = successor(shard, job.detail.to)
  await repoint(context, to)
  using signal = within(leading, confirmMsMax + checkMsMax)
  const target = await parts.target(to, signal)
  const quorum = (await setsOf(leading, shard)).at(-1) ?? null
  const isConfirmed = await parts
    .engine('postgres')
    .confirmWrite(target, quorum, { signal, timeoutMs: confirmMsMax })
  if (!isConfirmed) {
    const reason = `writes wait: ${String(quorum?.required ?? 0)} of ${quorum?.members.join(', ') ?? ''} must confirm`
    return { kind: 'wait', reason, change: { verified: false } }
  }
  return { kind: 'event', event: 'verified', change: { verified: true } }
}

/** `degraded`: until the agent of the former primary answers. */
export async function reachFormer({ leading, job, shard }: StepContext): Promise<StepOutcome> {
  const from = former(shard, job.detail.from)
  if (from === null) return gone('reached')
  using signal = within(leading, checkMsMax)
  const agent = await agentOf(leading, from, signal)
  await agent.get(from.id, signal)
  return { kind: 'event', event: 'reached' }
}

/** `rejoining`: it becomes a replica, whatever it holds. */
export async function rejoinFormer({ leading, job, shard }: StepContext): Promise<StepOutcome> {
  const from = former(shard, job.detail.from)
  if (from === null) return gone('rejoined')
  const of = successor(shard, job.detail.to)
  using signal = within(leading, rejoinMsMax)
  const agent = await agentOf(leading, from, signal)
  const { way } = await effect(leading, 'rejoin', () =>
    agent.rejoin(from.id, { ...upstreamOf(from, of), ...termOf(job) }, signal),
  )
  return { kind: 'event', event: 'rejoined', change: { rejoinedBy: way } }
}

/** `catching_up`: the former primary streams; then it serves reads again. Others are replica-upkeep's affair. */
export async function awaitFormer({ leading, job, shard }: StepContext): Promise<StepOutcome> {
  const { parts } = leading
  const to = successor(shard, job.detail.to)
  using signal = within(leading, checkMsMax)
  const target = await parts.target(to, signal)
  const { senders } = await parts.engine('postgres').probe(target, { signal, timeoutMs: checkMsMax })
  const streaming = new Set(senders.filter(({ state }) => state === 'streaming').map(({ name }) => name))
  const from = former(shard, job.detail.from)
  if (from !== null && from.agent !== null && !streaming.has(from.id)) {
    return { kind: 'wait', reason: `${from.id} does not stream yet` }
  }
  await effect(leading, 'welcome back', () => welcomeBack(leading, job))
  return { kind: 'committed' }
}

/** `retreating`: the old primary leads on, its replicas follow it again, and statements are let go. */
export async function retreat({ leading, job, shard }: StepContext): Promise<StepOutcome> {
  const old = nodeOf(shard, job.detail.from)
  try {
    using signal = within(leading, startMsMax)
    const agent = await agentOf(leading, old, signal)
    await effect(leading, 'start again', () => agent.start(old.id, { unfence: true, ...termOf(job) }, signal))
    const others = shard.nodes.filter(({ id }) => id !== old.id)
    await Promise.allSettled(
      others.map(async (node) =>
        (await agentOf(leading, node, signal)).follow(
          node.id,
          { ...upstreamOf(node, old), wait: false, ...termOf(job) },
          signal,
        ),
      ),
    )
  } catch (error) {
    leading.signal.throwIfAborted()
    leading.parts.log.warn(
      { shard: shard.id, reason: toFleetError(error).message },
      'the old primary could not be started again; its agent goes on trying, if it lives',
    )
  }
  await effect(leading, 'let go', () => letGo(leading, job))
  return { kind: 'committed' }
}

function successor(shard: ShardRecord, to: NodeId | null): NodeRecord {
  return nodeOf(shard, to ?? ('' as NodeId))
}

/** Null when it was taken out of the shard meanwhile. */
function former(shard: ShardRecord, id: NodeId): NodeRecord | null {
  return shard.nodes.find((node) => node.id === id) ?? null
}

/** Nobody is left to come back. */
const gone = (event: 'reached' | 'rejoined'): StepOutcome => ({ kind: 'event', event })
