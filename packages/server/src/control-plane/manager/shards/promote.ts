// An operator's order that another node lead a shard: checked, and written down as a job for the health leader.
import { randomUUID } from 'node:crypto'
import {
  FleetError,
  isSameServer,
  parseEndpoint,
  type JobRecord,
  type NodeRecord,
  type ShardRecord,
} from '@fleetshard/core'
import type { PromoteShard } from '@fleetshard/core/contract'
import { failoverJobType, newFailoverJob, parseFailoverDetail } from '../../health/mod.ts'
import type { Parts, Work } from '../parts.ts'
import { primaryOf } from './fence.ts'

/** Failovers of the shard, newest first. */
export function failoversOf({ fleet }: Pick<Parts, 'fleet'>, shard: string): readonly JobRecord[] {
  return [...fleet.state().jobs.values()]
    .map(({ record }) => record)
    .filter(({ type, detail }) => type === failoverJobType && parseFailoverDetail(detail).shard === shard)
    .toSorted((a, b) => b.createdAt.localeCompare(a.createdAt) || (a.id < b.id ? -1 : 1))
}

/** @throws FleetError `not_found`, `invalid_request`, `conflict` while another is under way */
export async function orderPromotion(work: Work, id: string, order: PromoteShard): Promise<JobRecord> {
  const { parts, change, signal } = work
  const { shard } = parts.fleet.shard(id)
  const primary = primaryOf(shard)
  const wanted = wantedNode(shard, order)
  const force = order.force ?? false
  refuseOrder(order, { wanted, primary, force })
  const open = failoversOf(parts, shard.id).find(
    ({ status, detail }) =>
      (status === 'pending' || status === 'running') && parseFailoverDetail(detail).kind !== 'rebuild',
  )
  if (open !== undefined && !force) {
    throw new FleetError('conflict', `the failover ${open.id} of shard ${shard.id} has not ended`, {
      hint: `see it: fleetshard failover explain ${shard.id}`,
      facts: { job_id: open.id },
    })
  }
  const record = newFailoverJob({
    id: `failover-${randomUUID()}`,
    keyspace: shard.keyspace,
    kind: force ? 'failover' : 'switchover',
    shard: shard.id,
    from: primary.id,
    by: 'operator',
    reason: order.reason ?? 'asked for by an operator',
    now: new Date(parts.clock.now()).toISOString(),
    state: 'requested',
    detail: { wanted: wanted?.id ?? null, force, allowDataLoss: order.allow_data_loss ?? false },
  })
  const { record: made } = await parts.catalog.jobs.create(
    { ...record, ...change.traced },
    { conditions: [change.condition], signal },
  )
  await parts.fleet.shown(({ jobs }) => jobs.has(made.id))
  return made
}

function refuseOrder(
  order: PromoteShard,
  {
    wanted,
    primary,
    force,
  }: { readonly wanted: NodeRecord | null; readonly primary: NodeRecord; readonly force: boolean },
): void {
  if (wanted?.id === primary.id) {
    throw new FleetError('conflict', `${primary.id} leads the shard already`, { retryable: false })
  }
  if (order.allow_data_loss === true && (!force || wanted === null)) {
    throw new FleetError('invalid_request', 'allow_data_loss goes with force and a named node', {
      hint: 'name the replica whose data is to count: node_id',
    })
  }
}

function wantedNode(
  shard: ShardRecord,
  { node_id: id, replica_endpoint: text }: PromoteShard,
): NodeRecord | null {
  if (id !== undefined && text !== undefined) {
    throw new FleetError('invalid_request', 'give node_id or replica_endpoint, not both')
  }
  if (id === undefined && text === undefined) return null
  const endpoint = text === undefined ? null : parseEndpoint(text, 'replica_endpoint')
  const found = shard.nodes.find((node) =>
    endpoint === null ? node.id === id : isSameServer(node, endpoint),
  )
  if (found !== undefined) return found
  throw new FleetError('invalid_request', `shard ${shard.id} has no such replica`, {
    hint: `see its nodes: fleetshard shard get ${shard.id}`,
  })
}
