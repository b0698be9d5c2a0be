// One run of a worker over one job, from the moment that rows may move: connections, progress read back, one mover
// for each source, all followed in the background and given up together.
import {
  FleetError,
  parseLsn,
  toFleetError,
  type KeyspaceSnapshot,
  type Lsn,
  type ShardId,
  type TableRecord,
} from '@fleetshard/core'
import {
  keysTable,
  type MovedTable,
  type ReplicationStream,
  type SourceNames,
  type SourceReader,
  type TargetWriter,
} from '../../engine/mod.ts'
import type { ReshardJob } from './job-store.ts'
import {
  createOwnership,
  createPlace,
  createPlaceFrom,
  planMoves,
  type MovePlan,
  type Place as PlaceKey,
} from './move-plan.ts'
import type { IsOwn } from './own-rows.ts'
import { SourceMover, type StaleUnit } from './source-mover.ts'
import {
  namesOf,
  placesOf,
  readKeyspace,
  sourcesOf,
  targetsOf,
  type Place,
  type ReshardStep,
} from './step.ts'
import { joinUnits, type TableUnits } from './units.ts'

/** Rows on their way. */
export interface Movement extends AsyncDisposable {
  readonly snapshot: KeyspaceSnapshot
  readonly tables: readonly MovedTable[]
  readonly sources: readonly Place[]
  readonly targets: readonly Place[]
  readonly movers: readonly SourceMover[]
  readonly place: PlaceKey
  /** The same for rows of one source: those that stay belong to no target. */
  readonly placeFrom: (source: ShardId) => PlaceKey
  /** Sources that keep a part. */
  readonly keeping: ReadonlySet<ShardId>
  /** Aborts when a mover fails, when the claim is lost, and at the end. */
  readonly signal: AbortSignal
}

/** What is there of one source's rows when a run begins. */
export interface Begun {
  readonly units: ReadonlyMap<string, TableUnits>
  /** By position of the targets: what each has applied of the source's log. */
  readonly applied: readonly Lsn[]
}

/** One direction in which rows move: what differs between the way there and the way back. */
export interface Flow extends Omit<Movement, 'movers' | 'signal' | typeof Symbol.asyncDispose> {
  readonly namesOf: (source: ShardId) => SourceNames
  readonly begin: (
    source: ShardId,
    own: readonly MovedTable[],
    writers: readonly TargetWriter[],
  ) => Promise<Begun>
  /** Rows of a table may come by several streams under the same primary key. */
  readonly mayMeet: (table: MovedTable) => boolean
  /** Whose a row is on a target, where rows of several sources may stand under one primary key; else null. */
  readonly isOwnOf: (source: ShardId, table: MovedTable) => IsOwn | null
}

/** The way there. @throws FleetError `reshard_refused` when map, terms, tables or slots are not what they were */
export async function openMovement(step: ReshardStep, job: ReshardJob): Promise<Movement> {
  const { snapshot } = await readKeyspace(step, job)
  const sources = await placesOf(step, snapshot, sourcesOf(job))
  const targets = await placesOf(step, snapshot, targetsOf(job))
  const tables = await currentTables(step, job, { snapshot, sources })
  const { change, keeping } = checkedPlan(job, snapshot)
  const placing = { snapshot, moves: change.moves, targets: targetsOf(job), keeping }
  const places = new Map(sources.map(({ shard }) => [shard.id, createPlaceFrom(placing, shard.id)]))
  const place = createPlace(placing)
  return openFlow(step, job, {
    snapshot,
    tables,
    sources,
    targets,
    place,
    placeFrom: (source) => places.get(source) ?? place,
    keeping,
    namesOf: (source) => namesOf(job, source),
    begin: (source, own, writers) => beginFromUnits(step, { job, snapshot, source, own }, writers),
    mayMeet: () => false,
    isOwnOf: (source, table) => (isTold(table) ? null : ownedBy(job, snapshot, source, table)),
  })
}

/** Opens connections and follows every source. @throws FleetError `reshard_refused` for a slot that is lost */
export async function openFlow(step: ReshardStep, job: ReshardJob, flow: Flow): Promise<Movement> {
  const { snapshot, tables, sources, targets, place, placeFrom, keeping } = flow
  const stop = new AbortController()
  const signal = AbortSignal.any([step.run.signal, stop.signal])
  await requireSlots(step, flow)
  const stack = new AsyncDisposableStack()
  const movers: SourceMover[] = []
  const following: Promise<unknown>[] = []
  try {
    for (const source of sources) {
      const mover = await openMover({ step, job, source, flow, signal }, stack)
      movers.push(mover)
      following.push(
        mover.follow(signal).catch((error: unknown) => {
          // As it is: a unit to be copied anew is no fault.
          stop.abort(error)
        }),
      )
    }
  } catch (error) {
    stop.abort(toFleetError(error))
    await Promise.allSettled(following)
    await stack.disposeAsync()
    throw error
  }
  return {
    snapshot,
    tables,
    sources,
    targets,
    movers,
    place,
    placeFrom,
    keeping,
    signal,
    async [Symbol.asyncDispose]() {
      stop.abort(new FleetError('canceled', 'the step is over'))
      await Promise.allSettled(following)
      await stack.disposeAsync()
    },
  }
}

