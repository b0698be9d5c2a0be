// The reshard worker: one step function a state. SPEC.md has the states, and why each step may be repeated.
import { FleetError, toFleetError } from '@fleetshard/core'
import { reshardJobType, type ReshardEngine, type ReshardJobDetail } from '../../engine/mod.ts'
import {
  defineWorker,
  type JobProgress,
  type JobRun,
  type WorkerDefinition,
  type WorkerParts,
} from '../worker.ts'
import { inSpan } from '../../runtime/mod.ts'
import { cleanUp, restarting, undo } from './clean-up.ts'
import { cutOver, dropBackSlots, isCutover, release, undoAttempt } from './cutover.ts'
import { failureOf, move, note, readReshardJob, restartsOf, type ReshardJob } from './job-store.ts'
import {
  backStates,
  forwardStates,
  hasEnded,
  reshardMachine,
  restartedStates,
  type ReshardEvent,
  type ReshardState,
  type StateSpec,
} from './machine.ts'
import { forgetUnits, hasOtherTerms, openMovement, type Movement } from './movement.ts'
import { StaleUnit } from './source-mover.ts'
import { copyAll, makeSlots } from './copy.ts'
import { toldAsClash } from './own-rows.ts'
import { preflight } from './preflight.ts'
import { readKeyspace, type Checkpoint, type ReshardStep } from './step.ts'
import { throttleBoundsDefault, type ThrottleBounds } from './throttle.ts'
import { verify } from './verify.ts'
import { giveUp, makeBackSlots, openWayBack, removing, reversible, reversing } from './way-back.ts'

const unitRowsMaxDefault = 500_000
/** A stream stands still for as long as a unit of its source is copied. */
const meetMsMaxDefault = 60_000
/** Behind by less than this, the targets follow closely enough for a cutover. */
const closeMsMax = 200
const closeRounds = 50

/** A step with the rows on their way, which are opened by the first state that needs them. */
interface RunningStep extends ReshardStep {
  readonly movement: (job: ReshardJob) => Promise<Movement>
  /** Why they have stopped by themselves; null when they have not. */
  readonly fault: () => unknown
  /** Lets go of them, with all transactions. */
  readonly stopMovement: () => Promise<void>
}

type Step = (step: RunningStep, job: ReshardJob) => Promise<ReshardJob | JobProgress>

const ended: Step = () => Promise.resolve({ kind: 'ended' })

const steps: Readonly<Record<ReshardState, Step>> = {
  planned: (step, job) => move(step.parts, step.run, job, { event: 'begin' }),
  preflight,
  copying,
  catching_up: catchingUp,
  verifying,
  ready,
  restarting,
  // What an earlier run left in the middle of it is decided before anything moves again.
  cutover: release,
  reversible,
  reversing,
  cutover_back: release,
  removing,
  cleaning: cleanUp,
  paused,
  undoing: undo,
  completed: ended,
  failed: ended,
  cancelled: ended,
  rolled_back: ended,
}

/** What the worker needs beside what all workers act with. */
export interface ReshardWorkerParts {
  readonly engine: ReshardEngine
  /** Most rows of a unit; by default 500,000. */
  readonly unitRowsMax?: number
  /** How long a row of one source waits for that of another to make room; by default a minute. */
  readonly meetMsMax?: number
  readonly throttleBounds?: Partial<ThrottleBounds>
  /** For tests. */
  readonly checkpoint?: Checkpoint
}

/** The worker. */
export function createReshardWorker(own: ReshardWorkerParts): WorkerDefinition {
  return defineWorker({ name: reshardJobType, run: (parts, run) => runReshardJob(parts, run, own) })
}

async function runReshardJob(parts: WorkerParts, run: JobRun, own: ReshardWorkerParts): Promise<JobProgress> {
  const { engine, checkpoint = () => undefined } = own
  let movement: Movement | null = null
  let isBack = false
  await using stack = new AsyncDisposableStack()
  const stopMovement = async (): Promise<void> => {
    await movement?.[Symbol.asyncDispose]()
    movement = null
  }
  stack.defer(stopMovement)
  const step: RunningStep = {
    parts,
    run,
    engine,
    unitRowsMax: own.unitRowsMax ?? unitRowsMaxDefault,
    meetMsMax: own.meetMsMax ?? meetMsMaxDefault,
    throttleBounds: { ...throttleBoundsDefault, ...own.throttleBounds },
    effect: async (name, work) => {
      await checkpoint(`before ${name}`)
      const value = await inSpan(parts.span ?? null, name, work)
      await checkpoint(`after ${name}`)
      return value
    },
    movement: async (job) => {
      if (movement !== null && isBack !== backStates.has(job.state)) await stopMovement()
      if (movement !== null) return movement
      isBack = backStates.has(job.state)
      await undoAttempt(step, job)
      return (movement = await (isBack ? openWayBack : openMovement)(step, job))
    },
    fault: (): unknown => (movement?.signal.aborted === true ? movement.signal.reason : null),
    stopMovement,
  }
  let job = readReshardJob(run.job)
  if (hasEnded(job.state)) return { kind: 'ended' }
  job = await note(parts, run, job, { detail: { run: job.detail.run + 1 } })
  while (!hasEnded(job.state)) {
    run.signal.throwIfAborted()
    const next = await onward(step, job)
    if ('kind' in next) return next
    job = next
  }
  return { kind: 'ended' }
}

