// This manager's part in the election of the leading manager, and its knowledge of who leads.
import type { CandidateRecord, Leadership, LeaseDeps } from '../../catalog/mod.ts'
import { leadWhileElected, watchLeader } from '../../catalog/mod.ts'
import { untilAborted } from '../../runtime/mod.ts'
import type { ManagerMetrics } from './metrics.ts'

/** Name of the election. */
export const electionName = 'manager'

/** Who leads, as far as this manager knows. */
export interface Leader {
  /** Null while another manager leads, or none. */
  leadership(): Leadership | null
  /** The leading manager, itself included; null when none is known. */
  leader(): CandidateRecord | null
  /** Resolves when a leader is known for the first time. */
  known(): Promise<void>
  /** Takes part until the signal aborts, then resigns. */
  run(signal: AbortSignal): Promise<void>
}

interface LeaderParts {
  readonly deps: LeaseDeps
  readonly id: string
  readonly url: () => string
  readonly ttlMs: number
  /** Runs after the election is won and before the first change: the live copy must not lag behind the last leader. */
  readonly prepare: (signal: AbortSignal) => Promise<void>
  readonly metrics: Pick<ManagerMetrics, 'leading'>
}

/** A candidate that has not been elected yet. */
export function createLeader(parts: LeaderParts): Leader {
  const { deps } = parts
  let held: Leadership | null = null
  let known: CandidateRecord | null = null
  const first = Promise.withResolvers<void>()

  async function lead(leadership: Leadership, signal: AbortSignal): Promise<void> {
    await parts.prepare(signal)
    held = leadership
    parts.metrics.leading(true)
    deps.log.info({ manager: parts.id }, 'this manager leads')
    try {
      await untilAborted(signal)
    } finally {
      held = null
      parts.metrics.leading(false)
      deps.log.info({ manager: parts.id }, 'this manager does not lead any more')
    }
  }

  async function watch(signal: AbortSignal): Promise<void> {
    for await (const candidate of watchLeader(deps, electionName, signal)) {
      known = candidate
      if (candidate !== null) first.resolve()
    }
  }

  return {
    leadership: () => (held?.isLeader() === true ? held : null),
    leader: () => known,
    known: () => first.promise,
    async run(signal) {
      const since = new Date(deps.clock.now()).toISOString()
      const candidate = { id: parts.id, url: parts.url(), since }
      const candidacy = { name: electionName, candidate, ttlMs: parts.ttlMs }
      await Promise.all([leadWhileElected(deps, candidacy, lead, signal), watch(signal)])
    },
  }
}
