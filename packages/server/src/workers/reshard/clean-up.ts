// The two ways to an end: after the flip the job's traces go from sources and targets; after a decision against it
// the targets are emptied as well and get everything back that was taken off them.
import { parseEpoch } from '@fleetshard/core'
import { move, type ReshardJob } from './job-store.ts'
import { movedRecords } from './movement.ts'
import { fencesOf, namesOf, placesOf, readKeyspace, sourcesOf, targetsOf, type ReshardStep } from './step.ts'

/** The step of `cleaning`. */
export async function cleanUp(step: ReshardStep, job: ReshardJob): Promise<ReshardJob> {
  const { engine, run } = step
  const { id } = job.stored.record
  const { snapshot } = await readKeyspace(step, job)
  const targets = await placesOf(step, snapshot, targetsOf(job))
  for (const source of await placesOf(step, snapshot, sourcesOf(job))) {
    const { shard, target } = source
    // Every connection was planned with an older map, or may be; only then may the fence go.
    await step.effect(`close ${shard.id}`, () =>
      engine.raiseEpoch(target, { shard: shard.id, epochMin: parseEpoch(snapshot.epoch) }, run.signal),
    )
    await step.effect(`drop slot ${shard.id}`, () =>
      engine.dropSlot(target, namesOf(job, shard.id), run.signal),
    )
    await step.effect(`drop fences ${shard.id}`, () => engine.dropFences(target, fencesOf(job), run.signal))
    await engine.leaveSource(target, id, run.signal)
  }
  for (const { shard, target } of targets) {
    const { tables } = await engine.inspectSource(target, movedRecords(snapshot), run.signal)
    await step.effect(`leave ${shard.id}`, () => engine.leaveTarget(target, id, tables, run.signal))
  }
  return step.effect('persist cleaned', () => move(step.parts, run, job, { event: 'cleaned' }))
}

/** The step of `undoing`. Shards that are gone meanwhile are passed over. */
export async function undo(step: ReshardStep, job: ReshardJob): Promise<ReshardJob> {
  const { engine, run } = step
  const { id } = job.stored.record
  const { snapshot } = await readKeyspace(step, job)
  const sources = await placesOf(step, snapshot, sourcesOf(job))
  for (const { shard, target } of sources) {
    await step.effect(`drop slot ${shard.id}`, () =>
      engine.dropSlot(target, namesOf(job, shard.id), run.signal),
    )
    await engine.dropFences(target, fencesOf(job), run.signal)
    await engine.leaveSource(target, id, run.signal)
  }
  // Before the slots were asked for, nothing of the targets was touched.
  if (job.detail.hasSlots) {
    for (const { shard, target } of await placesOf(step, snapshot, targetsOf(job))) {
      if (shard.vnodes !== '') continue
      const { tables } = await engine.inspectSource(target, movedRecords(snapshot), run.signal)
      await step.effect(`empty ${shard.id}`, () => engine.emptyTarget(target, id, tables, run.signal))
    }
  }
  const event = job.detail.failure === null ? 'undone_cancelled' : 'undone_failed'
  return step.effect(`persist ${event}`, () => move(step.parts, run, job, { event }))
}
