// /api/v1/nodes
import { FleetError } from '@fleetshard/core'
import { CreatedNode, CreateNode, FleetNode, NodeList, NodeListQuery } from '@fleetshard/core/contract'
import { created, gone, ok, route, type Route } from '../../../runtime/http/mod.ts'
import type { AgentServer } from '../servers.ts'
import { fleetNodeView, serverView } from '../views.ts'
import { change, idParams, type Api } from './context.ts'

const tag = 'nodes'
const url = '/api/v1/nodes'
/** For agents to tell their servers. */
const surveyMsMax = 5_000

/** Endpoints of nodes. */
export const nodeRoutes = (api: Api): readonly Route[] => [list(api), create(api), get(api), remove(api)]

const list = (api: Api): Route =>
  route({
    method: 'GET',
    url,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'All database servers, with embedded ones that no shard uses yet',
    query: NodeListQuery,
    answers: { 200: NodeList },
    handle: async ({ query }) => {
      if (query.keyspace !== undefined) api.parts.fleet.keyspace(query.keyspace)
      const nodes: FleetNode[] = []
      for (const { node, shard } of api.parts.fleet.nodes()) {
        if (query.keyspace !== undefined && query.keyspace !== shard.keyspace) continue
        if (query.shard_id !== undefined && query.shard_id !== shard.id) continue
        nodes.push(fleetNodeView(node, shard))
      }
      if (query.keyspace !== undefined || query.shard_id !== undefined) {
        return ok({ nodes, agents_unreachable: [] })
      }
      const { free, unreachable } = await unassigned(api)
      nodes.push(...free.map(({ agent, server }) => serverView(server, agent.id)))
      return ok({ nodes, agents_unreachable: [...unreachable] })
    },
  })

/** Servers of agents that are no node of a shard; the catalog's own is not among them. */
async function unassigned({
  parts,
}: Api): Promise<{ readonly free: readonly AgentServer[]; readonly unreachable: readonly string[] }> {
  if (parts.fleet.state().agents.size === 0) return { free: [], unreachable: [] }
  const { servers, unreachable } = await parts.servers.survey(AbortSignal.timeout(surveyMsMax))
  const used = new Set<string>()
  for (const { node } of parts.fleet.nodes()) {
    if (node.agent !== null) used.add(`${node.agent} ${node.id}`)
  }
  const free = servers.filter(
    ({ agent, server }) => !used.has(`${agent.id} ${server.id}`) && server.group !== catalogGroup,
  )
  return { free, unreachable }
}

/** Group of the catalog's server under `up`. */
const catalogGroup = 'catalog'

const get = (api: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/:id`,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'One database server',
    params: idParams,
    answers: { 200: FleetNode },
    handle: async ({ params }) => {
      for (const { node, shard } of api.parts.fleet.nodes()) {
        if (node.id === params.id) return ok(fleetNodeView(node, shard))
      }
      const { agent, server } = await freeServer(api, params.id)
      return ok(serverView(server, agent.id))
    },
  })

async function freeServer(api: Api, id: string): Promise<AgentServer> {
  const { free } = await unassigned(api)
  const found = free.find(({ server }) => server.id === id)
  if (found !== undefined) return found
  throw new FleetError('not_found', `there is no node ${JSON.stringify(id.slice(0, 80))}`, {
    hint: 'list them: fleetshard node list',
  })
}

const create = (api: Api): Route =>
  route({
    method: 'POST',
    url,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Start a fresh embedded server, to be given to POST /api/v1/shards',
    body: CreateNode,
    answers: { 201: CreatedNode },
    handle: async ({ body }, call) =>
      change(api, { what: 'node.create', target: 'embedded' }, call, async ({ change: made, signal }) => {
        const { embedded: _embedded, replicas: replicaCount = 0, ...more } = body
        const order = { name: 'node', replicas: replicaCount, ...more }
        const group = await api.parts.servers.startGroup(order, signal)
        const nodes = group.map(({ agent, server }) => serverView(server, agent.id))
        const [primary, ...replicas] = nodes
        if (primary === undefined) throw new FleetError('internal', 'the agent started no server')
        made.after(nodes)
        return created(
          {
            id: primary.id,
            endpoint: primary.endpoint,
            replicas: replicas.map(({ endpoint }) => endpoint),
            nodes,
          },
          `${url}/${primary.id}`,
        )
      }),
  })

const remove = (api: Api): Route =>
  route({
    method: 'DELETE',
    url: `${url}/:id`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Stop and remove an embedded server that no shard uses, with its data',
    params: idParams,
    answers: { 204: null },
    handle: async ({ params }, call) =>
      change(api, { what: 'node.delete', target: params.id }, call, async ({ change: made, signal }) => {
        for (const { node, shard } of api.parts.fleet.nodes()) {
          if (node.id !== params.id) continue
          throw new FleetError('conflict', `node ${node.id} belongs to shard ${shard.id}`, {
            retryable: false,
            hint:
              node.role === 'primary'
                ? `it goes with its shard: fleetshard shard delete ${shard.id}`
                : `take it out of the shard first: fleetshard shard update ${shard.id} --replica … with those that stay`,
          })
        }
        const { agent, server } = await freeServer(api, params.id)
        made.before(serverView(server, agent.id))
        await api.parts.servers.drop(agent.id, server.id, signal)
        return gone
      }),
  })
