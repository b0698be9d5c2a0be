// What is done in each state of a failover up to the new primary in the map. A step returns the event that it led to,
// with what is to be written down; it may be run twice, by two managers. The rest is after-care.ts.
import {
  FleetError,
  parseEpoch,
  parseLsn,
  parseTerm,
  toFleetError,
  type CommitQuorum,
  type NodeId,
  type NodeRecord,
  type QuorumRecord,
  type ShardRecord,
} from '@fleetshard/core'
import type { AgentClient } from '../../agent-api/mod.ts'
import type { ReplicaPosition } from '../../engine/mod.ts'
import { elect, positionOf, type Ballot, type Election } from './election.ts'
import { fence, termOf } from './fence.ts'
import type { CandidateVerdict, FailoverDetail, FailoverJob } from './job.ts'
import type { FailoverEvent } from './machine.ts'
import { agentOf, effect, nodeOf, placeOf, upstreamOf, within, type Leading } from './parts.ts'
import { durabilityOf, isSameQuorum, isSynchronous, missingProof, quorumOf } from './quorum.ts'
import { isConfirmed, quorumRecord } from './quorum-record.ts'
import { nameSuccessor } from './shard-change.ts'

/** How long routers get to say that they hold; one that does not meets a primary that is gone. */
const acknowledgeMsMax = 800
/** How long statements that are under way get to end before a planned stop. */
const drainMsMax = 300
const pollMs = 5
/** Reading a replica, and its replay of what it has. */
const readMsMax = 5_000
const promoteMsMax = 15_000
const followMsMax = 2_000

/** A job with the shard as it is now. */
export interface StepContext {
  readonly leading: Leading
  readonly job: FailoverJob
  readonly shard: ShardRecord
}

/** `wait`: not yet, for that reason; tried again until the deadline of the state. `committed`: the step wrote it. */
export type StepOutcome =
  | { readonly kind: 'event'; readonly event: FailoverEvent; readonly change?: Partial<FailoverDetail> }
  | { readonly kind: 'wait'; readonly reason: string; readonly change?: Partial<FailoverDetail> }
  | { readonly kind: 'committed' }

/** `declared`: routers hold statements; in a switchover those under way end first. */
export async function awaitHold({ leading, job, shard }: StepContext): Promise<StepOutcome> {
  if (job.detail.kind === 'switchover') {
    await acknowledged(leading, job)
    await drained(leading, nodeOf(shard, job.detail.from))
  }
  return { kind: 'event', event: 'held' }
}

async function acknowledged({ parts, signal }: Leading, { stored, detail }: FailoverJob): Promise<void> {
  const until = parts.clock.monotonic() + acknowledgeMsMax
  const { keyspace } = stored.record
  for (;;) {
    const routers = await parts.catalog.routers.list(signal)
    const isHeld = routers.every(({ record }) => (record.ackedEpochs[keyspace] ?? -1) >= (detail.epoch ?? 0))
    if (isHeld || parts.clock.monotonic() > until) return
    await parts.clock.sleep(pollMs, signal)
  }
}

/** Best effort: what is still open afterwards is ended by the stop, and its clients are told. */
async function drained(leading: Leading, primary: NodeRecord): Promise<void> {
  const { parts } = leading
  using signal = within(leading, drainMsMax)
  try {
    const target = await parts.target(primary, signal)
    while ((await parts.engine('postgres').busySessions(target, { signal })) > 0) {
      await parts.clock.sleep(pollMs, signal)
    }
  } catch {
    // Out of time, or nobody can be asked any more: the stop that follows does not depend on it.
    leading.signal.throwIfAborted()
  }
}

/** `fencing`: see fence.ts. */
export async function fenceOld({ leading, job, shard }: StepContext): Promise<StepOutcome> {
  const sets = await setsOf(leading, shard)
  const { proof, missing, shutdownPosition } = await fence(leading, job, { shard, sets })
  if (proof === null) return { kind: 'wait', reason: missing }
  return { kind: 'event', event: 'fenced', change: { proof, shutdownPosition } }
}

/** The sets of replicas that commits of the shard may have waited for; `[null]` where none did. */
export async function setsOf(leading: Leading, shard: ShardRecord): Promise<QuorumRecord['sets']> {
  const found = await leading.parts.catalog.quorums.get(shard.keyspace, shard.id, leading.signal)
  return found?.record.sets ?? [null]
}

