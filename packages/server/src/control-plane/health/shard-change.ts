// The commits of a failover that change the map: declaring (term + 1, hold), naming the new primary, taking the former
// one back as a replica, and letting go. Each carries the job's next state, so that map and job cannot part.
import {
  FleetError,
  parseTerm,
  type JobRecord,
  type NodeRecord,
  type QuorumRecord,
  type ShardRecord,
} from '@fleetshard/core'
import type { CommitExtras, PlanRouting, RoutingPlan, Stored, StoredKeyspace } from '../../catalog/mod.ts'
import { EVENTS } from '../../runtime/mod.ts'
import { moved, type FailoverDetail, type FailoverJob } from './job.ts'
import type { FailoverEvent } from './machine.ts'
import { nowText, type Leading, type Place } from './parts.ts'
import { withStandby } from './rebuild.ts'

/** The shard without a hold of that job. */
function released(shard: ShardRecord, { stored }: FailoverJob): ShardRecord {
  if (shard.hold?.job !== stored.record.id) return shard
  const { hold: _hold, ...free } = shard
  return free
}

function current(shards: readonly ShardRecord[], { detail }: Pick<FailoverJob, 'detail'>): ShardRecord {
  const shard = shards.find(({ id }) => id === detail.shard)
  if (shard !== undefined) return shard
  throw new FleetError('not_found', `there is no shard ${detail.shard} any more`)
}

/** @throws FleetError `conflict` when somebody else has raised the term since */
function ownTerm(shard: ShardRecord, job: FailoverJob): ShardRecord {
  if (shard.term === job.detail.term) return shard
  throw new FleetError('conflict', `shard ${shard.id} is in term ${String(shard.term)} by now`, {
    retryable: false,
  })
}

async function change(
  { parts, leadership, signal }: Leading,
  { stored }: { readonly stored: { readonly record: Pick<JobRecord, 'keyspace'> } },
  plan: PlanRouting,
): Promise<StoredKeyspace> {
  return parts.catalog.changeRouting(stored.record.keyspace, plan, {
    conditions: [leadership.condition],
    signal,
  })
}

/** The epoch of a plan's outcome. */
const epochAfter = (now: { readonly epoch: number }): number => now.epoch + 1

/** What is declared: a job of the catalog, or the record of one that the same commit creates. */
export type Declared =
  | { readonly kind: 'found'; readonly job: FailoverJob }
  | { readonly kind: 'new'; readonly record: JobRecord; readonly detail: FailoverDetail }

/**
 * Raises the term and holds the shard.
 * @throws FleetError `conflict` when the shard has another primary, or another term, than the job was decided on
 */
export function declare(
  leading: Leading,
  declared: Declared,
  decided: { readonly term: number; readonly change: Partial<FailoverDetail> },
): Promise<StoredKeyspace> {
  const { detail } = declared.kind === 'new' ? declared : declared.job
  const record = declared.kind === 'new' ? declared.record : declared.job.stored.record
  return change(leading, { stored: { record } }, (now) => {
    const shard = current(now.shards, { detail })
    const primary = shard.nodes.find(({ role }) => role === 'primary')
    if (shard.term !== decided.term || primary?.id !== detail.from) {
      throw new FleetError('conflict', `shard ${shard.id} has changed meanwhile`, { retryable: false })
    }
    const term = parseTerm(shard.term + 1)
    const known = { ...decided.change, term, epoch: epochAfter(now) }
    return {
      put: [{ ...shard, term, hold: { job: record.id, attempt: term } }],
      extras:
        declared.kind === 'new'
          ? leading.parts.catalog.jobs.createParts({ ...record, detail: { ...detail, ...known } })
          : next(leading, declared.job, 'declare', known),
    }
  })
}

/** The commit parts of a job's next state. */
export function next(
  { parts }: Pick<Leading, 'parts'>,
  job: FailoverJob,
  event: FailoverEvent,
  detail: Partial<FailoverDetail> = {},
): Required<CommitExtras> {
  return parts.catalog.jobs.updateParts(
    job.stored,
    moved(job, event, { now: nowText(parts), change: detail }),
  )
}

