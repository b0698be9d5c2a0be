// The moment in which the ranges change hands: hold, fence, the last changes, flip; or release. SPEC.md, invariants
// 6 to 9. What is timed here is what applications feel.
import {
  FleetError,
  isFleetError,
  parseEpoch,
  toFleetError,
  type Epoch,
  type Lsn,
  type ShardId,
  type ShardRecord,
} from '@fleetshard/core'
import type { PlanRouting, StoredKeyspace } from '../../catalog/mod.ts'
import type { CutoverSession } from '../../engine/mod.ts'
import { EVENTS } from '../../runtime/mod.ts'
import { CutoverTimes } from './cutover-times.ts'
import { moved, readReshardJob, type ReshardJob } from './job-store.ts'
import type { Movement } from './movement.ts'
import {
  backNamesOf,
  fenceMark,
  fenceOf,
  fencesOf,
  placesOf,
  readKeyspace,
  targetsOf,
  type ReshardStep,
} from './step.ts'
import { turnOf, withoutHold, type FlipFacts, type Turn } from './turn.ts'

/** How long routers get to say that they hold. One that does not meets the fence. */
const acknowledgeMsMax = 1_000
const acknowledgePollMs = 4
/** How long a fence waits for writers. */
const lockTimeoutMs = 400
/** From hold to flip; then it is released. */
const holdMsMax = 5_000

/** Connections that wait for the moment, opened before anything is held. */
interface Ready extends AsyncDisposable {
  readonly sources: readonly { readonly shard: ShardRecord; readonly session: CutoverSession }[]
  readonly targets: readonly { readonly shard: ShardRecord; readonly session: CutoverSession }[]
}

/**
 * The whole cutover, from `ready` or, back, from `reversing`. When it throws, the job may be in `cutover` or
 * `cutover_back`: then the hold is still there, and is to be released.
 */
export async function cutOver(step: ReshardStep, job: ReshardJob, movement: Movement): Promise<ReshardJob> {
  await using ready = await getReady(step, movement)
  const [base] = await Promise.all([
    readKeyspace(step, job),
    ...movement.movers.map((mover) => mover.reach(movement.signal)),
  ])
  const times = new CutoverTimes(step.parts.clock)
  const { mark } = turnOf(job)
  try {
    const stored = await times.of('hold', () => step.effect(`hold${mark}`, () => hold(step, job, base)))
    // Awaited here: the connections are closed when the block is left.
    return await flip(step, job, { movement, ready, times, stored })
  } finally {
    step.parts.log.info({ ms: times.toLog() }, 'parts of the cutover')
  }
}

