// The step of `copying`: slots first, then the targets made ready, then unit after unit, with the stream catching up in
// between, so that the log that a slot holds back stays that of one unit.
import type { MovedTable } from '../../engine/mod.ts'
import { move, type ReshardJob } from './job-store.ts'
import { movedRecords, tablesFrom, type Movement } from './movement.ts'
import { Progress } from './progress.ts'
import type { SourceMover } from './source-mover.ts'
import { namesOf, placesOf, readKeyspace, sourcesOf, type ReshardStep } from './step.ts'

/** A unit has about so many bytes, and not fewer rows than this. */
const unitBytes = 64 * 1024 * 1024
const unitRowsMin = 1_000

/** Publications and slots of all sources. Creating a slot waits for transactions that are open. */
export async function makeSlots(step: ReshardStep, job: ReshardJob): Promise<void> {
  const { snapshot } = await readKeyspace(step, job)
  for (const source of await placesOf(step, snapshot, sourcesOf(job))) {
    const tables = tablesFrom(sourcesOf(job)[0], source, await tablesOn(step, source.target, snapshot))
    await step.effect(`slot ${source.shard.id}`, () =>
      step.engine.makeSlot(source.target, namesOf(job, source.shard.id), tables, step.run.signal),
    )
  }
}

async function tablesOn(
  step: ReshardStep,
  target: Parameters<ReshardStep['engine']['inspectSource']>[0],
  snapshot: Movement['snapshot'],
): Promise<readonly MovedTable[]> {
  return (await step.engine.inspectSource(target, movedRecords(snapshot), step.run.signal)).tables
}

/** Takes off the targets what would be in the way of the copy. */
async function strip(step: ReshardStep, job: ReshardJob, { targets, tables }: Movement): Promise<void> {
  for (const { shard, target } of targets) {
    await step.effect(`strip ${shard.id}`, () =>
      step.engine.strip(target, job.stored.record.id, { tables, kinds: 'all' }, step.run.signal),
    )
  }
}

/** Copies until every target has every unit, or the operator wants something else. */
export async function copyAll(step: ReshardStep, job: ReshardJob, movement: Movement): Promise<ReshardJob> {
  const isWhole = movement.movers.every(({ units }) =>
    [...units.values()].every(({ frontier }) => frontier === undefined),
  )
  if (!isWhole) await strip(step, job, movement)
  const progress = new Progress(step, job, movement)
  await Promise.all(movement.movers.map((mover) => copyFrom(step, { movement, mover, progress })))
  const noted = await progress.write()
  if (progress.isInterrupted) return noted
  // Now it is known; before it was an estimate.
  const { rowsCopied: rowsTotal } = noted.detail
  return step.effect('persist copied', () =>
    move(step.parts, step.run, noted, { event: 'copied', detail: { rowsTotal } }),
  )
}

interface CopyFrom {
  readonly movement: Movement
  readonly mover: SourceMover
  readonly progress: Progress
}

async function copyFrom(step: ReshardStep, { movement, mover, progress }: CopyFrom): Promise<void> {
  const { signal } = movement
  for (const units of mover.units.values()) {
    const rowsMax = Math.min(step.unitRowsMax, unitRows(units.table))
    while (units.frontier !== undefined) {
      await step.effect(`unit ${units.table.name} ${String(units.nextNumber)}`, () =>
        mover.copyNext(units, rowsMax, signal),
      )
      await progress.untilBearable(mover)
      await progress.tick()
      if (progress.isInterrupted) return
    }
  }
}

function unitRows({ rowsEstimate, bytes }: MovedTable): number {
  const rowBytes = rowsEstimate > 0 ? Math.max(1, bytes / rowsEstimate) : 1_000
  return Math.round(Math.max(unitRowsMin, unitBytes / rowBytes))
}
