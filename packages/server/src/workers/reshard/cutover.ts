// The moment in which the ranges change hands: hold, fence, the last changes, flip; or release. SPEC.md, invariants
// 6 to 9. What is timed here is what applications feel.
import {
  FleetError,
  isFleetError,
  parseEpoch,
  toFleetError,
  type Epoch,
  type ShardRecord,
} from '@fleetshard/core'
import type { PlanRouting, StoredKeyspace } from '../../catalog/mod.ts'
import type { CutoverSession } from '../../engine/mod.ts'
import { CutoverTimes } from './cutover-times.ts'
import { moved, readReshardJob, type ReshardJob } from './job-store.ts'
import { checkedPlan, type Movement } from './movement.ts'
import {
  fenceMark,
  fenceOf,
  fencesOf,
  placesOf,
  readKeyspace,
  sourcesOf,
  targetsOf,
  type ReshardStep,
} from './step.ts'

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
  readonly targets: readonly CutoverSession[]
}

/**
 * The whole cutover, from `ready`. When it throws, the job may be in `cutover`: then the hold is still there, and is to
 * be released.
 */
export async function cutOver(step: ReshardStep, job: ReshardJob, movement: Movement): Promise<ReshardJob> {
  await using ready = await getReady(step, movement)
  const [base] = await Promise.all([
    readKeyspace(step, job),
    ...movement.movers.map((mover) => mover.reach(movement.signal)),
  ])
  const times = new CutoverTimes(step.parts.clock)
  try {
    const stored = await times.of('hold', () => step.effect('hold', () => hold(step, job, base)))
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
  const ready = sources.flatMap(({ shard }, index) => {
    const session = opened[index]
    return session === undefined ? [] : [{ shard, session }]
  })
  for (const { session } of ready) {
    const changed = await session.prepareFence(tables)
    if (changed !== null) throw tablesChanged(`the table ${changed}`)
  }
  const kept = stack.move()
  return {
    sources: ready,
    targets: opened.slice(sources.length),
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
  const sources = new Set(sourcesOf(job))
  const plan: PlanRouting = (current) => {
    checkedPlan(job, current)
    return {
      put: current.shards
        .filter(({ id }) => sources.has(id))
        .map((shard) => ({ ...shard, hold: { job: job.stored.record.id, attempt } })),
      extras: parts.catalog.jobs.updateParts(
        job.stored,
        moved(job.stored.record, 'hold', { now: nowText(step), detail: { attempt } }),
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
  const [job] = await Promise.all([
    reread(step, readyJob),
    times.of('acknowledged', () => acknowledged(step, stored, deadline)),
  ])
  await step.effect('fence', () => fenceAll(job, { movement, ready, times, deadline }))
  const epochMin = parseEpoch(epoch + 1)
  const { id } = job.stored.record
  const { detail } = job
  const { attempt } = detail
  await step.effect('prepare flip', () =>
    allOf([
      times.of('keys', () =>
        allOf(ready.targets.map((session) => session.restoreKeys(job.stored.record.id, job.detail.run))),
      ),
      // An open transaction, or a session that keeps its connection, might read here what the targets will have
      // changed, whatever its router holds.
      times.of('epoch', () =>
        allOf(
          ready.sources.map(async ({ shard, session }) => {
            await session.raiseEpoch({ shard: shard.id, epochMin })
            // Nobody can come to the source by any map that there is: the next one is the decision.
            if (movement.keeping.has(shard.id)) await session.liftFence({ job: id, run: detail.run, attempt })
          }),
        ),
      ),
    ]),
  )
  deadline.throwIfAborted()
  await times.of('flip', () =>
    step.effect('flip', () =>
      parts.catalog.changeRouting(
        movement.snapshot.keyspace.name,
        flipPlan(step, job, () => times.elapsedMs()),
        { base: stored, expectedEpoch: epoch, conditions: [run.claim.condition], signal: run.signal },
      ),
    ),
  )
  return reread(step, job)
}

/** Fences every source and waits until the targets have all that was written before. */
async function fenceAll(
  job: ReshardJob,
  { movement, ready, times, deadline }: Omit<Flip, 'stored'> & { readonly deadline: AbortSignal },
): Promise<void> {
  const ends = movement.movers.map((mover) => mover.seen(fenceMark(job, mover.source), deadline))
  // Met below; one may be rejected while the fences are still being placed.
  for (const end of ends) end.catch(() => undefined)
  await times.of('fence', () => placeAll(job, { movement, ready }))
  await times.of('caught up', () => Promise.all(ends))
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
function flipPlan(step: ReshardStep, job: ReshardJob, elapsedMs: () => number): PlanRouting {
  return (current) => {
    const { change, keeping } = checkedPlan(job, current)
    const sources = new Set(sourcesOf(job))
    const targets = new Set(targetsOf(job))
    const names = current.shards.filter(({ id }) => targets.has(id)).map(({ name }) => name)
    const put = current.shards.flatMap((shard): ShardRecord[] => {
      const vnodes = change.vnodes.get(shard.id) ?? shard.vnodes
      if (keeping.has(shard.id)) {
        return [{ ...withoutHold(shard), vnodes, leftovers: { job: job.stored.record.id } }]
      }
      if (sources.has(shard.id)) {
        const statusReason = `its rows have moved to ${names.join(', ')}; it can be deleted`
        return [{ ...withoutHold(shard), vnodes, status: 'inactive', statusReason }]
      }
      return targets.has(shard.id) ? [{ ...shard, vnodes, status: 'active', statusReason: null }] : []
    })
    const detail = { holdMs: Math.round(elapsedMs() * 10) / 10 }
    const next = moved(job.stored.record, 'flipped', { now: nowText(step), detail })
    return { put, extras: step.parts.catalog.jobs.updateParts(job.stored, next) }
  }
}

/**
 * Takes the hold off, by a compare-and-set that no flip can follow; then the fences of the attempt go. The job is in
 * `catching_up` then, or in `cleaning` when the flip had happened after all.
 */
export async function release(step: ReshardStep, job: ReshardJob): Promise<ReshardJob> {
  const { parts, run } = step
  const current = await reread(step, job)
  if (current.state !== 'cutover') return current
  const sources = new Set(sourcesOf(job))
  const { snapshot } = await readKeyspace(step, current)
  const plan: PlanRouting = (now) => ({
    put: now.shards.filter(({ id }) => sources.has(id)).map(withoutHold),
    extras: parts.catalog.jobs.updateParts(
      current.stored,
      moved(current.stored.record, 'released', { now: nowText(step) }),
    ),
  })
  try {
    await step.effect('release', () =>
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
  await undoFences(step, current)
  return reread(step, job)
}

/** After the decision against an attempt: the targets follow the stream again, and the sources are written again. */
async function undoFences(step: ReshardStep, job: ReshardJob): Promise<void> {
  const { engine, run } = step
  const { id } = job.stored.record
  const { snapshot } = await readKeyspace(step, job)
  const sources = await placesOf(step, snapshot, sourcesOf(job))
  const targets = await placesOf(step, snapshot, targetsOf(job))
  for (const { target } of targets) {
    const { tables } = await engine.inspectSource(target, snapshot.tables, run.signal)
    await step.effect('strip keys', () => engine.strip(target, id, { tables, kinds: 'keys' }, run.signal))
  }
  for (const { target } of sources) {
    await step.effect('drop fences', () => engine.dropFences(target, fencesOf(job), run.signal))
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

function withoutHold(shard: ShardRecord): ShardRecord {
  const free: { -readonly [Key in keyof ShardRecord]: ShardRecord[Key] } = { ...shard }
  delete free.hold
  return free
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
