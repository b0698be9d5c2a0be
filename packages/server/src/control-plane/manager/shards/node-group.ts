// The servers of a shard on their way into its record: endpoints resolved to nodes, with passwords kept apart.
import {
  FleetError,
  parseNodeId,
  type NodeRecord,
  type ShardId,
  isSameServer,
  parseEndpoint,
  type Endpoint,
} from '@fleetshard/core'
import type { StoreWrite } from '../../../catalog/mod.ts'
import type { NodeTarget } from '../../../engine/mod.ts'
import type { Parts } from '../parts.ts'
import type { AgentServer } from '../servers.ts'

/** A node that may become part of a shard. */
export interface NodeCandidate {
  readonly node: NodeRecord
  /** How messages call it: `primary_endpoint`, `replicas[0]`. */
  readonly field: string
  readonly target: NodeTarget
  /** Writes the password with the shard's commit; null when it is known already or there is none. */
  readonly secret: StoreWrite | null
}

/** What a candidate is to be. */
interface CandidatePlace {
  readonly shard: ShardId
  readonly role: NodeRecord['role']
  readonly field: string
  /** Ids of nodes that are taken within this request. */
  readonly taken: Set<string>
}

/** Candidates of given endpoints, the primary first. @throws FleetError `invalid_request` */
export async function candidatesOf(
  parts: Parts,
  shard: ShardId,
  endpoints: { readonly primary: string; readonly replicas: readonly string[] },
  signal: AbortSignal,
): Promise<readonly NodeCandidate[]> {
  const parsed = [
    {
      field: 'primary_endpoint',
      role: 'primary' as const,
      endpoint: parseEndpoint(endpoints.primary, 'primary_endpoint'),
    },
    ...endpoints.replicas.map((text, index) => {
      const field = `replicas[${String(index)}]`
      return { field, role: 'replica' as const, endpoint: parseEndpoint(text, field) }
    }),
  ]
  refuseRepeated(parsed)
  const taken = new Set<string>()
  const candidates: NodeCandidate[] = []
  for (const { endpoint, field, role } of parsed) {
    candidates.push(await candidateOf(parts, endpoint, { shard, role, field, taken }, signal))
  }
  return candidates
}

/** @throws FleetError `invalid_request` when two of them are the same database of the same server */
function refuseRepeated(parsed: readonly { readonly field: string; readonly endpoint: Endpoint }[]): void {
  for (const [index, { field, endpoint }] of parsed.entries()) {
    const same = parsed.slice(0, index).find((other) => isSameServer(other.endpoint, endpoint))
    if (same === undefined) continue
    throw new FleetError('invalid_request', `${field} is the same server as ${same.field}`, {
      hint: 'give every server once',
    })
  }
}

/** One endpoint with its password: given, known from another node of that server, or told by its agent. */
export async function candidateOf(
  parts: Parts,
  endpoint: Endpoint,
  place: CandidatePlace,
  signal: AbortSignal,
): Promise<NodeCandidate> {
  const known = knownNode(parts, endpoint)
  if (known !== null && endpoint.password === null) {
    const password = await parts.secrets.resolve(known.secretRef, signal)
    return candidate(parts, { ...endpoint, password }, place, {
      secretRef: known.secretRef,
      agent: known.agent,
      signal,
    })
  }
  const server = known === null ? await findServer(parts, endpoint, signal) : null
  const isUsersOwn = server?.server.user === endpoint.user
  const password =
    endpoint.password ?? (server !== null && isUsersOwn ? await parts.servers.password(server, signal) : null)
  return candidate(parts, { ...endpoint, password }, place, {
    secretRef: null,
    agent: server?.agent.id ?? known?.agent ?? null,
    signal,
    ...(server === null ? {} : { id: server.server.id }),
  })
}

/** Candidates of servers that an agent has just started. */
export async function candidatesOfServers(
  parts: Parts,
  shard: ShardId,
  servers: readonly AgentServer[],
  signal: AbortSignal,
): Promise<readonly NodeCandidate[]> {
  const taken = new Set<string>()
  return Promise.all(
    servers.map(async (one, index) => {
      const { host, port, database, user, id, tls = 'disable' } = one.server
      const password = await parts.servers.password(one, signal)
      const role = index === 0 ? ('primary' as const) : ('replica' as const)
      const place = { shard, role, field: `node ${id}`, taken }
      const endpoint: Endpoint = { host, port, database, user, password, tls }
      return candidate(parts, endpoint, place, { secretRef: null, agent: one.agent.id, id, signal })
    }),
  )
}

/** A node of the fleet on that server under that login: its password is that login's. */
function knownNode(parts: Parts, endpoint: Endpoint): NodeRecord | null {
  for (const { node } of parts.fleet.nodes()) {
    if (node.user === endpoint.user && isSameServer(node, endpoint)) return node
  }
  return null
}

async function findServer(
  parts: Parts,
  endpoint: Endpoint,
  signal: AbortSignal,
): Promise<AgentServer | null> {
  if (parts.fleet.state().agents.size === 0) return null
  return parts.servers.find(endpoint, signal)
}

interface GivenNode {
  readonly secretRef: string | null
  readonly agent: string | null
  readonly id?: string
  readonly signal: AbortSignal
}

async function candidate(
  parts: Parts,
  endpoint: Endpoint,
  place: CandidatePlace,
  given: GivenNode,
): Promise<NodeCandidate> {
  const { host, port, database, user, password, tls } = endpoint
  const id = given.id !== undefined && isFree(parts, given.id, place) ? given.id : freeNodeId(parts, place)
  place.taken.add(id)
  const secretName = `node-${id}`
  const isNewSecret = password !== null && given.secretRef === null
  return {
    field: place.field,
    target: { host, port, database, user, password, tls, tlsContext: parts.tlsContext },
    secret: isNewSecret ? await parts.catalog.secrets.putWrite(secretName, password, given.signal) : null,
    node: {
      id: parseNodeId(id),
      role: place.role,
      host,
      port,
      database,
      user,
      secretRef: isNewSecret ? `catalog:${secretName}` : given.secretRef,
      tls,
      region: null,
      zone: null,
      agent: given.agent,
    },
  }
}

const nodesMax = 1_000

/** `<shard>-1`, `<shard>-2` … */
function freeNodeId(parts: Parts, place: CandidatePlace): string {
  for (let number = 1; number <= nodesMax; number++) {
    const id = `${place.shard.slice(0, 58)}-${String(number)}`
    if (isFree(parts, id, place)) return id
  }
  throw new FleetError('already_exists', `no id is free for a node of shard ${place.shard}`)
}

function isFree(parts: Parts, id: string, place: CandidatePlace): boolean {
  if (place.taken.has(id)) return false
  for (const { node } of parts.fleet.nodes()) if (node.id === id) return false
  return true
}

/** How the engine reaches a node of a record. */
export async function targetOf(parts: Parts, node: NodeRecord, signal: AbortSignal): Promise<NodeTarget> {
  const { host, port, database, user, tls, secretRef } = node
  const password = await parts.secrets.resolve(secretRef, signal)
  return { host, port, database, user, password, tls, tlsContext: parts.tlsContext }
}
