// The nodes of a shard, changed by an operator: one more replica, one fewer, one made anew. What takes long is a job of
// the health leader.
import { FleetError, parseNodeId, type JobRecord, type NodeRecord, type ShardRecord } from '@fleetshard/core'
import { parseFailoverDetail, rebuildJob, withStandby } from '../../health/mod.ts'
import type { NodeAddition } from '@fleetshard/core/contract'
import type { Work } from '../parts.ts'
import { primaryOf } from './fence.ts'
import { failoversOf } from './promote.ts'

/** How long the primary gets to do without a node that confirmed commits. */
const quorumMsMax = 30_000
const pollMs = 200

/**
 * Adds a replica, beside the primary or on the host of another agent; its data are copied by the job that is returned.
 * @throws FleetError `not_found`, `conflict` where no agent runs the primary, those of the agent
 */
export async function addNode(work: Work, id: string, order: NodeAddition): Promise<JobRecord> {
  const { parts, signal } = work
  const { shard } = parts.fleet.shard(id)
  const primary = primaryOf(shard)
  refuseHeld(shard)
  const ofAgent = agentOf(primary, 'clone it yourself and add it: fleetshard shard update SHARD --replica …')
  const { agent = ofAgent, reason = 'added by an operator' } = order
  const replica = { agent, of: primary.id, ofAgent, name: shard.id }
  const server = await parts.servers.beginReplica(replica, signal)
  const node: NodeRecord = {
    ...primary,
    id: parseNodeId(server.id),
    role: 'standby',
    host: server.host,
    port: server.port,
    tls: server.tls ?? 'disable',
    agent,
    ...(agent === ofAgent ? {} : { region: null, zone: null }), // of the primary's host, and of that alone
  }
  try {
    return await begin(work, { shard, node }, reason)
  } catch (error) {
    await parts.servers.drop(agent, server.id, AbortSignal.timeout(quorumMsMax)).catch(() => undefined)
    throw error
  }
}

/** Makes a replica anew. @throws FleetError `not_found`, `conflict` for a primary, or while it is being made already */
export async function rebuildNode(
  work: Work,
  { shard: id, node: nodeId }: { readonly shard: string; readonly node: string },
  reason: string | undefined,
): Promise<JobRecord> {
  const { shard } = work.parts.fleet.shard(id)
  const node = replicaOf(shard, nodeId)
  refuseHeld(shard)
  agentOf(node, 'make it anew yourself')
  const open = failoversOf(work.parts, shard.id).find(
    ({ status, detail }) =>
      (status === 'pending' || status === 'running') && parseFailoverDetail(detail).from === node.id,
  )
  if (open !== undefined) {
    throw new FleetError('conflict', `the job ${open.id} brings ${node.id} back already`, {
      facts: { job_id: open.id },
    })
  }
  return begin(work, { shard, node }, reason ?? 'asked for by an operator')
}

/**
 * Takes a replica out of the shard, then removes its server, once no commit counts on it.
 * @returns false when the server stays: nobody runs it that could remove it, or commits still count on it
 * @throws FleetError `not_found`, `conflict` for a primary, and for the last replica under `protection`
 */
export async function removeNode(
  work: Work,
  { shard: id, node: nodeId }: { readonly shard: string; readonly node: string },
): Promise<boolean> {
  const { parts, change, signal } = work
  const { shard, snapshot } = parts.fleet.shard(id)
  const node = replicaOf(shard, nodeId)
  refuseHeld(shard)
  const isProtected = snapshot.keyspace.durability === 'protection'
  change.before({ shard: shard.id, node: node.id })
  await parts.routing.change(
    shard.keyspace,
    ({ shards }) => {
      const now = shards.find((one) => one.id === shard.id)
      if (now === undefined) throw new FleetError('not_found', `there is no shard ${shard.id}`)
      replicaOf(now, node.id)
      refuseHeld(now)
      if (isProtected) refuseLast(now)
      return { put: [{ ...now, nodes: now.nodes.filter((one) => one.id !== node.id) }] }
    },
    change,
  )
  if (node.agent === null || !(await isDispensable(work, shard, node))) return false
  await parts.servers.drop(node.agent, node.id, signal)
  return true
}

/** Until no set of replicas that commits may have waited for has it: it may be the only one that has them. */
async function isDispensable(
  { parts, signal }: Work,
  shard: ShardRecord,
  node: NodeRecord,
): Promise<boolean> {
  const untilMs = parts.clock.monotonic() + quorumMsMax
  while (parts.clock.monotonic() < untilMs) {
    const found = await parts.catalog.quorums.get(shard.keyspace, shard.id, signal)
    const sets = found?.record.sets ?? []
    if (!sets.some((set) => set?.members.includes(node.id) === true)) return true
    await parts.clock.sleep(pollMs, signal)
  }
  return false
}

async function begin(
  { parts, change }: Work,
  { shard, node }: { readonly shard: ShardRecord; readonly node: NodeRecord },
  reason: string,
): Promise<JobRecord> {
  const now = new Date(parts.clock.now()).toISOString()
  const record = rebuildJob(shard, { node, primary: primaryOf(shard) }, { by: 'operator', reason, now })
  await parts.routing.change(
    shard.keyspace,
    ({ shards }) => ({
      put: [withStandby(shards, { shard, node })],
      extras: parts.catalog.jobs.createParts(record),
    }),
    change,
  )
  await parts.fleet.shown(({ jobs }) => jobs.has(record.id))
  return record
}

function replicaOf(shard: ShardRecord, id: string): NodeRecord {
  const node = shard.nodes.find((one) => one.id === id)
  if (node === undefined) {
    throw new FleetError('not_found', `shard ${shard.id} has no node ${JSON.stringify(id.slice(0, 80))}`, {
      hint: `see its nodes: fleetshard shard get ${shard.id}`,
    })
  }
  if (node.role !== 'primary') return node
  throw new FleetError('conflict', `${node.id} leads the shard`, {
    retryable: false,
    hint: `let another lead first: fleetshard switchover ${shard.id}`,
  })
}

function agentOf({ id, agent }: NodeRecord, hint: string): string {
  if (agent !== null) return agent
  throw new FleetError('conflict', `no agent runs ${id}`, { retryable: false, hint })
}

/** Commits cannot wait for a replica where there is none. */
function refuseLast({ id, nodes }: ShardRecord): void {
  if (nodes.length > 2) return
  throw new FleetError('conflict', `shard ${id} is under protection and has no other replica`, {
    retryable: false,
    hint: `add another first: fleetshard node add ${id}`,
  })
}

function refuseHeld({ id, hold }: ShardRecord): void {
  if (hold === undefined) return
  throw new FleetError('conflict', `the job ${hold.job} holds shard ${id}`, {
    hint: 'wait until it has ended',
  })
}
