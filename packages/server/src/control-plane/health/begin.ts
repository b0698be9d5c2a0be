// How a failover begins: by what the controller sees, or by an operator's order; and what is written down of one that
// may not happen.
import { randomUUID } from 'node:crypto'
import {
  FleetError,
  formatLsn,
  toFleetError,
  type JobId,
  type JobRecord,
  type Lsn,
  type NodeId,
  type NodeRecord,
  type ShardId,
  type ShardRecord,
} from '@fleetshard/core'
import type { CatalogState } from '../../catalog/mod.ts'
import {
  failoverJobType,
  moved,
  newFailoverJob,
  parseFailoverDetail,
  readFailoverJob,
  type CandidateVerdict,
  type FailoverJob,
} from './job.ts'
import { effect, nodeOf, nowText, primaryOf, within, type Leading } from './parts.ts'
import { answerOf, probeShard, type ShardProbe } from './probes.ts'
import { declare } from './shard-change.ts'
import { standbyObstacle, type StepContext, type StepOutcome } from './steps.ts'

/** A switchover to a replica that is further behind would hold writes for too long. */
const switchoverLagBytesMax = 16 * 1024 * 1024
const checkpointMsMax = 60_000

/** What the controller knows of a primary that it has found down. */
export interface Incident {
  readonly shard: ShardRecord
  readonly primary: NodeId
  readonly probe: ShardProbe
  readonly seen: readonly string[]
  /** The last that it was seen to have written; null when it was never seen. */
  readonly lastPosition: Lsn | null
  /** Commits wait for replicas: who has confirmed them can be told by reading. */
  readonly isSynchronous: boolean
}

/** Why nothing may be done automatically; null when it may. */
export function obstacleTo(leading: Leading, incident: Incident): string | null {
  const { probe } = incident
  const candidates = candidatesOf(leading, incident)
  if (candidates.length === 0) return 'the shard has no replica'
  if (!candidates.some(({ eligible }) => eligible)) return 'no replica could lead: see each one'
  if (incident.isSynchronous) return null
  if (probe.agent?.kind === 'told') return null
  const reason = probe.agent?.reason ?? 'it was not asked'
  return `nobody can confirm that the old primary is dead (its agent: ${reason}), and writes wait for no replica`
}

/** What can be told of each replica before anything is fenced. */
export function candidatesOf(
  { parts }: Pick<Leading, 'parts'>,
  found: Pick<Incident, 'shard' | 'probe' | 'lastPosition' | 'isSynchronous'>,
): readonly CandidateVerdict[] {
  const { shard, probe, lastPosition } = found
  const primary = primaryOf(shard)
  return shard.nodes
    .filter((node) => node !== primary)
    .map((node): CandidateVerdict => {
      const answer = answerOf(probe, node.id)
      const position = answer?.position ?? null
      const lacks = lastPosition === null || position === null ? 0n : lastPosition - position
      const obstacle =
        standbyObstacle(node, found.isSynchronous) ??
        obstacleOf(node, answer, Number(lacks), parts.options.lagBytesMax)
      return {
        node: node.id,
        timeline: answer?.timeline ?? null,
        position: position === null ? null : formatLsn(position),
        revoked: false,
        eligible: obstacle === null,
        verdict: obstacle ?? 'it could lead',
      }
    })
}

function obstacleOf(
  node: NodeRecord,
  found: ReturnType<typeof answerOf>,
  lacks: number,
  lagBytesMax: number,
): string | null {
  if (found === null) return 'it does not answer'
  if (node.agent === null) return 'no agent runs it that could promote it'
  if (!found.inRecovery) return 'it is no replica'
  if (lacks > lagBytesMax) return `it lacks ${String(lacks)} bytes of log, more than health.lag-bytes-max`
  return null
}

/**
 * Declares the failover: from here on its job carries it.
 * @throws FleetError `conflict` when the shard has changed meanwhile, and those of the catalog
 */
export async function declareFailover(leading: Leading, incident: Incident): Promise<JobId> {
  const record = recordOf(leading, incident, 'declared', null)
  const { shard } = incident
  const declared = { kind: 'new', record, detail: parseFailoverDetail(record.detail) } as const
  await effect(leading, 'declare', () => declare(leading, declared, { term: shard.term, change: {} }))
  await tellAudit(leading, incident, record)
  return record.id
}

/** What nobody asked for is in the audit log as well; that it cannot be written keeps no shard without a primary. */
async function tellAudit({ parts }: Leading, { shard, primary }: Incident, job: JobRecord): Promise<void> {
  try {
    await parts.audit.append({
      at: nowText(parts),
      phase: 'ended',
      change: job.id,
      who: { kind: 'system', subject: 'health', role: null },
      from: parts.options.id,
      what: 'failover.declare',
      target: `${shard.keyspace}/${shard.name}`,
      reason: 'the primary is down',
      traceId: '',
      before: { primary, term: shard.term },
      after: { job: job.id },
      outcome: 'ok',
    })
  } catch (error) {
    parts.log.error({ shard: shard.id, err: error }, 'a failover is not in the audit log')
  }
}

/** Writes down that nothing was done, and why, for `failover explain`. */
export async function recordRefusal(leading: Leading, incident: Incident, reason: string): Promise<void> {
  const { parts, leadership, signal } = leading
  const record = recordOf(leading, incident, 'failed', reason)
  await parts.catalog.jobs.create(record, { conditions: [leadership.condition], signal })
}

