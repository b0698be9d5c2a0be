// The fence: after it the old primary can acknowledge nothing more, whoever still talks to it. SPEC.md, invariants 2
// and 3.
import {
  parseLsn,
  toFleetError,
  type NodeId,
  type NodeRecord,
  type QuorumRecord,
  type ShardRecord,
} from '@fleetshard/core'
import type { FenceReport } from '../../agent-api/mod.ts'
import type { FailoverDetail, FailoverJob } from './job.ts'
import { agentOf, effect, nodeOf, within, type Leading } from './parts.ts'
import { missingProof } from './quorum.ts'

/** One order of a fence; a server that is asked to stop in order may need longer. */
const orderMsMax = 6_000

/** How long the agent of the old primary gets to say that it has stopped it, once that is not needed any more. */
const deathGraceMs = 500

/** What the fence has found out. */
export interface Fenced {
  /** Null: it does not hold yet, for the reason in `missing`. */
  readonly proof: FailoverDetail['proof']
  readonly missing: string
  readonly shutdownPosition: string | null
}

/**
 * Stops the old primary, takes the upstream of every replica away, and says whether that is a proof. Repeatable. In a
 * switchover the old primary stops in order first, so that its replicas get all it has.
 */
export async function fence(
  leading: Leading,
  job: FailoverJob,
  { shard, sets }: { readonly shard: ShardRecord; readonly sets: QuorumRecord['sets'] },
): Promise<Fenced> {
  const { detail } = job
  const isPlanned = detail.kind === 'switchover'
  const old = nodeOf(shard, detail.from)
  const others = shard.nodes.filter(({ id }) => id !== old.id)
  const stopping = stop(leading, job, old).then(fencedByDeath)
  if (isPlanned) await stopping.catch(() => undefined)
  const cutOff = new Set<NodeId>()
  const revoking = Promise.allSettled(
    others.map(async (node) => {
      await revoke(leading, job, node)
      cutOff.add(node.id)
    }),
  )
  // An agent that is cut off with its server is not waited for where the replicas are proof enough.
  const proven = revoking.then(async () => {
    if (isPlanned || detail.force || missingProof(sets, cutOff) !== null) return stopping
    await leading.parts.clock.sleep(deathGraceMs, leading.signal)
    return { ...withoutDeath(job, { sets, cutOff, reason: 'it was not waited for' }), shutdownPosition: null }
  })
  const [death] = await Promise.allSettled([Promise.race([stopping, proven])])
  await revoking
  if (death.status === 'fulfilled') return death.value
  const reason = toFleetError(death.reason).message
  if (isPlanned)
    return { proof: null, missing: `the primary does not stop: ${reason}`, shutdownPosition: null }
  return { ...withoutDeath(job, { sets, cutOff, reason }), shutdownPosition: null }
}

function fencedByDeath({ server, control }: FenceReport): Fenced {
  const shutdownPosition = control?.clean === true ? control.checkpoint_lsn : null
  if (shutdownPosition !== null) parseLsn(shutdownPosition)
  const text = `its agent has stopped ${server.id} and starts it for nobody`
  return { proof: { kind: 'death', text }, missing: '', shutdownPosition }
}

function withoutDeath(
  { detail }: FailoverJob,
  {
    sets,
    cutOff,
    reason,
  }: { readonly sets: QuorumRecord['sets']; readonly cutOff: ReadonlySet<NodeId>; readonly reason: string },
): Pick<Fenced, 'proof' | 'missing'> {
  const missing = missingProof(sets, cutOff)
  if (missing === null) {
    const text = `${[...cutOff].join(', ')} receive nothing any more: no commit can be confirmed`
    return { proof: { kind: 'quorum', text }, missing: '' }
  }
  if (detail.force) {
    return { proof: { kind: 'forced', text: `the operator answers for it: ${reason}` }, missing: '' }
  }
  return { proof: null, missing: `the old primary cannot be confirmed dead (${reason}), and ${missing}` }
}

async function stop(leading: Leading, job: FailoverJob, node: NodeRecord): Promise<FenceReport> {
  using signal = within(leading, orderMsMax)
  const agent = await agentOf(leading, node, signal)
  const mode = job.detail.kind === 'switchover' ? ('fast' as const) : ('immediate' as const)
  return await effect(leading, 'fence', () => agent.fence(node.id, { mode, ...termOf(job) }, signal))
}

async function revoke(leading: Leading, job: FailoverJob, node: NodeRecord): Promise<void> {
  using signal = within(leading, orderMsMax)
  const agent = await agentOf(leading, node, signal)
  await effect(leading, `detach ${node.id}`, () => agent.detach(node.id, termOf(job), signal))
}

/** The term that orders of the job are given in. */
export function termOf({ detail }: FailoverJob): { readonly term?: number } {
  return detail.term === null ? {} : { term: detail.term }
}
