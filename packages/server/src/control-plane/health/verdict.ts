// What a series of looks says of a primary, pure: healthy, suspect after one miss, down after three and only if its
// agent or its replicas see it gone, too. One controller's lost link is never a failover.
import type { AgentView, ShardProbe } from './probes.ts'

/** Misses in a row after which a primary may count as down. */
export const missesMax = 3
/** A receiver that has heard nothing for so long does not speak for its primary. */
const silentMsMax = 2_500
/** How long an agent may try to start a server again before its shard goes elsewhere, where that may cost writes. */
const restartMsMax = 3_000

/** What is kept of a shard from one look to the next. */
export interface Watched {
  /** Looks in a row that the primary did not answer. */
  readonly misses: number
  /** `clock.monotonic()` of the first of them; null when it answered last. */
  readonly missingSinceMs: number | null
}

/** Nothing was seen yet. */
export const unwatched: Watched = { misses: 0, missingSinceMs: null }

/** `isolated`: nobody else agrees that it is gone. `seen` is for people. */
export type Verdict =
  | { readonly kind: 'healthy' }
  | { readonly kind: 'suspect'; readonly seen: readonly string[] }
  | { readonly kind: 'isolated'; readonly seen: readonly string[] }
  | { readonly kind: 'down'; readonly seen: readonly string[] }

/** What is kept after this look. */
export function watchedAfter(before: Watched, probe: ShardProbe, nowMs: number): Watched {
  if (probe.primary === null || probe.primary.kind === 'answered') return unwatched
  return { misses: before.misses + 1, missingSinceMs: before.missingSinceMs ?? nowMs }
}

/** @param isSynchronous true where a failover loses nothing: then there is no reason to wait for a restart */
export function judge(
  watched: Watched,
  probe: ShardProbe,
  { nowMs, isSynchronous }: { readonly nowMs: number; readonly isSynchronous: boolean },
): Verdict {
  if (watched.misses === 0) return { kind: 'healthy' }
  const seen = witnesses(probe)
  if (watched.misses < missesMax) return { kind: 'suspect', seen: seen.texts }
  if (!seen.agree) return { kind: 'isolated', seen: seen.texts }
  const missingMs = nowMs - (watched.missingSinceMs ?? nowMs)
  const mayComeBack = !isSynchronous && missingMs < restartMsMax && isRestarting(probe.agent)
  return { kind: mayComeBack ? 'suspect' : 'down', seen: seen.texts }
}

/** Who else sees the primary gone. */
function witnesses(probe: ShardProbe): { readonly agree: boolean; readonly texts: readonly string[] } {
  const texts = [`primary: ${probe.primary?.kind === 'missed' ? probe.primary.reason : 'answers'}`]
  const agent = agentWitness(probe.agent)
  texts.push(`agent: ${agent.text}`)
  let gone = 0
  let there = 0
  for (const replica of probe.replicas) {
    if (replica.kind === 'missed') {
      texts.push(`${replica.node.id}: ${replica.reason}`)
      continue
    }
    const { receiver } = replica.probe
    const hears = receiver?.status === 'streaming' && receiver.silentMs <= silentMsMax
    if (hears) there += 1
    else gone += 1
    texts.push(`${replica.node.id}: ${hears ? 'streams from it' : 'hears nothing of it'}`)
  }
  // The agent stands beside the server: its word counts more than a stream that has not noticed yet.
  return { agree: agent.gone ?? (gone > 0 && gone > there), texts: texts.slice(0, 20) }
}

/** `gone` null: it cannot tell. */
function agentWitness(view: AgentView | null): { readonly gone: boolean | null; readonly text: string } {
  if (view === null) return { gone: null, text: 'was not asked' }
  if (view.kind === 'unreachable') return { gone: null, text: view.reason }
  const { process, answers, server } = view.liveness
  if (process === 'frozen') return { gone: true, text: 'its process is stopped by a signal' }
  if (process === 'none') return { gone: true, text: `it does not run (${server.state}, ${server.desired})` }
  return answers
    ? { gone: false, text: 'it runs and answers' }
    : { gone: true, text: 'it runs and does not answer' }
}

/** An agent that is about to start its server, or has not failed to yet. */
function isRestarting(view: AgentView | null): boolean {
  if (view?.kind !== 'told') return false
  const { server, process } = view.liveness
  if (server.desired !== 'running' || process === 'frozen') return false
  return server.state === 'starting' || (server.state === 'crashed' && server.start_failures === 0)
}
