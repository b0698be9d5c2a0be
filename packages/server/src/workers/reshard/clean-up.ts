// The two ways to an end: after the flip the job's traces go from sources and targets, and from a source that keeps a
// part the rows that have moved; after a decision against it
// the targets are emptied as well and get everything back that was taken off them.
import { FleetError, parseEpoch, type KeyspaceSnapshot, type ShardRecord } from '@fleetshard/core'
import type { PlanRouting } from '../../catalog/mod.ts'
import { acknowledged, dropBackSlots } from './cutover.ts'
import { move, moved, readReshardJob, restartsOf, type ReshardJob } from './job-store.ts'
import { createOwnership } from './move-plan.ts'
import { removalOrder } from './removal-order.ts'
import { movedRecords, requireSettled, termsOf } from './movement.ts'
import {
  fencesOf,
  namesOf,
  placesOf,
  readKeyspace,
  sourcesOf,
  targetsOf,
  type Place,
  type ReshardStep,
} from './step.ts'

/** The step of `cleaning`. */
export async function cleanUp(step: ReshardStep, job: ReshardJob): Promise<ReshardJob> {
  const { engine, run } = step
  const { id } = job.stored.record
  const stored = await readKeyspace(step, job)
  const { snapshot } = stored
  const targets = await placesOf(step, snapshot, targetsOf(job))
  const sources = await placesOf(step, snapshot, sourcesOf(job))
  for (const { shard, target } of sources) {
    // Every connection was planned with an older map, or may be; only then may the fence go. Where a part stays they
    // were ended before the flip, and those of now are at work.
    if (!keeps(shard)) {
      await step.effect(`close ${shard.id}`, () =>
        engine.raiseEpoch(target, { shard: shard.id, epochMin: parseEpoch(snapshot.epoch) }, run.signal),
      )
    }
    await step.effect(`drop slot ${shard.id}`, () =>
      engine.dropSlot(target, namesOf(job, shard.id), run.signal),
    )
    await step.effect(`drop fences ${shard.id}`, () => engine.dropFences(target, fencesOf(job), run.signal))
  }
  const left = sources.filter(({ shard }) => keeps(shard))
  // What a router with an older map reads of a replica may be old, but is to be there.
  if (left.length > 0) await acknowledged(step, stored, run.signal)
  for (const source of left) await removeMoved(step, snapshot, source)
  for (const { target } of sources) await engine.leaveSource(target, id, run.signal)
  await dropBackSlots(step, job)
  for (const { shard, target } of targets) {
    // Of a cutover back that was decided against.
    if (job.detail.wayBack !== undefined) await engine.dropFences(target, fencesOf(job), run.signal)
    const { tables } = await engine.inspectSource(target, movedRecords(snapshot), run.signal)
    await step.effect(`leave ${shard.id}`, () => engine.leaveTarget(target, id, tables, run.signal))
  }
  return step.effect('persist cleaned', () => cleaned(step, job, snapshot))
}

/** After the flip: the shard is still an owner. */
const keeps = ({ vnodes }: ShardRecord): boolean => vnodes !== ''

/** Removes the rows that the source does not own any more. */
async function removeMoved(step: ReshardStep, snapshot: KeyspaceSnapshot, source: Place): Promise<void> {
  const { engine, run } = step
  const { shard, target } = source
  const owns = createOwnership(snapshot, shard.id)
  const { tables } = await engine.inspectSource(target, movedRecords(snapshot), run.signal)
  const { ordered, circular } = removalOrder(tables)
  for (const table of [...ordered, ...tables.filter(({ name }) => circular.includes(name))]) {
    const { shardKey } = table
    if (shardKey === null) continue
    await step.effect(`remove rows of ${table.name} on ${shard.id}`, () =>
      engine.removeRows(target, table, (key) => !owns(key, shardKey.type), run.signal),
    )
  }
}

/** The end; with it statements that see all rows of a source may run there again. */
async function cleaned(step: ReshardStep, job: ReshardJob, snapshot: KeyspaceSnapshot): Promise<ReshardJob> {
  const { parts, run } = step
  const { id } = job.stored.record
  const isOurs = ({ leftovers }: ShardRecord): boolean => leftovers?.job === id
  if (!snapshot.shards.some(isOurs)) return move(parts, run, job, { event: 'cleaned' })
  const plan: PlanRouting = (current) => ({
    put: current.shards.filter(isOurs).map(withoutLeftovers),
    extras: parts.catalog.jobs.updateParts(
      job.stored,
      moved(job.stored.record, 'cleaned', { now: new Date(parts.clock.now()).toISOString() }),
    ),
  })
  await parts.catalog.changeRouting(snapshot.keyspace.name, plan, {
    conditions: [run.claim.condition],
    signal: run.signal,
  })
  const stored = await parts.catalog.jobs.get(id, run.signal)
  if (stored === null) throw new FleetError('not_found', `there is no job ${id}`)
  return readReshardJob(stored)
}

function withoutLeftovers(shard: ShardRecord): ShardRecord {
  const rid: { -readonly [Key in keyof ShardRecord]: ShardRecord[Key] } = { ...shard }
  delete rid.leftovers
  return rid
}

/** The step of `undoing`. */
export async function undo(step: ReshardStep, job: ReshardJob): Promise<ReshardJob> {
  const { snapshot } = await readKeyspace(step, job)
  await removeTraces(step, job, snapshot)
  const event = job.detail.failure === null ? 'undone_cancelled' : 'undone_failed'
  return step.effect(`persist ${event}`, () => move(step.parts, step.run, job, { event }))
}

/** The step of `restarting`: as a job that has not begun, but for the terms under which its traces were removed. */
export async function restarting(step: ReshardStep, job: ReshardJob): Promise<ReshardJob> {
  const { snapshot } = await readKeyspace(step, job)
  requireSettled(job, snapshot)
  await removeTraces(step, job, snapshot)
  const detail = {
    ranges: null,
    tables: null,
    terms: termsOf(job, snapshot),
    hasSlots: false,
    recopies: 0,
    rowsCopied: 0,
    bytesCopied: 0,
    verification: null,
  }
  return step.effect('persist restarted', () =>
    move(step.parts, step.run, job, { event: 'restarted', detail }),
  )
}

/** All that the job has made before a flip. Shards that are gone meanwhile are passed over. */
async function removeTraces(step: ReshardStep, job: ReshardJob, snapshot: KeyspaceSnapshot): Promise<void> {
  const { engine, run } = step
  const { id } = job.stored.record
  const sources = await placesOf(step, snapshot, sourcesOf(job))
  for (const { shard, target } of sources) {
    await step.effect(`drop slot ${shard.id}`, () =>
      engine.dropSlot(target, namesOf(job, shard.id), run.signal),
    )
    await engine.dropFences(target, fencesOf(job), run.signal)
    await engine.leaveSource(target, id, run.signal)
  }
  // Before the slots were asked for, nothing of the targets was touched, unless the copy has begun anew.
  if (job.detail.hasSlots || restartsOf(job) > 0) {
    await dropBackSlots(step, job)
    for (const { shard, target } of await placesOf(step, snapshot, targetsOf(job))) {
      if (shard.vnodes !== '') continue
      const { tables } = await engine.inspectSource(target, movedRecords(snapshot), run.signal)
      await step.effect(`empty ${shard.id}`, () => engine.emptyTarget(target, id, tables, run.signal))
    }
  }
}
