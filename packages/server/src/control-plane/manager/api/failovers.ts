// /api/v1/shards/{id}/promote and …/failovers
import type { JobRecord } from '@fleetshard/core'
import { Type } from 'typebox'
import {
  Failover,
  FailoverList,
  NodeAddition,
  NodeOrder,
  NodeRemoval,
  PromoteShard,
} from '@fleetshard/core/contract'
import { accepted, ok, route, type Route } from '../../../runtime/http/mod.ts'
import { durabilityOf, limitsOf, parseFailoverDetail } from '../../health/mod.ts'
import { addNode, rebuildNode, removeNode } from '../shards/nodes.ts'
import { failoversOf, orderPromotion } from '../shards/promote.ts'
import { change, idParams, type Api } from './context.ts'

const tag = 'shards'
const url = '/api/v1/shards/:id'
const listMax = 100

/** Endpoints of promotions. */
export const failoverRoutes = (api: Api): readonly Route[] => [
  promote(api),
  list(api),
  add(api),
  rebuild(api),
  remove(api),
]

const promote = (api: Api): Route =>
  route({
    method: 'POST',
    url: `${url}/promote`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Let another node lead the shard: a switchover, or with force a failover',
    params: idParams,
    body: PromoteShard,
    answers: { 202: Failover },
    handle: async ({ params, body }, call) =>
      change(api, { what: 'shard.promote', target: params.id }, call, async (work) => {
        const job = await orderPromotion(work, params.id, body)
        work.change.after({ job: job.id, ...body })
        return accepted(failoverView(job), `/api/v1/shards/${params.id}/failovers`)
      }),
  })

const list = ({ parts }: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/failovers`,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'Who may lead the shard, and its failovers and switchovers, the newest first',
    params: idParams,
    answers: { 200: FailoverList },
    handle: async ({ params }) => {
      const { shard, snapshot } = parts.fleet.shard(params.id)
      const quorum = await parts.catalog.quorums.get(shard.keyspace, shard.id)
      const wanted = quorum?.record.sets.at(-1) ?? null
      return ok({
        shard_id: shard.id,
        term: shard.term,
        primary: shard.nodes.find(({ role }) => role === 'primary')?.id ?? null,
        durability: durabilityOf(snapshot.keyspace.durability, shard),
        quorum:
          quorum === null
            ? null
            : {
                members: [...(wanted?.members ?? [])],
                required: wanted?.required ?? 0,
                changing: quorum.record.sets.length > 1,
                degraded_since: quorum.record.degradedSince,
              },
        limits: [...limitsOf(shard, snapshot.keyspace.durability)],
        failovers: failoversOf(parts, shard.id).slice(0, listMax).map(failoverView),
      })
    },
  })

/** `{id}` of a shard and `{node}` of one of its nodes. */
const nodeParams = Type.Object({ id: Type.String(), node: Type.String() })

const add = (api: Api): Route =>
  route({
    method: 'POST',
    url: `${url}/nodes`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Give the shard one more replica, cloned from its primary',
    params: idParams,
    body: NodeAddition,
    answers: { 202: Failover },
    handle: async ({ params, body }, call) =>
      change(api, { what: 'shard.node.add', target: params.id }, call, async (work) => {
        const job = await addNode(work, params.id, body)
        work.change.after({ job: job.id, ...body })
        return accepted(failoverView(job), `/api/v1/shards/${params.id}/failovers`)
      }),
  })

const rebuild = (api: Api): Route =>
  route({
    method: 'POST',
    url: `${url}/nodes/:node/rebuild`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Make a replica anew',
    params: nodeParams,
    body: NodeOrder,
    answers: { 202: Failover },
    handle: async ({ params, body }, call) =>
      change(api, { what: 'shard.node.rebuild', target: params.node }, call, async (work) => {
        const job = await rebuildNode(work, { shard: params.id, node: params.node }, body.reason)
        work.change.after({ job: job.id, ...body })
        return accepted(failoverView(job), `/api/v1/shards/${params.id}/failovers`)
      }),
  })

const remove = (api: Api): Route =>
  route({
    method: 'DELETE',
    url: `${url}/nodes/:node`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Take a replica out of the shard, and remove its server once no commit counts on it',
    params: nodeParams,
    answers: { 200: NodeRemoval },
    handle: async ({ params }, call) =>
      change(api, { what: 'shard.node.remove', target: params.node }, call, async (work) => {
        const isGone = await removeNode(work, { shard: params.id, node: params.node })
        return ok({ node_id: params.node, server_removed: isGone })
      }),
  })

function failoverView(job: JobRecord): Failover {
  const detail = parseFailoverDetail(job.detail)
  return {
    id: job.id,
    type: detail.kind,
    keyspace: job.keyspace,
    shard_id: detail.shard,
    status: job.status,
    phase: job.state,
    term: detail.term,
    from: detail.from,
    to: detail.to,
    by: detail.by,
    forced: detail.force,
    reason: detail.reason,
    seen: detail.seen,
    proof: detail.proof,
    candidates: detail.candidates.map(({ node, ...found }) => ({ node_id: node, ...found })),
    loss_bytes_max: detail.lossBytesMax,
    timeline: detail.timeline,
    verified: detail.verified,
    rejoined_by: detail.rejoinedBy,
    waits_for: detail.waitsFor,
    steps: detail.steps,
    version: job.version,
    created_at: job.createdAt,
    completed_at: job.completedAt,
  }
}
