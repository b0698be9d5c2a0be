// /api/v1/topology
import type { KeyspaceName } from '@fleetshard/core'
import {
  keyspaceEvents,
  keyspaceTopology,
  Topology,
  TopologyQuery,
  type TopologyEvent,
} from '@fleetshard/core/contract'
import type { CatalogState } from '../../../catalog/mod.ts'
import { ok, route, type EventStream, type Route } from '../../../runtime/http/mod.ts'
import { routerView } from '../views.ts'
import type { Api } from './context.ts'

const tag = 'topology'

/** Endpoints of the topology. */
export const topologyRoutes = (api: Api): readonly Route[] => [
  route({
    method: 'GET',
    url: '/api/v1/topology',
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'Everything at one moment; with Accept: text/event-stream, then every change',
    query: TopologyQuery,
    answers: { 200: Topology },
    handle: async ({ query }, call) => {
      const scope = { keyspace: query.keyspace ?? null, withVnodes: query.vnodes !== false }
      if (scope.keyspace !== null) api.parts.fleet.keyspace(scope.keyspace)
      if (!call.wantsEvents) return ok(topologyOf(api, api.parts.fleet.state(), scope))
      return api.streams.open(call, (stream) => follow(api, scope, stream))
    },
  }),
]

/** What a reader wants to see. */
interface Scope {
  /** Null for all. */
  readonly keyspace: string | null
  readonly withVnodes: boolean
}

function topologyOf({ parts, leader }: Api, state: CatalogState, scope: Scope): Topology {
  const snapshots = [...state.keyspaces.values()].filter(({ keyspace }) => isWanted(scope, keyspace.name))
  const leading = leader.leader()
  const age = parts.fleet.ageMs()
  return {
    keyspaces: snapshots.map((snapshot) => keyspaceTopology(snapshot, scope.withVnodes)),
    routers: [...state.routers.values()].map(routerView),
    leader: leading === null || leading.url === null ? null : { id: leading.id, url: leading.url },
    catalog_age_ms: Number.isFinite(age) ? Math.round(age) : 0,
  }
}

const isWanted = (scope: Scope, keyspace: string): boolean =>
  scope.keyspace === null || scope.keyspace === keyspace

/** A snapshot, then what changes. @returns ends the subscription */
function follow(api: Api, scope: Scope, stream: EventStream): () => void {
  let sent = api.parts.fleet.state()
  const send = (event: TopologyEvent): boolean => stream.send(event.kind, event)
  send({ kind: 'snapshot', topology: topologyOf(api, sent, scope) })
  return api.parts.fleet.subscribe(({ state }) => {
    const before = sent
    sent = state
    for (const event of eventsBetween(before, state, scope)) if (!send(event)) return
  })
}

/** What turns one state into another. */
export function* eventsBetween(
  before: CatalogState,
  after: CatalogState,
  scope: Scope,
): Generator<TopologyEvent, void, void> {
  const names = new Set<KeyspaceName>([...before.keyspaces.keys(), ...after.keyspaces.keys()])
  for (const name of names) {
    if (isWanted(scope, name)) {
      yield* keyspaceEvents(name, before.keyspaces.get(name), after.keyspaces.get(name), scope.withVnodes)
    }
  }
  for (const [id, router] of after.routers) {
    if (before.routers.get(id) !== router) yield { kind: 'router', router: routerView(router) }
  }
  for (const id of before.routers.keys()) if (!after.routers.has(id)) yield { kind: 'router_removed', id }
}