async function getReady(step: ReshardStep, { sources, targets, tables, signal }: Movement): Promise<Ready> {
  const { engine } = step
  await using stack = new AsyncDisposableStack()
  const opened = await Promise.all(
    [...sources, ...targets].map(async ({ target }) => stack.use(await engine.openCutover(target, signal))),
  )
  const paired = [...sources, ...targets].flatMap(({ shard }, index) => {
    const session = opened[index]
    return session === undefined ? [] : [{ shard, session }]
  })
  const ready = paired.slice(0, sources.length)
  for (const { session } of ready) {
    const changed = await session.prepareFence(tables)
    if (changed !== null) throw tablesChanged(`the table ${changed}`)
  }
  const kept = stack.move()
  return {
    sources: ready,
    targets: paired.slice(sources.length),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

function tablesChanged(what: string): FleetError {
  return new FleetError('reshard_refused', `${what} was changed during the move`, {
    hint: 'start the move again',
  })
}

/** Puts the hold into the map. @throws FleetError; then nothing is held, unless the outcome is unknown */
async function hold(step: ReshardStep, job: ReshardJob, base: StoredKeyspace): Promise<StoredKeyspace> {
  const { parts, run } = step
  const attempt = job.detail.attempt + 1
  const turn = turnOf(job)
  const givers = new Set(turn.givers)
  const plan: PlanRouting = (current) => {
    turn.check(current)
    return {
      put: current.shards
        .filter(({ id }) => givers.has(id))
        .map((shard) => ({ ...shard, hold: { job: job.stored.record.id, attempt } })),
      extras: parts.catalog.jobs.updateParts(
        job.stored,
        moved(job.stored.record, turn.hold, { now: nowText(step), detail: { attempt } }),
      ),
    }
  }
  return parts.catalog.changeRouting(base.snapshot.keyspace.name, plan, {
    base,
    conditions: [run.claim.condition],
    signal: run.signal,
  })
}

interface Flip {
  readonly movement: Movement
  readonly ready: Ready
  /** Since the hold was begun. */
  readonly times: CutoverTimes
  /** The keyspace with the hold. */
  readonly stored: StoredKeyspace
}

async function flip(
  step: ReshardStep,
  readyJob: ReshardJob,
  { movement, ready, times, stored }: Flip,
): Promise<ReshardJob> {
  const { parts, run } = step
  const deadline = AbortSignal.any([movement.signal, timeout(step, holdMsMax)])
  const { epoch } = stored.snapshot
  const epochMin = parseEpoch(epoch + 1)
  const { mark } = turnOf(readyJob)
  const [job] = await Promise.all([
    reread(step, readyJob),
    times.of('acknowledged', () => acknowledged(step, stored, deadline)),
  ])
  const caughtUp = ends(job, movement, deadline)
  await step.effect(`fence${mark}`, () => times.of('fence', () => placeAll(job, { movement, ready })))
  const positions = await step.effect(`prepare flip${mark}`, () =>
    prepareFlip(job, { movement, ready, times, caughtUp, epochMin }),
  )
  deadline.throwIfAborted()
  await times.of('flip', () =>
    step.effect(`flip${mark}`, () =>
      parts.catalog.changeRouting(
        movement.snapshot.keyspace.name,
        flipPlan(step, job, () => ({
          positions,
          now: step.parts.clock.now(),
          holdMs: rounded(times.elapsedMs()),
        })),
        { base: stored, expectedEpoch: epoch, conditions: [run.claim.condition], signal: run.signal },
      ),
    ),
  )
  const { givers, takers } = turnOf(job)
  parts.log.info(
    {
      event: EVENTS.shard_moved,
      sources: givers,
      targets: takers,
      epoch: epochMin,
      hold_ms: rounded(times.elapsedMs()),
    },
    'keys have other shards',
  )
  return reread(step, job)
}

/** When the targets have all that was written before the fence, which is still to be placed. */
function ends(job: ReshardJob, { movers }: Movement, deadline: AbortSignal): Promise<unknown> {
  const all = Promise.all(movers.map((mover) => mover.seen(fenceMark(job, mover.source), deadline)))
  // Met later; one may be rejected while the fences are still being placed.
  all.catch(() => undefined)
  return all
}

interface PrepareFlip extends Pick<Flip, 'movement' | 'ready' | 'times'> {
  readonly caughtUp: Promise<unknown>
  readonly epochMin: Epoch
}

/**
 * Behind the fence, on takers and givers at once: the takers get what is left and their keys, the givers send everybody
 * away. @returns where each taker stands
 */
async function prepareFlip(
  job: ReshardJob,
  { movement, ready, times, caughtUp, epochMin }: PrepareFlip,
): Promise<ReadonlyMap<ShardId, Lsn>> {
  const { run, attempt } = job.detail
  const { id } = job.stored.record
  const positions = new Map<ShardId, Lsn>()
  const giveKeys = async (): Promise<void> => {
    await times.of('caught up', () => caughtUp)
    await times.of('keys', () =>
      allOf(
        ready.targets.map(async ({ shard, session }) => {
          // Everything is applied, and nobody else writes there before the flip.
          positions.set(shard.id, await session.position())
          await session.restoreKeys(id, run)
        }),
      ),
    )
  }
  // An open transaction, or a session that keeps its connection, might read here what the targets will have changed,
  // whatever its router holds.
  const sendAway = (): Promise<void> =>
    times.of('epoch', () =>
      allOf(
        ready.sources.map(async ({ shard, session }) => {
          await session.raiseEpoch({ shard: shard.id, epochMin })
          // Nobody can come to the source by any map that there is: the next one is the decision.
          if (movement.keeping.has(shard.id)) await session.liftFence({ job: id, run, attempt })
        }),
      ),
    )
  await allOf([giveKeys(), sendAway()])
  return positions
}

function placeAll(job: ReshardJob, { movement, ready }: Pick<Flip, 'movement' | 'ready'>): Promise<void> {
  return allOf(
    ready.sources.map(async ({ shard, session }) => {
      const placed = await session.placeFence(fenceOf(job, shard.id, movement.tables, lockTimeoutMs))
      if (placed.kind === 'busy') throw new FleetError('shard_unavailable', `no fence yet: ${placed.reason}`)
      if (placed.kind === 'changed') throw tablesChanged('a table')
    }),
  )
}

/** The plan of the flip, made anew on whatever the map is by then: it must still be the move that was prepared. */
function flipPlan(step: ReshardStep, job: ReshardJob, facts: () => FlipFacts): PlanRouting {
  const turn = turnOf(job)
  return (current) => {
    const { put, event, detail } = turn.flip(current, facts())
    const next = moved(job.stored.record, event, { now: nowText(step), detail })
    return { put, extras: step.parts.catalog.jobs.updateParts(job.stored, next) }
  }
}

const rounded = (ms: number): number => Math.round(ms * 10) / 10

/**
 * Takes the hold off, by a compare-and-set that no flip can follow; then the fences of the attempt go. The job is in
 * `catching_up` then (back: in `reversing`), or where the flip leads to when it had happened after all.
 */
export async function release(step: ReshardStep, job: ReshardJob): Promise<ReshardJob> {
  const { parts, run } = step
  const current = await reread(step, job)
  if (!isCutover(current)) return current
  const turn = turnOf(current)
  const givers = new Set(turn.givers)
  const { snapshot } = await readKeyspace(step, current)
  const plan: PlanRouting = (now) => ({
    // That of a failover, which has come meanwhile, is not ours.
    put: now.shards
      .filter(({ id }) => givers.has(id))
      .map((shard) => (shard.hold?.job === current.stored.record.id ? withoutHold(shard) : shard)),
    extras: parts.catalog.jobs.updateParts(
      current.stored,
      moved(current.stored.record, turn.released, { now: nowText(step) }),
    ),
  })
  try {
    await step.effect(`release${turn.mark}`, () =>
      parts.catalog.changeRouting(snapshot.keyspace.name, plan, {
        conditions: [run.claim.condition],
        signal: run.signal,
      }),
    )
  } catch (error) {
    if (!isFleetError(error, 'catalog_conflict')) throw error
    // The flip, an order of the operator, or the claim: told by what is there now.
    return reread(step, job)
  }
  await undoFences(step, current, turn)
  return reread(step, job)
}

/** True while a hold may be in the map. */
export const isCutover = ({ state }: ReshardJob): boolean => state === 'cutover' || state === 'cutover_back'

/** After the decision against an attempt: the takers follow the stream again, and the givers are written again. */
async function undoFences(step: ReshardStep, job: ReshardJob, { givers, takers }: Turn): Promise<void> {
  const { engine, run } = step
  const { id } = job.stored.record
  const { snapshot } = await readKeyspace(step, job)
  for (const { target } of await placesOf(step, snapshot, takers)) {
    const { tables } = await engine.inspectSource(target, snapshot.tables, run.signal)
    await step.effect('strip keys', () => engine.strip(target, id, { tables, kinds: 'keys' }, run.signal))
  }
  for (const { target } of await placesOf(step, snapshot, givers)) {
    await step.effect('drop fences', () => engine.dropFences(target, fencesOf(job), run.signal))
  }
  if (job.detail.wayBack === undefined) await dropBackSlots(step, job)
}

/** The same for an attempt whose release was decided by a worker that did not come to the rest. */
export async function undoAttempt(step: ReshardStep, job: ReshardJob): Promise<void> {
  if (job.detail.attempt > 0 && !isCutover(job)) await undoFences(step, job, turnOf(job))
}

/** Nothing reads them before the flip, and they hold log back: they are made anew for the next attempt. */
export async function dropBackSlots(step: ReshardStep, job: ReshardJob): Promise<void> {
  const { reversibleMs = 0 } = job.detail
  if (reversibleMs === 0) return
  const { snapshot } = await readKeyspace(step, job)
  for (const { shard, target } of await placesOf(step, snapshot, targetsOf(job))) {
    await step.effect(`drop back slot ${shard.id}`, () =>
      step.engine.dropSlot(target, backNamesOf(job, shard.id), step.run.signal),
    )
  }
}

async function reread(step: ReshardStep, job: ReshardJob): Promise<ReshardJob> {
  const stored = await step.parts.catalog.jobs.get(job.stored.record.id, step.run.signal)
  if (stored === null) throw new FleetError('not_found', `there is no job ${job.stored.record.id}`)
  return readReshardJob(stored)
}

/**
 * Waits until every router has that map, within bounds, so that clients feel a pause and no error. Direct clients do not
 * hold: they lose their connections and come back.
 */
export async function acknowledged(
  step: ReshardStep,
  { snapshot }: StoredKeyspace,
  signal: AbortSignal,
): Promise<void> {
  const { catalog, clock } = step.parts
  const deadline = clock.monotonic() + acknowledgeMsMax
  for (;;) {
    const routers = await catalog.routers.list(signal)
    const name = snapshot.keyspace.name
    const have = (epoch: Epoch | undefined): boolean => epoch !== undefined && epoch >= snapshot.epoch
    const isHeld = routers.every(({ record }) => record.kind === 'direct' || have(record.ackedEpochs[name]))
    if (isHeld || clock.monotonic() > deadline) return
    await clock.sleep(acknowledgePollMs, signal)
  }
}

function timeout(step: ReshardStep, afterMs: number): AbortSignal {
  const stop = new AbortController()
  step.parts.clock.after(afterMs, () => {
    stop.abort(new FleetError('shard_unavailable', `no cutover within ${String(afterMs)} ms`))
  })
  return stop.signal
}

const nowText = (step: ReshardStep): string => new Date(step.parts.clock.now()).toISOString()

/** Waits for all, also when one fails. */
async function allOf(promises: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(promises)
  for (const result of results) if (result.status === 'rejected') throw toFleetError(result.reason)
}
