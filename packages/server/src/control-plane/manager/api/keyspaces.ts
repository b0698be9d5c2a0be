// /api/v1/keyspaces
import { FleetError, type KeyspaceRecord } from '@fleetshard/core'
import {
  keyspaceView,
  Adopt,
  Adoption,
  CreateKeyspace,
  Keyspace,
  KeyspaceList,
  PatchKeyspace,
} from '@fleetshard/core/contract'
import { created, gone, ok, route, type Route } from '../../../runtime/http/mod.ts'
import { adopt, createKeyspace } from '../keyspaces.ts'
import { refuseDuringSchemaJob } from '../shards/create.ts'
import { auditView } from '../shards/patch.ts'
import { change, keyspaceParams, shownAt, withEpoch, type Api } from './context.ts'
import { placedView } from './shards.ts'

const tag = 'keyspaces'
const url = '/api/v1/keyspaces'

/** Endpoints of keyspaces. */
export const keyspaceRoutes = (api: Api): readonly Route[] => [
  list(api),
  create(api),
  get(api),
  patch(api),
  remove(api),
  adoptDatabase(api),
]

const list = ({ parts }: Api): Route =>
  route({
    method: 'GET',
    url,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'All keyspaces',
    answers: { 200: KeyspaceList },
    handle: async () => {
      const keyspaces = [...parts.fleet.state().keyspaces.values()].map(keyspaceView)
      return ok({ keyspaces: keyspaces.toSorted((a, b) => (a.name < b.name ? -1 : 1)) })
    },
  })

const create = (api: Api): Route =>
  route({
    method: 'POST',
    url,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Create a keyspace',
    body: CreateKeyspace,
    answers: { 201: Keyspace },
    handle: async ({ body }, call) =>
      change(api, { what: 'keyspace.create', target: body.name }, call, async (work) => {
        const { name, hash, default_consistency: defaultConsistency, durability } = body
        const order = { name, hash, defaultConsistency, durability }
        const made = await api.parts.mutex.run(body.name, work.signal, async () =>
          createKeyspace(work, order),
        )
        work.change.after(made.keyspace)
        return withEpoch(created(keyspaceView(made), `${url}/${body.name}`), body.name, made.epoch)
      }),
  })

const get = ({ parts }: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/:keyspace`,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'One keyspace',
    params: keyspaceParams,
    answers: { 200: Keyspace },
    handle: async ({ params }) => ok(keyspaceView(parts.fleet.keyspace(params.keyspace))),
  })

const patch = (api: Api): Route =>
  route({
    method: 'PATCH',
    url: `${url}/:keyspace`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Change the default consistency, or what a failover may cost',
    params: keyspaceParams,
    body: PatchKeyspace,
    answers: { 200: Keyspace },
    handle: async ({ params, body }, call) =>
      change(api, { what: 'keyspace.patch', target: params.keyspace }, call, async (work) => {
        const { parts } = api
        const { keyspace } = parts.fleet.keyspace(params.keyspace)
        work.change.before(keyspace)
        const { record } = await parts.catalog.keyspaces.update(
          keyspace.name,
          (current) => ({ ...current, ...patchOf(body) }),
          {
            conditions: [work.change.condition],
            signal: work.signal,
            ...(call.ifMatch === null ? {} : { expectedVersion: call.ifMatch }),
          },
        )
        work.change.after(record)
        await parts.fleet.shown(
          ({ keyspaces }) => (keyspaces.get(keyspace.name)?.keyspace.version ?? 0) >= record.version,
        )
        return ok({ ...keyspaceView(parts.fleet.keyspace(keyspace.name)) })
      }),
  })

const remove = (api: Api): Route =>
  route({
    method: 'DELETE',
    url: `${url}/:keyspace`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Delete a keyspace that has no shard',
    params: keyspaceParams,
    answers: { 204: null },
    handle: async ({ params }, call) =>
      change(api, { what: 'keyspace.delete', target: params.keyspace }, call, async (work) => {
        const { parts } = api
        const { keyspace } = parts.fleet.keyspace(params.keyspace)
        work.change.before(keyspace)
        await parts.mutex.run(keyspace.name, work.signal, async () => {
          refuseDuringSchemaJob(work, keyspace.name)
          await parts.catalog.keyspaces.delete(keyspace.name, {
            conditions: [work.change.condition],
            signal: work.signal,
            ...(call.ifMatch === null ? {} : { expectedVersion: call.ifMatch }),
          })
        })
        await parts.fleet.shown(({ keyspaces }) => !keyspaces.has(keyspace.name))
        return gone
      }),
  })

const adoptDatabase = (api: Api): Route =>
  route({
    method: 'POST',
    url: `${url}/:keyspace/adopt`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Make an existing database a one-shard keyspace; no row moves',
    params: keyspaceParams,
    body: Adopt,
    answers: { 201: Adoption },
    handle: async ({ params, body }, call) =>
      change(api, { what: 'keyspace.adopt', target: params.keyspace }, call, async (work) => {
        const { placed, suggestions } = await adopt(work, params.keyspace, body)
        const { snapshot } = placed.stored
        work.change.after(auditView(placed.shard))
        await shownAt(api, snapshot.keyspace.name, snapshot.epoch)
        const adoption = {
          keyspace: keyspaceView(snapshot),
          shard: placedView(api, placed),
          tables: [...suggestions],
        }
        const location = `${url}/${snapshot.keyspace.name}`
        return withEpoch(created(adoption, location), snapshot.keyspace.name, snapshot.epoch)
      }),
  })

/** @throws FleetError `invalid_request` for an empty body */
function patchOf(body: PatchKeyspace): Partial<Pick<KeyspaceRecord, 'defaultConsistency' | 'durability'>> {
  const { default_consistency: defaultConsistency, durability } = body
  if (defaultConsistency === undefined && durability === undefined) {
    throw new FleetError('invalid_request', 'the body changes nothing', {
      hint: 'give default_consistency or durability',
    })
  }
  return {
    ...(defaultConsistency === undefined ? {} : { defaultConsistency }),
    ...(durability === undefined ? {} : { durability }),
  }
}