/** `electing`: reads every replica that is cut off, and writes down the choice before anything is done about it. */
export async function electSuccessor({ leading, job, shard }: StepContext): Promise<StepOutcome> {
  const { detail } = job
  const lost = detail.candidates.find(({ node }) => node === detail.to) ?? null
  if (detail.to !== null) await fenceLostCandidate(leading, job, nodeOf(shard, detail.to))
  const sets = await setsOf(leading, shard)
  // Where commits wait for replicas, or the old primary was shut down in order, reading tells who has everything.
  const isTold = isSynchronous(sets) || detail.shutdownPosition !== null || detail.force
  const others = shard.nodes.filter(({ id }) => id !== detail.from && id !== detail.to)
  const ballots = await Promise.all(
    others.map(async (node): Promise<Ballot> => {
      const obstacle = standbyObstacle(node, isTold)
      if (obstacle !== null) return { node: node.id, revoked: false, position: null, obstacle }
      return await ballotOf(leading, job, node)
    }),
  )
  const shutdownPosition = detail.shutdownPosition === null ? null : parseLsn(detail.shutdownPosition)
  const { wanted, allowDataLoss } = detail
  const election = elect(ballots, { wanted, allowDataLoss, shutdownPosition })
  const candidates = lost === null ? [...election.verdicts] : [...election.verdicts, lost]
  if (lost !== null && isSynchronous(sets) && !hasAllOf(lost, election)) {
    // Only it is known to have every acknowledged write: nobody else leads, and it is told again once it is back.
    return { kind: 'event', event: 'elected', change: { candidates } }
  }
  const lossBytesMax = isSynchronous(sets) || shutdownPosition !== null ? 0 : lossOf(detail, election)
  const obstacle = electionObstacle(leading, { detail, election, sets, lossBytesMax, lost })
  if (obstacle !== null || election.elected === null) {
    return { kind: 'wait', reason: obstacle ?? 'no replica may lead', change: { candidates } }
  }
  return { kind: 'event', event: 'elected', change: { candidates, to: election.elected, lossBytesMax } }
}

/** A former primary that has not caught up has its own last writes, and none that were acknowledged since. */
export function standbyObstacle({ role }: NodeRecord, isTold: boolean): string | null {
  return role === 'standby' && !isTold ? 'it has not come back as a replica since it was taken out' : null
}

/** It was cut off when it was read, so it has no more than that: whoever has as much has all that it had. */
function hasAllOf(lost: CandidateVerdict, { timeline, position }: Election): boolean {
  if (position === null || lost.position === null) return false
  return timeline === lost.timeline && position >= parseLsn(lost.position)
}

/** Bytes of log that the old primary was seen to have written and the elected one has not. */
function lossOf({ lastPosition }: FailoverDetail, { position }: Election): number {
  if (lastPosition === null || position === null) return 0
  const lacks = parseLsn(lastPosition) - position
  return lacks > 0n ? Number(lacks) : 0
}

function electionObstacle(
  { parts }: Leading,
  found: {
    readonly detail: FailoverDetail
    readonly election: Election
    readonly sets: QuorumRecord['sets']
    readonly lossBytesMax: number
    /** A candidate that was told to lead and was lost: what it was read to have still counts. */
    readonly lost: CandidateVerdict | null
  },
): string | null {
  const { detail, election, sets, lossBytesMax, lost } = found
  // Who has the record of a shutdown in order has everything; nobody else is eligible then.
  if (detail.force || detail.shutdownPosition !== null) return null
  const read = new Set(election.verdicts.filter(({ eligible }) => eligible).map(({ node }) => node))
  if (lost !== null) read.add(lost.node)
  if (isSynchronous(sets)) return missingProof(sets, read)
  if (lossBytesMax <= parts.options.lagBytesMax) return null
  return `${election.elected ?? ''} lacks ${String(lossBytesMax)} bytes of log, more than health.lag-bytes-max`
}

/** A candidate that was told to lead and was lost may have become a primary: it must be gone before another is told. */
async function fenceLostCandidate(leading: Leading, job: FailoverJob, node: NodeRecord): Promise<void> {
  using signal = within(leading, readMsMax)
  const agent = await agentOf(leading, node, signal)
  await effect(leading, `fence candidate ${node.id}`, () =>
    agent.fence(node.id, { mode: 'immediate', ...termOf(job) }, signal),
  )
}

