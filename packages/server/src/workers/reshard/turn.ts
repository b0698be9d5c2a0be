// The two directions of a cutover: from the sources to the targets, and back. What a cutover does is the same in both
// (cutover.ts); here is who gives and who takes, and what map and job are afterwards. Pure.
import { formatLsn, type KeyspaceSnapshot, type Lsn, type ShardId, type ShardRecord } from '@fleetshard/core'
import type { ReshardJobDetail } from '../../engine/mod.ts'
import type { ReshardJob } from './job-store.ts'
import type { ReshardEvent } from './machine.ts'
import { checkedPlan, changed, requireTerms } from './movement.ts'
import { planMoves } from './move-plan.ts'
import { sourcesOf, targetsOf } from './step.ts'

/** What is known at the moment of a flip. */
export interface FlipFacts {
  /** Milliseconds since the epoch. */
  readonly now: number
  /** How long statements have been held. */
  readonly holdMs: number
  /** Of the takers, when they had applied everything. */
  readonly positions: ReadonlyMap<ShardId, Lsn>
}

/** What a flip writes. */
export interface Flipped {
  readonly put: readonly ShardRecord[]
  readonly event: ReshardEvent
  readonly detail: Partial<Omit<ReshardJobDetail, 'order'>>
}

/** One direction. */
export interface Turn {
  /** Ends the names of its effects. */
  readonly mark: '' | ' back'
  /** Held and fenced. */
  readonly givers: readonly ShardId[]
  readonly takers: readonly ShardId[]
  readonly hold: ReshardEvent
  readonly released: ReshardEvent
  /** @throws FleetError `reshard_refused` when the map is not what the rows were moved by */
  readonly check: (snapshot: KeyspaceSnapshot) => void
  readonly flip: (current: KeyspaceSnapshot, facts: FlipFacts) => Flipped
}

/** From the sources to the targets. */
export const turnThere = (job: ReshardJob): Turn => ({
  mark: '',
  givers: sourcesOf(job),
  takers: targetsOf(job),
  hold: 'hold',
  released: 'released',
  check: (snapshot) => {
    checkedPlan(job, snapshot)
  },
  flip: (current, facts) => flipThere(job, current, facts),
})

/** From the targets to the sources. */
export const turnBack = (job: ReshardJob): Turn => ({
  mark: ' back',
  givers: targetsOf(job),
  takers: sourcesOf(job),
  hold: 'hold_back',
  released: 'released_back',
  check: (snapshot) => {
    mapBefore(job, snapshot)
  },
  flip: (current, { holdMs }) => flipBack(job, current, holdMs),
})

/** The direction of the cutover that a job is in, or comes to next. */
export const turnOf = (job: ReshardJob): Turn =>
  job.detail.wayBack === undefined ? turnThere(job) : turnBack(job)

function flipThere(job: ReshardJob, current: KeyspaceSnapshot, facts: FlipFacts): Flipped {
  const { change, keeping } = checkedPlan(job, current)
  const sources = new Set(sourcesOf(job))
  const targets = new Set(targetsOf(job))
  const put = current.shards.flatMap((shard): ShardRecord[] => {
    const vnodes = change.vnodes.get(shard.id) ?? shard.vnodes
    if (keeping.has(shard.id)) {
      return [{ ...withoutHold(shard), vnodes, leftovers: { job: job.stored.record.id } }]
    }
    if (sources.has(shard.id)) return [left(shard, `have moved to ${namesOf(current, targets)}`)]
    return targets.has(shard.id) ? [{ ...shard, vnodes, status: 'active', statusReason: null }] : []
  })
  const { reversibleMs = 0 } = job.detail
  const { holdMs } = facts
  if (reversibleMs === 0) return { put, event: 'flipped', detail: { holdMs } }
  const wayBack = wayBackFrom(current, sources, facts, reversibleMs)
  return { put, event: 'flipped_reversible', detail: { holdMs, wayBack } }
}

function wayBackFrom(
  { shards }: KeyspaceSnapshot,
  sources: ReadonlySet<ShardId>,
  { now, positions }: FlipFacts,
  reversibleMs: number,
): NonNullable<ReshardJobDetail['wayBack']> {
  const givers = shards.filter(({ id }) => sources.has(id))
  return {
    from: Object.fromEntries([...positions].map(([id, lsn]) => [id, formatLsn(lsn)])),
    vnodes: Object.fromEntries(givers.map(({ id, vnodes }) => [id, vnodes])),
    until: new Date(now + reversibleMs).toISOString(),
    lostBecause: null,
  }
}

function flipBack(job: ReshardJob, current: KeyspaceSnapshot, holdMs: number): Flipped {
  const before = mapBefore(job, current)
  const sources = new Set(sourcesOf(job))
  const targets = new Set(targetsOf(job))
  const put = before.shards.flatMap((shard): ShardRecord[] => {
    if (targets.has(shard.id)) return [left(shard, `have gone back to ${namesOf(current, sources)}`)]
    return sources.has(shard.id) ? [{ ...shard, status: 'active', statusReason: null }] : []
  })
  return { put, event: 'flipped_back', detail: { holdMs } }
}

/**
 * The map with the ranges of the targets given back to the sources. The same plan made anew from it proves that it is
 * the map that there was, as far as the job is concerned.
 * @throws FleetError `reshard_refused`
 */
export function mapBefore(job: ReshardJob, current: KeyspaceSnapshot): KeyspaceSnapshot {
  requireTerms(job, current)
  const vnodes = new Map(Object.entries(job.detail.wayBack?.vnodes ?? {}))
  const targets = new Set(targetsOf(job))
  const shards = current.shards.map((shard) =>
    targets.has(shard.id)
      ? { ...shard, vnodes: '' }
      : { ...shard, vnodes: vnodes.get(shard.id) ?? shard.vnodes },
  )
  const before = { ...current, shards }
  const { digest, change } = planMoves(before, job.detail)
  const isSame = current.shards.every(
    ({ id, vnodes: now }) => !targets.has(id) || change.vnodes.get(id) === now,
  )
  if (digest !== job.detail.ranges || !isSame) throw changed('the ranges of a target')
  return before
}

/** A shard without ranges, whose rows are elsewhere. */
function left(shard: ShardRecord, whereto: string): ShardRecord {
  const statusReason = `its rows ${whereto}; it can be deleted`
  return { ...withoutHold(shard), vnodes: '', status: 'inactive', statusReason }
}

const namesOf = ({ shards }: KeyspaceSnapshot, ids: ReadonlySet<ShardId>): string =>
  shards
    .filter(({ id }) => ids.has(id))
    .map(({ name }) => name)
    .join(', ')

/** The record with its hold taken off. */
export function withoutHold(shard: ShardRecord): ShardRecord {
  const free: { -readonly [Key in keyof ShardRecord]: ShardRecord[Key] } = { ...shard }
  delete free.hold
  return free
}