/** Puts the new primary into the map, opens it for writes, and makes its quorum the only one. */
export async function nameSuccessor(
  leading: Leading,
  job: FailoverJob,
  made: {
    readonly to: Pick<NodeRecord, 'id'> & Place
    readonly quorum: { readonly found: Stored<QuorumRecord> | null; readonly record: QuorumRecord }
    readonly detail: Partial<FailoverDetail>
  },
): Promise<StoredKeyspace> {
  const { log, catalog } = leading.parts
  const { quorums } = catalog
  const stored = await change(leading, job, (now) => {
    const shard = released(ownTerm(current(now.shards, job), job), job)
    const nodes = shard.nodes.map((node) => {
      if (node.id === made.to.id) return { ...node, ...made.to, role: 'primary' as const }
      // It serves nothing until it has caught up.
      return node.role === 'primary' ? { ...node, role: 'standby' as const } : node
    })
    const extras = [
      next(leading, job, 'mapped', made.detail),
      quorums.putParts(made.quorum.found, made.quorum.record),
    ]
    return { put: [{ ...shard, nodes }], extras: joined(extras) }
  })
  const { shard, from, term } = job.detail
  const { id } = job.stored.record
  const { epoch } = stored.snapshot
  const line = { event: EVENTS.shard_promoted, job: id, shard, from, to: made.to.id, term, epoch }
  log.info(line, 'another server leads the shard')
  return stored
}

/** Brings the record in line with where agents have their servers; nothing when it is. */
export async function moveNodes(
  { parts, leadership, signal }: Leading,
  shard: ShardRecord,
  places: ReadonlyMap<string, Place>,
): Promise<void> {
  const isElsewhere = ({ id, host, port, tls }: NodeRecord): boolean => {
    const place = places.get(id)
    if (place === undefined) return false
    return place.port !== port || place.host !== host || (place.tls ?? tls) !== tls
  }
  if (!shard.nodes.some(isElsewhere)) return
  await parts.catalog.changeRouting(
    shard.keyspace,
    ({ shards }) => ({
      put: shards
        .filter(({ id, nodes }) => id === shard.id && nodes.some(isElsewhere))
        .map((now) => ({ ...now, nodes: now.nodes.map((node) => ({ ...node, ...places.get(node.id) })) })),
    }),
    { conditions: [leadership.condition], signal },
  )
  parts.log.info({ shard: shard.id }, 'servers of the shard are reached elsewhere than before')
}

/**
 * Takes a replica out of service and creates the job that makes it one again.
 * @throws FleetError `conflict` as `withStandby`
 */
export function beginRebuild(
  leading: Leading,
  record: JobRecord,
  { shard, node }: { readonly shard: ShardRecord; readonly node: NodeRecord },
): Promise<StoredKeyspace> {
  return change(leading, { stored: { record } }, (now) => ({
    put: [withStandby(now.shards, { shard, node })],
    extras: leading.parts.catalog.jobs.createParts(record),
  }))
}

/** The former primary serves reads again, as a replica. */
export function welcomeBack(leading: Leading, job: FailoverJob): Promise<StoredKeyspace> {
  return change(leading, job, (now): RoutingPlan => {
    const shard = current(now.shards, job)
    const nodes = shard.nodes.map((node) =>
      node.id === job.detail.from && node.role === 'standby' ? { ...node, role: 'replica' as const } : node,
    )
    return { put: [{ ...shard, nodes }], extras: next(leading, job, 'caught_up') }
  })
}

/** Takes the hold off; the old primary leads on, in the new term. */
export function letGo(leading: Leading, job: FailoverJob): Promise<StoredKeyspace> {
  return change(leading, job, (now): RoutingPlan => {
    const shard = released(current(now.shards, job), job)
    return { put: [shard], extras: next(leading, job, 'released', { waitsFor: job.detail.waitsFor }) }
  })
}

function joined(parts: readonly Required<CommitExtras>[]): Required<CommitExtras> {
  return {
    conditions: parts.flatMap(({ conditions }) => conditions),
    writes: parts.flatMap(({ writes }) => writes),
  }
}
