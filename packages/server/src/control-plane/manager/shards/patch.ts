// Changing a shard: its name, its status, its replicas.
import { FleetError, type NodeRecord, type ShardRecord, isSameServer, parseEndpoint } from '@fleetshard/core'
import type { PatchShard } from '@fleetshard/core/contract'
import type { StoreWrite } from '../../../catalog/mod.ts'
import type { Work } from '../parts.ts'
import { checkNodes, inspect, awaitIdentity } from './check.ts'
import { refuseShardDuringReshard } from '../reshard/guard.ts'
import { refuseDuringSchemaJob } from './create.ts'
import { primaryOf } from './fence.ts'
import { candidateOf, targetOf, type NodeCandidate } from './node-group.ts'
import { placeShard, type Placed } from './place.ts'
import { prepareTables } from './prepare-tables.ts'
import { nameTaken } from './reservations.ts'

/** Vnodes of a shard that had none when it is given its place. */
const vnodeCountOnActivation = 256

/** What a patch makes of the nodes. */
interface Replicas {
  readonly nodes: readonly NodeRecord[]
  readonly writes: readonly StoreWrite[]
}

/**
 * Applies a patch. Setting a shard without ranges `active` gives it its place on the ring when no row is there.
 * @throws FleetError `version_mismatch`, `conflict`, `already_exists`, `node_check_failed`, `invalid_request`
 */
export async function patchShard(
  work: Work,
  id: string,
  body: PatchShard,
  ifMatch: number | null,
): Promise<Placed> {
  if (Object.keys(body).length === 0) {
    throw new FleetError('invalid_request', 'the body has no field to change', {
      hint: 'give name, status or replicas',
    })
  }
  const { parts } = work
  const found = parts.fleet.shard(id)
  checkVersion(found.shard, ifMatch)
  const replicas =
    body.replicas === undefined ? null : await replaceReplicas(work, found.shard, body.replicas)
  return parts.mutex.run(found.shard.keyspace, work.signal, async () => {
    const { snapshot } = await parts.routing.base(found.shard.keyspace, work.signal)
    const shard = snapshot.shards.find((one) => one.id === found.shard.id)
    if (shard === undefined) throw new FleetError('not_found', `there is no shard ${id}`)
    checkVersion(shard, ifMatch)
    // What was checked above was checked for the record that was read above.
    if (replicas !== null) checkVersion(shard, found.shard.version)
    if (body.status !== undefined) refuseShardDuringReshard(work, shard)
    work.change.before(auditView(shard))
    return apply(work, shard, body, replicas)
  })
}

/** @throws FleetError `version_mismatch` */
export function checkVersion(shard: ShardRecord, ifMatch: number | null): void {
  if (ifMatch === null || shard.version === ifMatch) return
  throw new FleetError(
    'version_mismatch',
    `the shard ${shard.id} has version ${String(shard.version)}, not ${String(ifMatch)}`,
    { hint: 'read it again and repeat the change with its version', facts: { version: shard.version } },
  )
}

async function apply(
  work: Work,
  shard: ShardRecord,
  body: PatchShard,
  replicas: Replicas | null,
): Promise<Placed> {
  const next: ShardRecord = {
    ...shard,
    name: body.name ?? shard.name,
    nodes: replicas?.nodes ?? shard.nodes,
  }
  const writes = replicas?.writes ?? []
  if (body.status === undefined || body.status === shard.status) return commit(work, shard, next, writes)
  if (shard.status === 'migrating') {
    throw new FleetError('conflict', `a job works on the shard ${shard.id}`, {
      hint: 'wait until it has ended, or cancel it: fleetshard job list',
    })
  }
  if (body.status !== 'active') {
    const statusReason = `set to ${body.status} by a request`
    return commit(work, shard, { ...next, status: body.status, statusReason }, writes)
  }
  if (shard.vnodes === '') return activate(work, shard, next, writes)
  await checkPrimary(work, shard)
  return commit(work, shard, { ...next, status: 'active', statusReason: null }, writes)
}