/** One step, or what the operator ordered, or what a fault leads to. */
async function onward(step: RunningStep, job: ReshardJob): Promise<ReshardJob | JobProgress> {
  const ordered = orderedEvent(job)
  if (ordered !== null) return move(step.parts, step.run, job, { event: ordered })
  try {
    if (!forwardStates.has(job.state) && !backStates.has(job.state)) await step.stopMovement()
    return await steps[job.state](step, job)
  } catch (error) {
    step.run.signal.throwIfAborted()
    // What ended the movement says more than what failed because of it.
    const cause = toldAsClash(step.fault() ?? error, job.detail.sources.length)
    if (cause instanceof StaleUnit) return await copyAgain(step, job, cause)
    return await afterFault(step, job, toFleetError(cause))
  }
}

/** Units copied anew in one job, before it is given up: see StaleUnit. */
const recopiesMax = 100

async function copyAgain(
  step: RunningStep,
  job: ReshardJob,
  stale: StaleUnit,
): Promise<ReshardJob | JobProgress> {
  await step.stopMovement()
  const current = await reread(step, job)
  const recopies = current.detail.recopies + 1
  if (recopies > recopiesMax || backStates.has(current.state)) {
    const { name } = stale.table
    return afterFault(
      step,
      current,
      new FleetError(
        'reshard_refused',
        `rows of ${name} with large values change their primary key too often`,
        {
          hint: `ALTER TABLE ${name} REPLICA IDENTITY FULL, and start the move again`,
        },
      ),
    )
  }
  if (current.state === 'cutover') return releaseOr(step, current)
  step.parts.log.info({ table: stale.table.name, unit: stale.number }, 'copying a unit anew')
  // First the state: no cutover may come of one in which the unit is missing. The change that cannot be applied without
  // it comes again, should the unit not be gone.
  const copying =
    current.state === 'copying'
      ? await note(step.parts, step.run, current, { detail: { recopies } })
      : await move(step.parts, step.run, current, { event: 'recopy', detail: { recopies } })
  await forgetUnits(step, copying, stale)
  return copying
}

function orderedEvent(job: ReshardJob): ReshardEvent | null {
  const { order } = job.detail
  const spec: StateSpec = reshardMachine[job.state]
  return order !== 'run' && spec.next[order] !== undefined ? order : null
}

/** Errors that come again however often the step is tried. */
const finalCodes = new Set([
  'reshard_refused',
  'sql_error',
  'invalid_shard_key',
  'wrong_database',
  'protocol_violation',
])

/** SQLSTATE of a server, or a session, that may only read. */
const readOnly = '25006'

async function afterFault(
  step: RunningStep,
  job: ReshardJob,
  error: FleetError,
): Promise<ReshardJob | JobProgress> {
  const { parts } = step
  const current = await reread(step, job)
  // A login or a database that is not there comes by itself only while passwords are being changed.
  const isRefused = current.state === 'preflight' && error.code === 'node_check_failed'
  // A server that takes no writes is about to be no primary any more, or says so until its disk has room.
  const isFinal = (finalCodes.has(error.code) || isRefused) && !error.retryable && error.sqlstate !== readOnly
  if (isCutover(current)) {
    parts.log.warn({ err: error }, 'cutover given up for now')
    const released = await releaseOr(step, current)
    if ('kind' in released) return released
    return isFinal && released.state !== current.state
      ? given(step, released, error)
      : waiting(step, released, error)
  }
  return isFinal ? given(step, current, error) : waiting(step, current, error)
}

/** The release waits, as any other step, where a server that it concerns is away; the hold may be off then or not. */
async function releaseOr(step: RunningStep, job: ReshardJob): Promise<ReshardJob | JobProgress> {
  try {
    return await release(step, job)
  } catch (error) {
    step.run.signal.throwIfAborted()
    return waiting(step, await reread(step, job), toFleetError(error))
  }
}

