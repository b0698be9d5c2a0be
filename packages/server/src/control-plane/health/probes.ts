// One look at a shard: every server, and, where the primary does not answer, what its agent and its replicas say of it.
import type { NodeId, NodeRecord, ShardRecord } from '@fleetshard/core'
import { isFleetError, toFleetError } from '@fleetshard/core'
import type { Liveness } from '../../agent-api/mod.ts'
import type { NodeFigures, NodeProbe, NodeProber } from '../../engine/mod.ts'
import { agentOf, placeOf, primaryOf, within, type Leading, type Place } from './parts.ts'

/** What one server answered; `error` when it did not. */
export type ProbeResult =
  | {
      readonly kind: 'answered'
      readonly node: NodeRecord
      readonly probe: NodeProbe
      /** What the server bears, where that is known. */
      readonly figures: NodeFigures | null
    }
  | { readonly kind: 'missed'; readonly node: NodeRecord; readonly reason: string }

/** What the primary's agent found; `unreachable` where it has none or does not answer. */
export type AgentView =
  | { readonly kind: 'told'; readonly liveness: Liveness }
  | { readonly kind: 'unreachable'; readonly reason: string }

/** All that was found of a shard at one moment. */
export interface ShardProbe {
  readonly shard: ShardRecord
  readonly primary: ProbeResult | null
  readonly replicas: readonly ProbeResult[]
  /** Null where the primary answered, or nobody asked. */
  readonly agent: AgentView | null
}

/** Longest that an agent is waited for: it asks its server itself. */
const agentMsMax = 1_500

/**
 * Looks at every server at once; once more at the replicas where that decides. Never throws but for the signal.
 * @param asksAgent false where the word of the primary's agent decides nothing yet: one that is cut off takes its time
 */
export async function probeShard(
  leading: Leading,
  shard: ShardRecord,
  asksAgent = true,
): Promise<ShardProbe> {
  const primary = primaryOf(shard)
  const asking = asksAgent && primary !== null ? askAgent(leading, primary) : null
  asking?.catch(() => undefined) // met below, where it counts
  const others = shard.nodes.filter((node) => node !== primary)
  const [first, ...answers] = await Promise.all([
    primary === null ? null : probeNode(leading, primary),
    ...others.map((node) => probeNode(leading, node)),
  ])
  const replicas = answers.filter((result) => result !== null)
  if (first?.kind !== 'missed' || !asksAgent) return { shard, primary: first, replicas, agent: null }
  const agent = await asking
  // A second and more has passed: what they have heard of their primary since then is what counts.
  const since = replicas.map(async (result) =>
    result.kind === 'missed' ? result : await probeNode(leading, result.node),
  )
  return { shard, primary: first, replicas: await Promise.all(since), agent }
}

/** One server. A primary that says it is a replica, or the other way round, has answered. */
export async function probeNode(leading: Leading, node: NodeRecord): Promise<ProbeResult> {
  const { parts, probers, signal } = leading
  const timeoutMs = parts.options.probeTimeoutMs
  try {
    const prober = probers.held(node) ?? (await openProber(leading, node))
    const probe = await prober.probe({ signal, timeoutMs })
    return { kind: 'answered', node, probe, figures: prober.figures }
  } catch (error) {
    probers.drop(node.id)
    signal.throwIfAborted()
    return { kind: 'missed', node, reason: toFleetError(error).message }
  }
}

async function openProber(leading: Leading, node: NodeRecord): Promise<NodeProber> {
  using signal = within(leading, leading.parts.options.probeTimeoutMs)
  return await leading.probers.open(node, signal)
}

/** True when a server did not answer. */
export const hasMissed = ({ primary, replicas }: ShardProbe): boolean =>
  primary?.kind === 'missed' || replicas.some(({ kind }) => kind === 'missed')

/** Where the agents have the servers that did not answer: one whose port was taken while it was down has another. */
export async function placesOfMissed(
  leading: Leading,
  { agent, primary, replicas }: ShardProbe,
): Promise<ReadonlyMap<NodeId, Place>> {
  const places = new Map<NodeId, Place>()
  if (primary !== null && agent?.kind === 'told') {
    const { server } = agent.liveness
    if (server.state === 'running') places.set(primary.node.id, placeOf(server))
  }
  const missed = replicas.filter(({ kind }) => kind === 'missed')
  await Promise.all(
    missed.map(async ({ node }) => {
      try {
        using signal = within(leading, agentMsMax)
        const agent = await agentOf(leading, node, signal)
        const server = await agent.get(node.id, signal)
        if (server.state === 'running') places.set(node.id, placeOf(server))
      } catch {
        // An agent that does not answer knows no other place: the server stays one that was missed.
        leading.signal.throwIfAborted()
      }
    }),
  )
  return places
}

async function askAgent(leading: Leading, node: NodeRecord): Promise<AgentView> {
  try {
    using signal = within(leading, agentMsMax)
    const agent = await agentOf(leading, node, signal)
    return { kind: 'told', liveness: await agent.liveness(node.id, signal) }
  } catch (error) {
    leading.signal.throwIfAborted()
    const { message } = toFleetError(error)
    // An agent that knows no such server says that it does not run there.
    const reason = isFleetError(error, 'not_found') ? `its agent does not know it: ${message}` : message
    return { kind: 'unreachable', reason }
  }
}

/** The probe of a node, where it answered. */
export function answerOf(probe: ShardProbe, node: NodeId): NodeProbe | null {
  const found = [probe.primary, ...probe.replicas].find((result) => result?.node.id === node)
  return found?.kind === 'answered' ? found.probe : null
}
