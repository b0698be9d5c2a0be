// /api/v1/shards
import type { KeyspaceSnapshot, ShardRecord } from '@fleetshard/core'
import {
  CreateShard,
  PatchShard,
  Shard,
  ShardList,
  ShardListQuery,
  ShardQuery,
} from '@fleetshard/core/contract'
import { created, gone, ok, route, type Answer, type Route } from '../../../runtime/http/mod.ts'
import { ensureKeyspace } from '../keyspaces.ts'
import { createShard, orderOf } from '../shards/create.ts'
import { auditView, patchShard } from '../shards/patch.ts'
import type { Placed } from '../shards/place.ts'
import { removeShard } from '../shards/remove.ts'
import { shardView } from '../views.ts'
import { change, idParams, keyspaceDefault, shownAt, withEpoch, type Api } from './context.ts'

const tag = 'shards'
const url = '/api/v1/shards'

/** Endpoints of shards. */
export const shardRoutes = (api: Api): readonly Route[] => [
  list(api),
  create(api),
  get(api),
  patch(api),
  remove(api),
]

/** A shard as it was just committed, with its ranges at that epoch. */
export function placedView({ parts }: Pick<Api, 'parts'>, { stored, shard, ranges }: Placed): Shard {
  const { snapshot } = stored
  return viewOf(ranges ?? parts.rings.ranges(snapshot, shard.id), snapshot, shard)
}

function viewOf(
  ranges: ReturnType<Api['parts']['rings']['ranges']>,
  snapshot: KeyspaceSnapshot,
  shard: ShardRecord,
): Shard {
  const contiguous = ranges.length === 1 ? (ranges[0] ?? null) : null
  return shardView(shard, { epoch: snapshot.epoch, contiguous, ranges })
}

function briefView({ parts }: Api, snapshot: KeyspaceSnapshot, shard: ShardRecord): Shard {
  const contiguous = parts.rings.contiguous(snapshot).get(shard.id) ?? null
  return shardView(shard, { epoch: snapshot.epoch, contiguous, ranges: null })
}

const list = (api: Api): Route =>
  route({
    method: 'GET',
    url,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'All shards, or those of a keyspace or in a state',
    query: ShardListQuery,
    answers: { 200: ShardList },
    handle: async ({ query }) => {
      const { fleet, rings } = api.parts
      const snapshots =
        query.keyspace === undefined
          ? [...fleet.state().keyspaces.values()]
          : [fleet.keyspace(query.keyspace)]
      const shards = snapshots.flatMap((snapshot) => {
        const wanted = snapshot.shards.filter(({ status }) => (query.status ?? status) === status)
        if (query.vnodes === false) return wanted.map((shard) => briefView(api, snapshot, shard))
        const ranges = rings.rangesOfAll(snapshot)
        return wanted.map((shard) => viewOf(ranges.get(shard.id) ?? [], snapshot, shard))
      })
      return ok({ shards })
    },
  })

const create = (api: Api): Route =>
  route({
    method: 'POST',
    url,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Create a shard from given endpoints, or with fresh embedded servers',
    body: CreateShard,
    answers: { 201: Shard },
    handle: async ({ body }, call) => {
      const order = orderOf(body)
      const name = body.keyspace ?? keyspaceDefault
      return change(api, { what: 'shard.create', target: `${name}/${body.name}` }, call, async (work) => {
        const keyspace =
          body.keyspace === undefined ? await ensureKeyspace(work, name) : api.parts.fleet.keyspace(name)
        const placed = await createShard(work, keyspace, order)
        work.change.after(auditView(placed.shard))
        return committed(api, placed, (view) => created(view, `${url}/${view.id}`))
      })
    },
  })

async function committed(api: Api, placed: Placed, answer: (view: Shard) => Answer): Promise<Answer> {
  const { epoch, keyspace } = placed.stored.snapshot
  await shownAt(api, keyspace.name, epoch)
  return withEpoch(answer(placedView(api, placed)), keyspace.name, epoch)
}

const get = (api: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/:id`,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'One shard; its version is the ETag',
    params: idParams,
    query: ShardQuery,
    answers: { 200: Shard },
    handle: async ({ params, query }) => {
      const { shard, snapshot } = api.parts.fleet.shard(params.id)
      if (query.vnodes === false) return ok(briefView(api, snapshot, shard))
      return ok(viewOf(api.parts.rings.ranges(snapshot, shard.id), snapshot, shard))
    },
  })

const patch = (api: Api): Route =>
  route({
    method: 'PATCH',
    url: `${url}/:id`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Change name, status or replicas; If-Match guards against lost updates',
    params: idParams,
    body: PatchShard,
    answers: { 200: Shard },
    handle: async ({ params, body }, call) =>
      change(api, { what: 'shard.patch', target: params.id }, call, async (work) => {
        const placed = await patchShard(work, params.id, body, call.ifMatch)
        work.change.after(auditView(placed.shard))
        return committed(api, placed, ok)
      }),
  })

const remove = (api: Api): Route =>
  route({
    method: 'DELETE',
    url: `${url}/:id`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Delete a shard that owns no range or holds no row',
    params: idParams,
    answers: { 204: null },
    handle: async ({ params }, call) =>
      change(api, { what: 'shard.delete', target: params.id }, call, async (work) => {
        const { snapshot } = await removeShard(work, params.id, call.ifMatch)
        await shownAt(api, snapshot.keyspace.name, snapshot.epoch)
        return withEpoch(gone, snapshot.keyspace.name, snapshot.epoch)
      }),
  })