/** A shard without ranges gets its place, or the request is refused with the reason that it would get none. */
async function activate(
  work: Work,
  shard: ShardRecord,
  next: ShardRecord,
  writes: readonly StoreWrite[],
): Promise<Placed> {
  const { parts, signal } = work
  refuseDuringSchemaJob(work, shard.keyspace)
  await checkPrimary(work, shard)
  const { snapshot } = await parts.routing.base(shard.keyspace, signal)
  const target = await targetOf(parts, primaryOf(shard), signal)
  const { id, sequenceBlock, version } = shard
  const obstacle = await prepareTables(work, snapshot, { shard: id, sequenceBlock, target })
  const placed = await placeShard(work, {
    record: next,
    vnodeCount: vnodeCountOnActivation,
    obstacle,
    writes,
    version,
    dealt: { ranges: [] },
  })
  if (placed.shard.status === 'active') return placed
  throw new FleetError('conflict', `the shard ${id} stays inactive: ${placed.shard.statusReason ?? ''}`, {
    retryable: false,
    hint: 'shards get ranges while no row is there, or by a reshard',
  })
}

async function checkPrimary(work: Work, shard: ShardRecord): Promise<void> {
  const node = primaryOf(shard)
  const target = await targetOf(work.parts, node, work.signal)
  const candidate: NodeCandidate = { node, target, field: `primary ${node.id}`, secret: null }
  const [facts] = await checkNodes(work, [candidate])
  if (facts?.identity?.shard === shard.id) return
  const owner = facts?.identity?.shard ?? 'no shard'
  throw new FleetError(
    'node_check_failed',
    `the database of node ${node.id} belongs to ${owner}, not to ${shard.id}`,
    {
      hint: 'check the endpoint of the node: fleetshard shard get',
    },
  )
}

async function commit(
  work: Work,
  before: ShardRecord,
  next: ShardRecord,
  writes: readonly StoreWrite[],
): Promise<Placed> {
  const { parts, change } = work
  const stored = await parts.routing.change(
    before.keyspace,
    (current) => {
      const now = current.shards.find(({ id }) => id === before.id)
      if (now === undefined) throw new FleetError('not_found', `there is no shard ${before.id}`)
      checkVersion(now, before.version)
      const namesake = current.shards.find(({ id, name }) => name === next.name && id !== next.id)
      if (namesake !== undefined) throw nameTaken(next.name, next.keyspace, 'exists in')
      return { put: [next], extras: { writes } }
    },
    change,
  )
  const shard = stored.snapshot.shards.find(({ id }) => id === next.id)
  if (shard === undefined)
    throw new FleetError('internal', `the shard ${next.id} is missing after its commit`)
  return { stored, shard, ranges: null }
}

/** Nodes that stay keep their record; new ones are checked to be replicas of this very primary. */
async function replaceReplicas(
  work: Work,
  shard: ShardRecord,
  endpoints: readonly string[],
): Promise<Replicas> {
  const { parts, engine, signal } = work
  const primary = primaryOf(shard)
  const taken = new Set<string>(shard.nodes.map(({ id }) => id))
  const kept: NodeRecord[] = []
  const added: NodeCandidate[] = []
  for (const [index, text] of endpoints.entries()) {
    const field = `replicas[${String(index)}]`
    const endpoint = parseEndpoint(text, field)
    if (isSameServer(primary, endpoint) || kept.some((node) => isSameServer(node, endpoint))) {
      throw new FleetError('invalid_request', `${field} is a server that the shard has already`, {
        hint: 'give every server once, and the primary not at all',
      })
    }
    const known = shard.nodes.find((node) => isSameServer(node, endpoint))
    if (known !== undefined) kept.push(known)
    else
      added.push(
        await candidateOf(parts, endpoint, { shard: shard.id, role: 'replica', field, taken }, signal),
      )
  }
  if (added.length > 0) {
    const target = await targetOf(parts, primary, signal)
    const asCandidate: NodeCandidate = { node: primary, target, field: `primary ${primary.id}`, secret: null }
    const facts = await inspect(work, asCandidate)
    await checkNodes(work, [asCandidate, ...added])
    const identity = facts.identity ?? (await engine.readIdentity(target, { signal }))
    if (identity === null)
      throw new FleetError('node_check_failed', `node ${primary.id} has lost its identity`)
    await awaitIdentity(work, added, identity)
  }
  return {
    nodes: [primary, ...kept, ...added.map(({ node }) => node)],
    writes: added.flatMap(({ secret }): StoreWrite[] => (secret === null ? [] : [secret])),
  }
}

/** A shard for the audit: what people can read, without the tokens of the ring. */
export function auditView(shard: ShardRecord): object {
  const { vnodes, nodes, ...rest } = shard
  return {
    ...rest,
    vnodes: vnodes.length === 0 ? 'none' : 'some',
    nodes: nodes.map(({ id, role, host, port, database, user }) => ({
      id,
      role,
      host,
      port,
      database,
      user,
    })),
  }
}