/** The plan, which must be that of preflight. */
export function checkedPlan(job: ReshardJob, snapshot: KeyspaceSnapshot): MovePlan {
  const plan = planMoves(snapshot, job.detail)
  if (plan.digest !== job.detail.ranges) throw changed('the ranges of a source')
  requireTerms(job, snapshot)
  const names = job.detail.tables?.map(({ name }) => name) ?? []
  const declared = [...movedRecords(snapshot).map(({ name }) => name), keysTable]
  if (names.length !== declared.length || names.some((name) => !declared.includes(name))) {
    throw changed('the list of declared tables')
  }
  return plan
}

/** @throws FleetError `reshard_refused` when another node of one of the shards has become primary */
export function requireTerms({ detail }: ReshardJob, snapshot: KeyspaceSnapshot): void {
  for (const [id, term] of Object.entries(detail.terms)) {
    const shard = snapshot.shards.find((one) => one.id === id)
    if (shard === undefined) throw changed(`shard ${id}, which is gone,`)
    // Slots do not survive a promotion, and an asynchronous one may have lost what was applied.
    if (shard.term !== term) throw changed(`the primary of shard ${id}`)
  }
}

/** True when another node of one of the shards has become primary; the shards are all there. */
export function hasOtherTerms({ detail }: ReshardJob, { shards }: KeyspaceSnapshot): boolean {
  const now = new Map(shards.map(({ id, term }): [string, number] => [id, term]))
  const terms = Object.entries(detail.terms)
  return terms.every(([id]) => now.has(id)) && terms.some(([id, term]) => now.get(id) !== term)
}

/** Terms of the job's shards as they are. */
export function termsOf(job: ReshardJob, { shards }: KeyspaceSnapshot): ReshardJob['detail']['terms'] {
  const concerned = new Set<string>([...sourcesOf(job), ...targetsOf(job)])
  return Object.fromEntries(shards.filter(({ id }) => concerned.has(id)).map(({ id, term }) => [id, term]))
}

/**
 * A failover raises the term before its shard has the other primary, and holds the shard in between.
 * @throws FleetError `shard_unavailable`
 */
export function requireSettled(job: ReshardJob, { shards }: KeyspaceSnapshot): void {
  const concerned = new Set<string>([...sourcesOf(job), ...targetsOf(job)])
  const held = shards.find(({ id, hold }) => concerned.has(id) && hold !== undefined)
  if (held?.hold === undefined) return
  throw new FleetError('shard_unavailable', `shard ${held.id} is held by the job ${held.hold.job}`, {
    hint: `wait for its end: fleetshard failover explain ${held.id}`,
  })
}

/** Declared tables, all of which a job has to know how to move. */
export function movedRecords(snapshot: KeyspaceSnapshot): readonly TableRecord[] {
  return snapshot.tables
}

/** What a job relies on is not what it was. */
export function changed(what: string): FleetError {
  return new FleetError('reshard_refused', `${what} changed while rows were being moved`, {
    hint: 'start the move again',
  })
}

async function currentTables(
  step: ReshardStep,
  job: ReshardJob,
  { snapshot, sources }: Pick<Movement, 'snapshot' | 'sources'>,
): Promise<readonly MovedTable[]> {
  const [first] = sources
  if (first === undefined) throw changed('a source, which is gone,')
  const { tables } = await step.engine.inspectSource(first.target, movedRecords(snapshot), step.run.signal)
  const known = new Map(job.detail.tables?.map(({ name, signature }) => [name, signature]))
  for (const [name, signature] of known) {
    if (tables.find((table) => table.name === name)?.signature !== signature)
      throw changed(`the table ${name}`)
  }
  return tables
}

async function requireSlots(step: ReshardStep, { sources, namesOf: names }: Flow): Promise<void> {
  for (const { shard, target } of sources) {
    const state = await step.engine.slotState(target, names(shard.id).slot, step.run.signal)
    if (state === 'usable') continue
    throw new FleetError(
      'reshard_refused',
      `the replication slot of shard ${shard.id} is ${state === null ? 'gone' : 'invalidated'}`,
      {
        hint: 'raise max_slot_wal_keep_size of the source, or leave its slots alone, and start the move again',
      },
    )
  }
}

