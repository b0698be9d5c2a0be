// Who leads next, pure: judges what was read of each replica after the fence.
import { formatLsn, type Lsn, type NodeId } from '@fleetshard/core'
import type { ReplicaPosition } from '../../engine/mod.ts'
import type { CandidateVerdict } from './job.ts'

/** What is known of one replica. */
export interface Ballot {
  readonly node: NodeId
  /** Its agent has confirmed that it receives nothing any more. */
  readonly revoked: boolean
  /** Null when it could not be read, for that reason. */
  readonly position: ReplicaPosition | null
  readonly obstacle: string | null
}

/** What an election may go by besides positions. */
export interface Preference {
  /** The operator's choice. */
  readonly wanted: NodeId | null
  /** Take the operator's choice also when another has more. */
  readonly allowDataLoss: boolean
  /** Where the old primary's shutdown checkpoint begins, if it was shut down in order: only who has it may lead. */
  readonly shutdownPosition: Lsn | null
}

/** Null: nobody may lead. */
export interface Election {
  readonly elected: NodeId | null
  readonly position: Lsn | null
  readonly timeline: number | null
  readonly verdicts: readonly CandidateVerdict[]
}

interface Judged {
  readonly ballot: Ballot
  readonly position: Lsn | null
  readonly timeline: number
  readonly obstacle: string | null
}

/** The most advanced on the newest timeline wins; the operator's choice, then the order given, break ties. */
export function elect(ballots: readonly Ballot[], preference: Preference): Election {
  const judged = ballots.map((ballot) => judge(ballot, preference))
  const able = judged.filter(({ obstacle }) => obstacle === null)
  const best = able.toSorted(
    (a, b) =>
      b.timeline - a.timeline || compare(b.position, a.position) || rank(a, preference) - rank(b, preference),
  )[0]
  const chosen = choose(best, able, preference)
  const verdicts = judged.map((one) => verdictOf(one, { best, chosen, preference }))
  return {
    elected: chosen?.ballot.node ?? null,
    position: chosen?.position ?? null,
    timeline: chosen?.timeline ?? null,
    verdicts,
  }
}

function judge(ballot: Ballot, { shutdownPosition }: Preference): Judged {
  const { position: read } = ballot
  const position = read === null ? null : positionOf(read)
  const timeline = read?.timeline ?? 0
  const obstacle = obstacleOf(ballot, position, shutdownPosition)
  return { ballot, position, timeline, obstacle }
}

/** The greatest of what was received and replayed; after a restart only what replay has used up tells. */
export function positionOf({ received, replayed, exhausted }: ReplicaPosition): Lsn | null {
  if (received === null) return exhausted ? replayed : null
  return replayed === null || received > replayed ? received : replayed
}

function obstacleOf(ballot: Ballot, position: Lsn | null, shutdown: Lsn | null): string | null {
  const { position: read, obstacle, revoked } = ballot
  if (read === null) return obstacle ?? 'it could not be read'
  if (!read.inRecovery) return 'it is no replica: it was promoted behind our back'
  if (!revoked || read.receiving) return 'it may still receive from the old primary'
  if (position === null) return 'it has not replayed its own log yet'
  if (shutdown !== null && position <= shutdown) return 'it has not all that the old primary had written'
  return null
}

function choose(
  best: Judged | undefined,
  able: readonly Judged[],
  preference: Preference,
): Judged | undefined {
  const { wanted, allowDataLoss } = preference
  if (wanted === null || best === undefined) return best
  const choice = able.find(({ ballot }) => ballot.node === wanted)
  if (choice === undefined) return undefined
  const isEqual = choice.timeline === best.timeline && choice.position === best.position
  return isEqual || allowDataLoss ? choice : undefined
}

function verdictOf(
  one: Judged,
  found: { best: Judged | undefined; chosen: Judged | undefined; preference: Preference },
): CandidateVerdict {
  return {
    node: one.ballot.node,
    timeline: one.ballot.position === null ? null : one.timeline,
    position: one.position === null ? null : formatLsn(one.position),
    revoked: one.ballot.revoked,
    eligible: one.obstacle === null,
    verdict: textOf(one, found),
  }
}

function textOf(
  one: Judged,
  {
    best,
    chosen,
    preference,
  }: { best: Judged | undefined; chosen: Judged | undefined; preference: Preference },
): string {
  if (one.obstacle !== null || best === undefined) return one.obstacle ?? 'nobody may lead'
  const lacks = lackOf(one, best)
  if (one === chosen)
    return lacks === null ? 'chosen: it has the most' : `chosen by the operator although ${lacks}`
  if (lacks === null) return 'it has as much; another was preferred'
  const isRefused = chosen === undefined && one.ballot.node === preference.wanted
  return isRefused ? `not taken: ${lacks}; name that one, or allow the loss` : lacks
}

/** What it has not that the best one has; null when nothing. */
function lackOf(one: Judged, best: Judged): string | null {
  if (one.timeline < best.timeline) return 'it is on an older timeline'
  const behind = (best.position ?? 0n) - (one.position ?? 0n)
  return behind > 0n ? `it is ${String(behind)} bytes of log behind ${best.ballot.node}` : null
}

const compare = (a: Lsn | null, b: Lsn | null): number => {
  const difference = (a ?? 0n) - (b ?? 0n)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

const rank = ({ ballot }: Judged, { wanted }: Preference): number => (ballot.node === wanted ? 0 : 1)
