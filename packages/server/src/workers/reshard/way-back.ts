// After the flip of a job with a reversible phase: what is written on the targets goes back to the sources, until the
// phase ends or the ranges are given back. SPEC.md, invariants 18 to 21.
import { FleetError, parseEpoch, parseLsn, type KeyspaceSnapshot, type ShardId } from '@fleetshard/core'
import { keysTable, type MovedTable } from '../../engine/mod.ts'
import type { JobProgress } from '../worker.ts'
import { acknowledged, cutOver } from './cutover.ts'
import { move, readReshardJob, type ReshardJob } from './job-store.ts'
import { hasEnded } from './machine.ts'
import { changed, movedRecords, openFlow, tablesFrom, type Flow, type Movement } from './movement.ts'
import { createPlace, createPlaceFrom, planMoves } from './move-plan.ts'
import {
  backNamesOf,
  fencesOf,
  namesOf,
  placesOf,
  readKeyspace,
  sourcesOf,
  targetsOf,
  type Place,
  type ReshardStep,
} from './step.ts'
import { backRefusal } from './throttle.ts'
import { mapBefore } from './turn.ts'
import { streamedUnits } from './units.ts'

/** Between two looks at what the operator wants, and at the clock. */
const lookEveryMs = 250
/** Between two looks at what the targets bear. */
const bearEveryMs = 5_000
/** Behind by less than this, the sources follow closely enough for a cutover. */
const closeMsMax = 200
const closeRounds = 50

/** A step with the rows on their way back. */
interface BackStep extends ReshardStep {
  readonly movement: (job: ReshardJob) => Promise<Movement>
}

/** Slots and publications of the targets, made before anything is held. One of an earlier attempt may be lost. */
export async function makeBackSlots(step: ReshardStep, job: ReshardJob, movement: Movement): Promise<void> {
  const { reversibleMs = 0 } = job.detail
  if (reversibleMs === 0) return
  const { engine, run } = step
  for (const giver of movement.targets) {
    const { shard, target } = giver
    const names = backNamesOf(job, shard.id)
    const tables = tablesFrom(targetsOf(job)[0], giver, await tablesOn(step, target, movement.snapshot))
    await step.effect(`back slot ${shard.id}`, async () => {
      if ((await engine.slotState(target, names.slot, run.signal)) === 'lost') {
        await engine.dropSlot(target, names, run.signal)
      }
      await engine.makeSlot(target, names, tables, run.signal)
    })
  }
}

async function tablesOn(
  { engine, run }: ReshardStep,
  target: Place['target'],
  snapshot: KeyspaceSnapshot,
): Promise<readonly MovedTable[]> {
  return (await engine.inspectSource(target, movedRecords(snapshot), run.signal)).tables
}

/** The way back. @throws FleetError `reshard_refused` when map, terms, tables or slots are not what they were */
export async function openWayBack(step: ReshardStep, job: ReshardJob): Promise<Movement> {
  const { snapshot } = await readKeyspace(step, job)
  const before = mapBefore(job, snapshot)
  const sources = await placesOf(step, snapshot, targetsOf(job))
  const targets = await placesOf(step, snapshot, sourcesOf(job))
  const tables = await backTables(step, snapshot, { sources, targets })
  const moves = planMoves(before, job.detail).change.moves.flatMap(({ from, to, ...range }) =>
    from === null ? [] : [{ ...range, from: to, to: from }],
  )
  const placing: Parameters<typeof createPlace>[0] = {
    snapshot,
    moves,
    targets: sourcesOf(job),
    keeping: new Set<ShardId>(),
  }
  const places = new Map(sources.map(({ shard }) => [shard.id, createPlaceFrom(placing, shard.id)]))
  const place = createPlace(placing)
  const from = new Map(Object.entries(job.detail.wayBack?.from ?? {}))
  const begin: Flow['begin'] = async (source, own, writers) => {
    const atFlip = parseLsn(from.get(source) ?? '')
    const progress = await Promise.all(writers.map((writer) => writer.progress()))
    const applied = progress.map((one) => one.applied.get(source) ?? atFlip)
    return { units: streamedUnits(own), applied: applied.map((lsn) => (lsn > atFlip ? lsn : atFlip)) }
  }
  return openFlow(step, job, {
    snapshot,
    tables,
    sources,
    targets,
    place,
    placeFrom: (source) => places.get(source) ?? place,
    keeping: placing.keeping,
    namesOf: (source) => backNamesOf(job, source),
    begin,
    // A record without a hash is on every target.
    mayMeet: ({ name }) => name === keysTable,
    // Preflight has seen that rows of several targets cannot meet.
    isOwnOf: () => null,
  })
}