interface OpenMover {
  readonly step: ReshardStep
  readonly job: ReshardJob
  readonly source: Place
  readonly flow: Flow
  readonly signal: AbortSignal
}

async function openMover(open: OpenMover, stack: AsyncDisposableStack): Promise<SourceMover> {
  const { step, job, source, flow, signal } = open
  const { engine } = step
  const { id } = job.stored.record
  const own = tablesFrom(flow.sources[0]?.shard.id, source, flow.tables)
  const writers: TargetWriter[] = []
  for (const { target } of flow.targets) {
    writers.push(stack.use(await engine.openTarget(target, id, job.detail.run, signal)))
  }
  const { units, applied } = await flow.begin(source.shard.id, own, writers)
  const reader: SourceReader = stack.use(await engine.openSource(source.target, signal))
  const stream: ReplicationStream = stack.use(
    await engine.openChanges(source.target, flow.namesOf(source.shard.id), signal),
  )
  // After the stream of an earlier run was ended: all that it has passed had begun by now.
  const { xmax } = await reader.snapshot()
  return new SourceMover({
    source: source.shard.id,
    tables: own,
    units,
    reader,
    stream,
    targets: writers,
    applied,
    place: flow.placeFrom(source.shard.id),
    mayMeet: flow.mayMeet,
    own: {
      clock: step.parts.clock,
      meetMsMax: step.meetMsMax,
      isOwnOf: (table) => flow.isOwnOf(source.shard.id, table),
    },
    markPrefix: `${id}:${String(job.detail.run)}:${source.shard.id}`,
    xidMin: xmax,
  })
}

interface BeginFrom {
  readonly job: ReshardJob
  readonly snapshot: KeyspaceSnapshot
  readonly source: ShardId
  readonly own: readonly MovedTable[]
}

/** The units that every target has; what only some have is removed. */
async function beginFromUnits(
  step: ReshardStep,
  { job, snapshot, source, own }: BeginFrom,
  writers: readonly TargetWriter[],
): Promise<Begun> {
  const progress = await Promise.all(writers.map((writer) => writer.progress()))
  const { units, broken } = joinUnits(
    own,
    progress.map((one) => one.units.filter((unit) => unit.source === source)),
  )
  for (const unit of broken) {
    const table = own.find(({ name }) => name === unit.table)
    if (table === undefined) continue
    await step.effect(`remove unit ${unit.table} ${String(unit.number)}`, async () => {
      const isOf = ownedBy(job, snapshot, unit.source, table)
      for (const writer of writers) await writer.removeUnit(unit, table, isOf)
    })
  }
  return { units, applied: progress.map(({ applied }) => applied.get(source) ?? parseLsn('0/0')) }
}

/** Of several sources: whose rows lie in the same range tells the map, which the flip has yet to change. */
function ownedBy(
  job: ReshardJob,
  snapshot: KeyspaceSnapshot,
  source: ShardId,
  { shardKey }: MovedTable,
): IsOwn | null {
  if (job.detail.sources.length === 1 || shardKey === null) return null
  const owns = createOwnership(snapshot, source)
  return (key) => key === null || owns(key, shardKey.type)
}

/** Rows of two sources cannot have the same primary key: it has the shard key in it. */
const isTold = ({ shardKey, primaryKey }: MovedTable): boolean =>
  shardKey !== null && primaryKey.includes(shardKey.column)

/** Removes a unit and all that come after it from every target. */
export async function forgetUnits(
  step: ReshardStep,
  job: ReshardJob,
  { source, table, number }: StaleUnit,
): Promise<void> {
  const { snapshot } = await readKeyspace(step, job)
  for (const { target } of await placesOf(step, snapshot, targetsOf(job))) {
    await using writer = await step.engine.openTarget(
      target,
      job.stored.record.id,
      job.detail.run,
      step.run.signal,
    )
    const { units } = await writer.progress()
    const stale = units.filter(
      (unit) => unit.source === source && unit.table === table.name && unit.number >= number,
    )
    // The last first: what a crash leaves has no gap.
    for (const unit of stale.toReversed())
      await writer.removeUnit(unit, table, ownedBy(job, snapshot, unit.source, table))
  }
}

/** Reference tables hold the same rows on every source: they come from the first. */
export function tablesFrom(
  first: ShardId | undefined,
  source: Place,
  tables: readonly MovedTable[],
): readonly MovedTable[] {
  return tables.filter(({ kind }) => kind === 'sharded' || first === source.shard.id)
}