/** What cannot go on begins anew, fails, or gives the way back up; past all of them it is tried again. */
async function given(
  step: RunningStep,
  current: ReshardJob,
  error: FleetError,
): Promise<ReshardJob | JobProgress> {
  const { parts, run } = step
  if (backStates.has(current.state) && !isCutover(current)) return giveUp(step, current, error.message)
  if (restartedStates.has(current.state) && (await hasOtherPrimary(step, current))) {
    parts.log.info({ err: error }, 'a primary has changed: the copy begins anew')
    return move(parts, run, current, { event: 'restart', detail: { restarts: restartsOf(current) + 1 } })
  }
  const spec: StateSpec = reshardMachine[current.state]
  if (spec.next.fail !== undefined) {
    parts.log.warn({ err: error }, 'reshard job fails')
    return move(parts, run, current, { event: 'fail', detail: { failure: failureOf(error) } })
  }
  return waiting(step, current, error)
}

/** Whatever the error says: what the job relied on is not there any more. */
async function hasOtherPrimary(step: RunningStep, job: ReshardJob): Promise<boolean> {
  const { snapshot } = await readKeyspace(step, job)
  return hasOtherTerms(job, snapshot)
}

/** Lets the job go; it is taken up again after a while, with connections of its own. */
async function waiting(step: RunningStep, job: ReshardJob, error: FleetError): Promise<JobProgress> {
  step.parts.log.warn({ err: error, state: job.state }, 'reshard job waits')
  const spec: StateSpec = reshardMachine[job.state]
  const remedy = error.hint ?? spec.wayOut
  const waitsFor = remedy === null ? error.message : `${error.message}; ${remedy}`
  if (!hasEnded(job.state)) await note(step.parts, step.run, job, { detail: { waitsFor } })
  return { kind: 'waiting', reason: waitsFor }
}

async function reread(step: RunningStep, job: ReshardJob): Promise<ReshardJob> {
  const stored = await step.parts.catalog.jobs.get(job.stored.record.id, step.run.signal)
  if (stored === null) throw new FleetError('not_found', `there is no job ${job.stored.record.id}`)
  return readReshardJob(stored)
}

async function copying(step: RunningStep, job: ReshardJob): Promise<ReshardJob | JobProgress> {
  let current = job
  if (!job.detail.hasSlots) {
    await makeSlots(step, job)
    current = await note(step.parts, step.run, job, { detail: { hasSlots: true } })
  }
  return copyAll(step, current, await step.movement(current))
}

async function catchingUp(step: RunningStep, job: ReshardJob): Promise<ReshardJob> {
  const { clock } = step.parts
  const { movers, targets, signal } = await step.movement(job)
  await Promise.all(movers.map((mover) => mover.reach(signal)))
  for (const { target } of targets) {
    await step.effect('restore indexes', () =>
      step.engine.restoreIndexes(target, job.stored.record.id, signal),
    )
  }
  for (let round = 0; round < closeRounds; round += 1) {
    const began = clock.monotonic()
    await Promise.all(movers.map((mover) => mover.reach(signal)))
    if (clock.monotonic() - began < closeMsMax) break
  }
  return step.effect('persist caught_up', () => move(step.parts, step.run, job, { event: 'caught_up' }))
}

async function verifying(step: RunningStep, job: ReshardJob): Promise<ReshardJob> {
  const { rows, differences } = await verify(step, await step.movement(job))
  const verification: ReshardJobDetail['verification'] = {
    at: new Date(step.parts.clock.now()).toISOString(),
    rows,
    differences: [...differences],
  }
  const checked = await note(step.parts, step.run, job, { detail: { verification } })
  if (differences.length === 0) {
    return step.effect('persist verified', () => move(step.parts, step.run, checked, { event: 'verified' }))
  }
  throw new FleetError('reshard_refused', `the copy differs from the source: ${differences.join('; ')}`, {
    hint: 'see the verification of the job; the source is untouched, and its copy is removed',
  })
}

async function ready(step: RunningStep, job: ReshardJob): Promise<ReshardJob> {
  const movement = await step.movement(job)
  for (const { target } of movement.sources) {
    await step.effect('calm', () =>
      step.engine.calm(target, job.stored.record.id, movement.tables, movement.signal),
    )
  }
  await makeBackSlots(step, job, movement)
  return cutOver(step, job, movement)
}

async function paused(step: RunningStep, job: ReshardJob): Promise<ReshardJob | JobProgress> {
  if (job.detail.order === 'run') return move(step.parts, step.run, job, { event: 'resume' })
  await dropBackSlots(step, job)
  return { kind: 'waiting', reason: 'the job is paused' }
}