/** Tables as the targets have them; the sources must have the same columns yet. */
async function backTables(
  step: ReshardStep,
  snapshot: KeyspaceSnapshot,
  { sources, targets }: { readonly sources: readonly Place[]; readonly targets: readonly Place[] },
): Promise<readonly MovedTable[]> {
  const lists = await Promise.all(
    [...sources, ...targets].map(({ target }) => tablesOn(step, target, snapshot)),
  )
  const [first = [], ...others] = lists
  const columns = (table: MovedTable | undefined): string =>
    JSON.stringify(table?.columns.map(({ name, type }) => `${name} ${type}`).toSorted())
  for (const table of first) {
    const isSame = others.every(
      (list) => columns(list.find(({ name }) => name === table.name)) === columns(table),
    )
    if (!isSame) throw changed(`the table ${table.name}`)
  }
  return first
}

/** The step of `reversible`. */
export async function reversible(step: BackStep, job: ReshardJob): Promise<ReshardJob | JobProgress> {
  const lost = await lostBecause(step, job)
  if (lost !== null) return giveUp(step, job, lost)
  if (isOver(step, job)) return move(step.parts, step.run, job, { event: 'complete' })
  await leaveForward(step, job)
  const { signal } = await step.movement(job)
  const { clock, catalog, log } = step.parts
  log.info({ until: job.detail.wayBack?.until }, 'the rows can be brought back')
  let looked = clock.monotonic()
  for (;;) {
    await clock.sleep(lookEveryMs, signal)
    const stored = await catalog.jobs.get(job.stored.record.id, signal)
    if (stored === null) throw new FleetError('not_found', `there is no job ${job.stored.record.id}`)
    const current = readReshardJob(stored)
    // An order is taken up by whoever calls.
    if (hasEnded(current.state) || current.detail.order === 'reverse' || current.detail.order === 'complete')
      return current
    if (isOver(step, current)) return move(step.parts, step.run, current, { event: 'complete' })
    if (clock.monotonic() - looked < bearEveryMs) continue
    looked = clock.monotonic()
    const reason = await lostBecause(step, current)
    if (reason !== null) return giveUp(step, current, reason)
  }
}

const isOver = ({ parts }: ReshardStep, { detail }: ReshardJob): boolean =>
  parts.clock.now() >= Date.parse(detail.wayBack?.until ?? '')

/** Why the way back has to be given up for the targets' sake; null when it has not. */
async function lostBecause(step: ReshardStep, job: ReshardJob): Promise<string | null> {
  const { snapshot } = await readKeyspace(step, job)
  for (const { shard, target } of await placesOf(step, snapshot, targetsOf(job))) {
    const { slot } = backNamesOf(job, shard.id)
    const figures = await step.engine.sourceFigures(target, slot, step.run.signal)
    const refusal = backRefusal(figures, step.throttleBounds)
    if (refusal !== null) return `shard ${shard.id}: ${refusal}`
  }
  return null
}