async function ballotOf(leading: Leading, job: FailoverJob, node: NodeRecord): Promise<Ballot> {
  const { parts } = leading
  using signal = within(leading, readMsMax)
  let revoked = false
  try {
    const agent = await agentOf(leading, node, signal)
    const server = await agent.detach(node.id, termOf(job), signal)
    revoked = true
    // Where its agent says it is: a server whose port was taken while it was down has another by now.
    const target = await parts.target({ ...node, ...placeOf(server) }, signal)
    for (;;) {
      const position = await parts.engine('postgres').readPosition(target, { signal })
      if (isSettled(position) || signal.aborted) return { node: node.id, revoked, position, obstacle: null }
      await parts.clock.sleep(pollMs, signal)
    }
  } catch (error) {
    leading.signal.throwIfAborted()
    return { node: node.id, revoked, position: null, obstacle: toFleetError(error).message }
  }
}

const isSettled = (position: ReplicaPosition): boolean =>
  !position.inRecovery || (!position.receiving && positionOf(position) !== null)

/** Who must confirm commits of that primary. */
function ownQuorum({ parts }: Leading, shard: ShardRecord, to: NodeId): CommitQuorum | null {
  const keyspace = parts.view.current().keyspaces.get(shard.keyspace)
  return quorumOf(durabilityOf(keyspace?.keyspace.durability, shard), to, shard.nodes)
}

/**
 * `promoting`: the candidate leads, its database knows the term, the others follow it; then the map names it. Nobody
 * writes to it before that, so its quorum is the only one from the same commit on.
 */
export async function promote(context: StepContext): Promise<StepOutcome> {
  const { leading, job, shard } = context
  const { parts } = leading
  const { detail } = job
  if (detail.to === null || detail.term === null || detail.epoch === null) {
    throw new FleetError('corrupt_record', 'a failover promotes nobody')
  }
  const to = nodeOf(shard, detail.to)
  const own = ownQuorum(leading, shard, to.id)
  using signal = within(leading, promoteMsMax)
  const agent = await agentOf(leading, to, signal)
  await startAgain(agent, { job, to: to.id, signal })
  const sync = own === null ? {} : { sync: { members: [...own.members], required: own.required } }
  const { timeline, server } = await effect(leading, 'promote', () =>
    agent.promote(to.id, { ...termOf(job), ...sync }, signal),
  )
  const place = placeOf(server)
  const target = await parts.target({ ...to, ...place }, signal)
  const repointing = repoint(context, to)
  repointing.catch(() => undefined) // met below, unless what comes between fails first
  await effect(leading, 'assert term', () =>
    parts.engine('postgres').assertTerm(
      target,
      {
        shard: shard.id,
        term: parseTerm(detail.term ?? 0),
        epochMin: parseEpoch(detail.epoch ?? 0),
      },
      { signal },
    ),
  )
  if (own !== null) await repointing
  const found = await parts.catalog.quorums.get(shard.keyspace, shard.id, signal)
  // Its members may not have yet what others have confirmed to the old primary: until they do both sets count.
  const isWhole = own === null || (await isConfirmed(leading, { ...to, ...place }, own))
  const before = (found?.record.sets ?? []).filter((set) => set !== null && !isSameQuorum(set, own))
  const sets = isWhole ? [own] : [...before.slice(-2), own]
  await effect(leading, 'map', () =>
    nameSuccessor(leading, job, {
      to: { id: to.id, ...place },
      quorum: { found, record: quorumRecord(shard, sets, found) },
      detail: { timeline },
    }),
  )
  await repointing
  return { kind: 'committed' }
}

/** A candidate that was lost was stopped for good; where it is chosen again it may start. */
async function startAgain(
  agent: AgentClient,
  { job, to, signal }: { readonly job: FailoverJob; readonly to: NodeId; readonly signal: AbortSignal },
): Promise<void> {
  if ((await agent.get(to, signal)).desired !== 'fenced') return
  await agent.start(to, { unfence: true, ...termOf(job) }, signal)
}

/** Tells the other replicas whom to follow; one that does not hear is told again later. */
export async function repoint(
  { leading, job, shard }: StepContext,
  to: NodeRecord,
): Promise<readonly NodeId[]> {
  const others = shard.nodes.filter(({ id }) => id !== job.detail.from && id !== to.id)
  const told = await Promise.all(
    others.map(async (node) => {
      try {
        using signal = within(leading, followMsMax)
        const agent = await agentOf(leading, node, signal)
        await agent.follow(node.id, { ...upstreamOf(node, to), wait: false, ...termOf(job) }, signal)
        return []
      } catch (error) {
        leading.signal.throwIfAborted()
        leading.parts.log.warn({ err: error, node: node.id }, 'a replica was not told whom to follow')
        return [node.id]
      }
    }),
  )
  return told.flat()
}