function recordOf(
  leading: Leading,
  incident: Incident,
  state: 'declared' | 'failed',
  waitsFor: string | null,
): JobRecord {
  const { shard, seen, lastPosition } = incident
  return newFailoverJob({
    id: `failover-${randomUUID()}`,
    keyspace: shard.keyspace,
    kind: 'failover',
    shard: shard.id,
    from: incident.primary,
    by: 'health',
    reason: 'the primary is down',
    now: nowText(leading.parts),
    state,
    detail: {
      seen: [...seen],
      waitsFor,
      lastPosition: lastPosition === null ? null : formatLsn(lastPosition),
      candidates: [...candidatesOf(leading, incident)],
    },
  })
}

/** `requested`: an operator's order; it is refused where it cannot go well. */
export async function begin({ leading, job, shard }: StepContext): Promise<StepOutcome> {
  const { detail } = job
  const primary = primaryOf(shard)
  if (primary?.id !== detail.from) return refused(`${detail.from} does not lead the shard any more`)
  if (shard.hold !== undefined) return { kind: 'wait', reason: `the job ${shard.hold.job} holds the shard` }
  await supersedeOthers(leading, job)
  const probe = await probeShard(leading, shard)
  const last = probe.primary?.kind === 'answered' ? probe.primary.probe.position : null
  // An operator may choose any: a switchover asks more of the node below, and a forced one is answered for.
  const candidates = candidatesOf(leading, { shard, probe, lastPosition: last, isSynchronous: true })
  const obstacle =
    detail.kind === 'switchover' ? switchoverObstacle(detail.wanted, { shard, probe, candidates }) : null
  if (obstacle !== null) return refused(obstacle, candidates)
  if (detail.kind === 'switchover') await checkpointAhead(leading, primary)
  const lastPosition = last === null ? null : formatLsn(last)
  const known = { candidates: [...candidates], lastPosition }
  await effect(leading, 'declare', () =>
    declare(leading, { kind: 'found', job }, { term: shard.term, change: known }),
  )
  return { kind: 'committed' }
}

/** A forced one does not wait for an earlier one that still brings its former primary back. */
async function supersedeOthers(leading: Leading, job: FailoverJob): Promise<void> {
  for (const other of openFailovers(leading, job.detail.shard)) {
    if (other.stored.record.id === job.stored.record.id || other.state === 'requested') continue
    await supersede(leading, other)
  }
}

type Jobs = CatalogState['jobs']

/** Of jobs that have been looked through: a thousand shards ask every second, and jobs change seldom. */
const openOf = new WeakMap<Jobs, readonly FailoverJob[]>()

/** Failovers of the shard that have not ended. */
export function openFailovers({ parts }: Pick<Leading, 'parts'>, shard: ShardId): readonly FailoverJob[] {
  const { jobs } = parts.view.current()
  let open = openOf.get(jobs)
  if (open === undefined) {
    open = findOpen(jobs)
    openOf.set(jobs, open)
  }
  return open.filter(({ detail }) => detail.shard === shard)
}

const findOpen = (jobs: Jobs): readonly FailoverJob[] =>
  [...jobs.values()]
    .filter(
      ({ record: { type, status } }) =>
        type === failoverJobType && (status === 'pending' || status === 'running'),
    )
    .map(readFailoverJob)

/**
 * An earlier failover that still waits for its former primary gives way to the next.
 * @throws FleetError `catalog_conflict` when it went on meanwhile, `internal` when its map is not there yet
 */
export async function supersede({ parts, leadership, signal }: Leading, job: FailoverJob): Promise<void> {
  const next = moved(job, 'supersede', { now: nowText(parts) })
  const { conditions, writes } = parts.catalog.jobs.updateParts(job.stored, next)
  const result = await parts.catalog.store.commit([leadership.condition, ...conditions], writes, signal)
  if (result.kind === 'conflict') throw new FleetError('catalog_conflict', 'the earlier failover went on')
}

function refused(waitsFor: string, candidates: readonly CandidateVerdict[] = []): StepOutcome {
  return { kind: 'event', event: 'refuse', change: { waitsFor, candidates: [...candidates] } }
}

/** Why that replica cannot take over as planned; of the best one when none is named. */
function switchoverObstacle(
  wanted: NodeId | null,
  found: {
    readonly shard: ShardRecord
    readonly probe: ShardProbe
    readonly candidates: readonly CandidateVerdict[]
  },
): string | null {
  const { shard, probe, candidates } = found
  if (probe.primary?.kind !== 'answered') {
    return `the primary does not answer (${probe.primary?.reason ?? 'there is none'}): that is a failover, ask for it with force`
  }
  const named = wanted === null ? candidates : candidates.filter(({ node }) => node === wanted)
  if (named.length === 0)
    return wanted === null ? 'the shard has no replica' : `${wanted} is no replica of it`
  const written = probe.primary.probe.position ?? (0n as Lsn)
  const senders = new Map(probe.primary.probe.senders.map((sender) => [sender.name, sender]))
  const obstacles = named.map(({ node, eligible, verdict }) => {
    if (!eligible) return `${node}: ${verdict}`
    const sender = senders.get(nodeOf(shard, node).id)
    if (sender?.state !== 'streaming') return `${node} does not stream from the primary`
    const lagBytes = Number(written - (sender.flushed ?? (0n as Lsn)))
    return lagBytes > switchoverLagBytesMax ? `${node} is ${String(lagBytes)} bytes of log behind` : null
  })
  return obstacles.some((one) => one === null) ? null : obstacles.join('; ')
}

/** The checkpoint of the shutdown is short when another has just been made. Best effort. */
async function checkpointAhead(leading: Leading, primary: NodeRecord): Promise<void> {
  const { parts } = leading
  try {
    using signal = within(leading, checkpointMsMax)
    const target = await parts.target(primary, signal)
    await parts.engine('postgres').checkpoint(target, { signal, timeoutMs: checkpointMsMax })
  } catch (error) {
    leading.signal.throwIfAborted()
    parts.log.info({ reason: toFleetError(error).message }, 'no checkpoint ahead of a switchover')
  }
}