/** Ends the phase before its time; the targets go on serving. */
export function giveUp(step: ReshardStep, job: ReshardJob, reason: string): Promise<ReshardJob> {
  const { wayBack } = job.detail
  step.parts.log.warn({ reason }, 'the way back is given up')
  if (wayBack === undefined) throw new FleetError('internal', 'a way back that was never begun')
  return move(step.parts, step.run, job, {
    event: 'complete',
    detail: { wayBack: { ...wayBack, lostBecause: reason } },
  })
}

/** What the way there needed of the sources goes; then nothing of theirs acts on the rows that come back. */
async function leaveForward(step: ReshardStep, job: ReshardJob): Promise<void> {
  const { engine, run } = step
  const { id } = job.stored.record
  const { snapshot } = await readKeyspace(step, job)
  for (const { shard, target } of await placesOf(step, snapshot, sourcesOf(job))) {
    // Every connection was planned with an older map, or may be; only then may the fence go.
    await step.effect(`close ${shard.id}`, () =>
      engine.raiseEpoch(target, { shard: shard.id, epochMin: parseEpoch(snapshot.epoch) }, run.signal),
    )
    await step.effect(`drop slot ${shard.id}`, () =>
      engine.dropSlot(target, namesOf(job, shard.id), run.signal),
    )
    // Before the triggers go, of which they would be some.
    await step.effect(`drop fences ${shard.id}`, () => engine.dropFences(target, fencesOf(job), run.signal))
    await engine.uncalm(target, id, run.signal)
    const tables = await tablesOn(step, target, snapshot)
    await step.effect(`strip ${shard.id} for the way back`, () =>
      engine.strip(target, id, { tables, kinds: 'keys' }, run.signal),
    )
  }
}

/** The step of `reversing`. */
export async function reversing(step: BackStep, job: ReshardJob): Promise<ReshardJob> {
  const lost = await lostBecause(step, job)
  if (lost !== null) return giveUp(step, job, lost)
  await leaveForward(step, job)
  const { clock } = step.parts
  const movement = await step.movement(job)
  const { movers, sources, tables, signal } = movement
  await Promise.all(movers.map((mover) => mover.reach(signal)))
  for (const { target } of sources) {
    await step.effect('calm back', () => step.engine.calm(target, job.stored.record.id, tables, signal))
  }
  for (let round = 0; round < closeRounds; round += 1) {
    const began = clock.monotonic()
    await Promise.all(movers.map((mover) => mover.reach(signal)))
    if (clock.monotonic() - began < closeMsMax) break
  }
  return cutOver(step, job, movement)
}

/** The step of `removing`: the targets are emptied, and nothing of the job stays. */
export async function removing(step: ReshardStep, job: ReshardJob): Promise<ReshardJob> {
  const { engine, run } = step
  const { id } = job.stored.record
  const stored = await readKeyspace(step, job)
  const { snapshot } = stored
  const targets = await placesOf(step, snapshot, targetsOf(job))
  for (const { shard, target } of targets) {
    await step.effect(`close ${shard.id}`, () =>
      engine.raiseEpoch(target, { shard: shard.id, epochMin: parseEpoch(snapshot.epoch) }, run.signal),
    )
    await step.effect(`drop back slot ${shard.id}`, () =>
      engine.dropSlot(target, backNamesOf(job, shard.id), run.signal),
    )
    await step.effect(`drop fences ${shard.id}`, () => engine.dropFences(target, fencesOf(job), run.signal))
  }
  // What a router with an older map reads of a replica may be old, but is to be there.
  await acknowledged(step, stored, run.signal)
  for (const { shard, target } of targets) {
    const tables = await tablesOn(step, target, snapshot)
    await step.effect(`empty ${shard.id}`, () => engine.emptyTarget(target, id, tables, run.signal))
  }
  for (const { shard, target } of await placesOf(step, snapshot, sourcesOf(job))) {
    const tables = await tablesOn(step, target, snapshot)
    await step.effect(`leave ${shard.id}`, () => engine.leaveTarget(target, id, tables, run.signal))
  }
  return step.effect('persist removed', () => move(step.parts, run, job, { event: 'removed' }))
}
