// GET /v1/topology: the maps that this router works with, whole or as a stream of what changes. Direct clients place
// keys by it.
import {
  keyspaceEvents,
  keyspaceTopology,
  RouterTopology,
  TopologyQuery,
  type RouterTopologyEvent,
} from '@fleetshard/core/contract'
import {
  FleetError,
  mayPlace,
  type KeyspaceName,
  type KeyspaceSnapshot,
  type Principal,
} from '@fleetshard/core'
import { ok, route, type EventStream, type Route } from '../../../../runtime/http/mod.ts'
import type { RouteParts } from './routes.ts'

/** What a reader wants to see. */
interface Scope {
  /** Null for all. */
  readonly keyspace: string | null
  readonly withVnodes: boolean
  /** Sees the keyspaces that he may use. */
  readonly principal: Principal
}

type Snapshots = ReadonlyMap<KeyspaceName, KeyspaceSnapshot>

/** The endpoint. */
export const topologyRoute = (parts: RouteParts): Route =>
  route({
    method: 'GET',
    url: '/v1/topology',
    tag: 'topology',
    summary: 'The shard maps; with Accept: text/event-stream, then every change',
    query: TopologyQuery,
    answers: { 200: RouterTopology },
    kind: 'read',
    permission: 'place',
    async handle({ query }, call) {
      const { principal } = call
      const scope = { keyspace: query.keyspace ?? null, withVnodes: query.vnodes !== false, principal }
      if (scope.keyspace !== null) {
        refuseStrangers(principal, scope.keyspace)
        parts.maps.get(scope.keyspace)
      }
      if (!call.wantsEvents) return ok(topologyOf(parts, snapshotsOf(parts, scope), scope))
      return parts.streams.open(call, (stream) => follow(parts, scope, stream))
    },
  })

/** @throws FleetError `forbidden` for a keyspace that the caller has nothing to do with */
export function refuseStrangers(principal: Principal, keyspace: string): void {
  if (mayPlace(principal, keyspace)) return
  throw new FleetError('forbidden', `${principal.subject} may not use the keyspace ${keyspace}`, {
    hint: `it takes the role viewer, or the scope read:${keyspace}`,
  })
}

function snapshotsOf({ maps }: RouteParts, scope: Scope): Snapshots {
  const wanted = [...maps.all()].filter(
    ({ snapshot: { keyspace } }) =>
      (scope.keyspace === null || keyspace.name === scope.keyspace) &&
      mayPlace(scope.principal, keyspace.name),
  )
  return new Map(wanted.map(({ snapshot }) => [snapshot.keyspace.name, snapshot]))
}

function topologyOf({ mapAgeMs }: RouteParts, snapshots: Snapshots, scope: Scope): RouterTopology {
  const age = mapAgeMs()
  return {
    keyspaces: [...snapshots.values()].map((snapshot) => keyspaceTopology(snapshot, scope.withVnodes)),
    map_age_ms: Number.isFinite(age) ? Math.round(age) : null,
  }
}

/** A snapshot, then what changes. @returns ends the subscription */
function follow(parts: RouteParts, scope: Scope, stream: EventStream): () => void {
  const send = (event: RouterTopologyEvent): boolean => stream.send(event.kind, event)
  let sent = snapshotsOf(parts, scope)
  send({ kind: 'snapshot', topology: topologyOf(parts, sent, scope) })
  return parts.maps.subscribe(() => {
    const before = sent
    sent = snapshotsOf(parts, scope)
    for (const name of new Set([...before.keys(), ...sent.keys()])) {
      for (const event of keyspaceEvents(name, before.get(name), sent.get(name), scope.withVnodes)) {
        if (!send(event)) return
      }
    }
  })
}
