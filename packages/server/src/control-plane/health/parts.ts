// What the health controller is made of, and how it reaches the servers and agents of a shard.
import {
  FleetError,
  type AgentRecord,
  type Clock,
  type NodeId,
  type NodeRecord,
  type ShardRecord,
} from '@fleetshard/core'
import type { AgentClient, ServerView } from '../../agent-api/mod.ts'
import type { AuditLog } from '../../audit/mod.ts'
import type { Catalog, CatalogView, Leadership } from '../../catalog/mod.ts'
import type { EngineName, HealthEngine, NodeTarget } from '../../engine/mod.ts'
import type { Logger, Metrics, Tracing } from '../../runtime/mod.ts'
import type { HealthMetrics } from './metrics.ts'
import type { NodeProbers } from './probers.ts'

/** Settings of a controller. */
export interface HealthOptions {
  /** Unique among managers: its name in the election. */
  readonly id: string
  /** How often a primary that answers is probed. */
  readonly probeMs: number
  /** Time of one probe; without an answer it is missed. */
  readonly probeTimeoutMs: number
  /** Most log that a candidate may lack, as far as is known, where writes wait for no replica. */
  readonly lagBytesMax: number
  /** How long `availability` waits for a replica before it goes on without. */
  readonly degradeMs: number
  readonly leaseTtlMs: number
}

/** Parts of a controller. Wired in roles/ only. */
export interface HealthParts {
  readonly log: Logger
  readonly metrics: Metrics
  /** Null, or left out, where there are no traces. */
  readonly tracing?: Tracing | null
  readonly clock: Clock
  readonly catalog: Catalog
  /** A live copy of the catalog, run by somebody else. */
  readonly view: Pick<CatalogView, 'current' | 'isLoaded' | 'loaded' | 'subscribe'>
  readonly engine: (name: EngineName) => HealthEngine
  readonly target: (node: NodeRecord, signal: AbortSignal) => Promise<NodeTarget>
  /** Told of failovers that nobody asked for. */
  readonly audit: Pick<AuditLog, 'append'>
  /** A client of that agent; resolves its token. */
  readonly agent: (record: AgentRecord, signal: AbortSignal) => Promise<AgentClient>
  /** For tests that kill a controller at each step: awaited before and after every effect. */
  readonly checkpoint?: (name: string) => Promise<void> | undefined
  readonly options: HealthOptions
}

/** A controller that was elected. */
export interface Leading {
  readonly parts: HealthParts
  readonly leadership: Leadership
  readonly probers: NodeProbers
  readonly figures: HealthMetrics
  /** Aborts with the leadership. */
  readonly signal: AbortSignal
}

/** ISO 8601. */
export const nowText = (parts: Pick<HealthParts, 'clock'>): string =>
  new Date(parts.clock.now()).toISOString()

/** A signal that aborts with the other one, or after that time. */
export function within(leading: Pick<Leading, 'parts' | 'signal'>, ms: number): AbortSignal & Disposable {
  const stop = new AbortController()
  const cancel = leading.parts.clock.after(ms, () => {
    stop.abort(new FleetError('deadline_exceeded', `no answer within ${String(ms)} ms`))
  })
  return Object.assign(AbortSignal.any([leading.signal, stop.signal]), { [Symbol.dispose]: cancel })
}

/** The node of that id. @throws FleetError `conflict` when it was taken out of the shard */
export function nodeOf(shard: ShardRecord, id: NodeId): NodeRecord {
  const node = shard.nodes.find((one) => one.id === id)
  if (node !== undefined) return node
  throw new FleetError('conflict', `node ${id} is no part of shard ${shard.id} any more`, {
    retryable: false,
  })
}

/** The primary by the record; null for a record without one. */
export function primaryOf(shard: ShardRecord): NodeRecord | null {
  return shard.nodes.find(({ role }) => role === 'primary') ?? null
}

/**
 * The agent of a node.
 * @throws FleetError `agent_unavailable` for a server that no agent runs, or whose agent is not registered
 */
export async function agentOf(
  { parts }: Pick<Leading, 'parts'>,
  node: NodeRecord,
  signal: AbortSignal,
): Promise<AgentClient> {
  if (node.agent === null) {
    throw new FleetError('agent_unavailable', `no agent runs node ${node.id}`, { retryable: false })
  }
  const record = parts.view.current().agents.get(node.agent)
  if (record !== undefined) return parts.agent(record, signal)
  throw new FleetError('agent_unavailable', `the agent ${node.agent} of node ${node.id} is not registered`)
}

/** What an order to follow says of the server to follow: its agent is asked by the other one, where it is another. */
export function upstreamOf(
  node: NodeRecord,
  of: NodeRecord,
): { readonly of: NodeId; readonly of_agent?: string } {
  return of.agent === null || of.agent === node.agent ? { of: of.id } : { of: of.id, of_agent: of.agent }
}

/** Where a server is, and whether it speaks TLS there. */
export type Place = Pick<NodeRecord, 'host' | 'port'> & Partial<Pick<NodeRecord, 'tls'>>

/** As its agent says; an agent of before that told it does not say how the server is connected to. */
export function placeOf({ host, port, tls }: ServerView): Place {
  return tls === undefined ? { host, port } : { host, port, tls }
}

/** Passes a checkpoint before and after an effect. */
export async function effect<T>(
  { parts }: Pick<Leading, 'parts'>,
  name: string,
  work: () => Promise<T>,
): Promise<T> {
  await parts.checkpoint?.(`before ${name}`)
  const value = await work()
  await parts.checkpoint?.(`after ${name}`)
  return value
}
