// The step of `preflight`: everything that stands against the move is found before anything is made, and told at once.
import { FleetError, type KeyspaceSnapshot, type ShardId } from '@fleetshard/core'
import {
  keysTable,
  parseReshardJobDetail,
  reshardJobType,
  type InspectedSource,
  type MovedTable,
  type Obstacle,
} from '../../engine/mod.ts'
import type { JobProgress } from '../worker.ts'
import { move, type ReshardJob } from './job-store.ts'
import { movedRecords, requireSettled, requireTerms, tablesFrom, termsOf } from './movement.ts'
import { planMoves } from './move-plan.ts'
import { removalOrder } from './removal-order.ts'
import { placesOf, readKeyspace, sourcesOf, targetsOf, type Place, type ReshardStep } from './step.ts'

/** The step. @throws FleetError `reshard_refused` with all obstacles */
export async function preflight(step: ReshardStep, job: ReshardJob): Promise<ReshardJob | JobProgress> {
  const { snapshot } = await readKeyspace(step, job)
  requireSettled(job, snapshot)
  // Of a job that begins anew: a promotion may have brought back what was removed.
  requireTerms(job, snapshot)
  await refuseOverlap(step, job)
  const sources = await placesOf(step, snapshot, sourcesOf(job))
  const targets = await placesOf(step, snapshot, targetsOf(job))
  refuseShards(job, snapshot)
  const { digest, keeping } = planMoves(snapshot, job.detail)
  await refuseStrangers(step, snapshot, [...sources, ...targets])
  for (const { target } of [...sources, ...targets]) await step.engine.prepare(target, step.run.signal)
  if (sources.length > 1 && keeping.size > 0) {
    for (const { target } of sources)
      await step.engine.tellKeys(target, job.stored.record.id, step.run.signal)
  }
  const { tables, obstacles } = await inspectAll(step, job, { snapshot, sources, targets, keeping })
  if (obstacles.length > 0) throw refused(obstacles)
  const rowsTotal = tables.reduce((sum, { rowsEstimate }) => sum + rowsEstimate, 0)
  const bytesTotal = tables.reduce((sum, { bytes }) => sum + bytes, 0)
  const detail = {
    ranges: digest,
    tables: tables.map(({ name, signature }) => ({ name, signature })),
    terms: termsOf(job, snapshot),
    rowsTotal,
    bytesTotal,
  }
  return step.effect('persist checked', () => move(step.parts, step.run, job, { event: 'checked', detail }))
}

/** @throws FleetError `reshard_refused` */
async function refuseOverlap(step: ReshardStep, job: ReshardJob): Promise<void> {
  const mine = new Set<string>([...sourcesOf(job), ...targetsOf(job)])
  const open = await step.parts.catalog.jobs.list(
    { type: reshardJobType, status: ['pending', 'running'] },
    step.run.signal,
  )
  const other = open.find(({ record }) => {
    if (record.id === job.stored.record.id || record.keyspace !== job.stored.record.keyspace) return false
    const { sources, targets } = parseReshardJobDetail(record.detail)
    const isOlder = record.createdAt < job.stored.record.createdAt
    return isOlder && [...sources, ...targets.map(({ shard }) => shard)].some((id) => mine.has(id))
  })
  if (other === undefined) return
  throw new FleetError('reshard_refused', `the job ${other.record.id} works on one of these shards`, {
    hint: 'wait until it has ended, or cancel it',
  })
}

/** @throws FleetError `reshard_refused` */
function refuseShards(job: ReshardJob, { shards, keyspace }: KeyspaceSnapshot): void {
  const obstacles = [...repeated(sourcesOf(job)), ...repeated(targetsOf(job))].map((id): Obstacle => ({
    message: `the shard ${id} is named twice`,
    remedy: 'name every shard once',
  }))
  for (const id of [...sourcesOf(job), ...targetsOf(job)]) {
    if (!shards.some((shard) => shard.id === id)) {
      obstacles.push({
        message: `there is no shard ${id} in ${keyspace.name}`,
        remedy: 'see fleetshard shard list',
      })
    }
  }
  for (const shard of shards) {
    if (sourcesOf(job).includes(shard.id) && shard.status !== 'active') {
      obstacles.push({ message: `shard ${shard.id} is ${shard.status}`, remedy: 'set it to active first' })
    }
    if (targetsOf(job).includes(shard.id) && shard.vnodes !== '') {
      obstacles.push({
        message: `the target ${shard.id} owns ranges`,
        remedy: 'move to a shard that owns none: a new one, or one whose ranges were moved away',
      })
    }
  }
  if (obstacles.length > 0) throw refused(obstacles)
}

const repeated = (ids: readonly ShardId[]): ReadonlySet<ShardId> =>
  new Set(ids.filter((id, index) => ids.indexOf(id) < index))

/** Before anything is made there. @throws FleetError `reshard_refused` for a database that is another shard's */
async function refuseStrangers(
  { parts, run }: ReshardStep,
  { keyspace }: KeyspaceSnapshot,
  places: readonly Place[],
): Promise<void> {
  const obstacles: Obstacle[] = []
  for (const place of places) {
    const { signal } = run
    const identity = await parts.engineOf(keyspace.engine).readIdentity(place.target, { signal })
    if (identity?.shard === place.shard.id && identity.keyspace === keyspace.name) continue
    const owner = identity === null ? 'no shard' : `shard ${identity.shard} of ${identity.keyspace}`
    const message = `its database belongs to ${owner}`
    obstacles.push(on(place)({ message, remedy: 'correct its endpoint: fleetshard shard update' }))
  }
  if (obstacles.length > 0) throw refused(obstacles)
}

interface Looked {
  readonly snapshot: KeyspaceSnapshot
  readonly sources: readonly Place[]
  readonly targets: readonly Place[]
  readonly keeping: ReadonlySet<ShardId>
}

async function inspectAll(
  step: ReshardStep,
  job: ReshardJob,
  { snapshot, sources, targets, keeping }: Looked,
): Promise<{ readonly tables: readonly MovedTable[]; readonly obstacles: readonly Obstacle[] }> {
  const { engine, run } = step
  const records = movedRecords(snapshot)
  const obstacles: Obstacle[] = []
  const found: MovedTable[][] = []
  for (const source of sources) {
    const inspected = await engine.inspectSource(source.target, records, run.signal)
    found.push([...inspected.tables])
    const partial = keeping.has(source.shard.id) ? partObstacles(inspected, sources.length) : []
    obstacles.push(...[...inspected.obstacles, ...partial].map(on(source)))
  }
  const [first = [], ...others] = found
  for (const tables of others) {
    const unlike = first.find(
      ({ name, signature }) => tables.find((table) => table.name === name)?.signature !== signature,
    )
    if (unlike !== undefined) {
      obstacles.push({
        message: `the table ${unlike.name} differs between the sources`,
        remedy: 'make them alike',
      })
    }
  }
  const [source] = sources
  for (const target of targets) {
    if (source === undefined) break
    const own = await engine.inspectTarget(target.target, source.target, first, run.signal)
    obstacles.push(...own.map(on(target)))
    // What is missing there would be told twice.
    if (own.length === 0 && isReversible(job)) {
      const back = await engine.inspectSource(target.target, records, run.signal)
      obstacles.push(...back.obstacles.map(on(target)).map(forTheWayBack))
    }
  }
  if (isReversible(job)) obstacles.push(...backObstacles(first, { targets: targets.length, keeping }))
  const tables = first.map((table) => {
    const parts = sources.flatMap((one, index) =>
      tablesFrom(sourcesOf(job)[0], one, [table]).length === 0
        ? []
        : (found[index]?.find(({ name }) => name === table.name) ?? []),
    )
    return {
      ...table,
      rowsEstimate: parts.reduce((sum, { rowsEstimate }) => sum + rowsEstimate, 0),
      bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
    }
  })
  return { tables, obstacles }
}

const isReversible = ({ detail }: ReshardJob): boolean => (detail.reversibleMs ?? 0) > 0

/** SPEC.md, invariant 20. */
function backObstacles(
  tables: readonly MovedTable[],
  { targets, keeping }: { readonly targets: number; readonly keeping: ReadonlySet<ShardId> },
): readonly Obstacle[] {
  const obstacles: Obstacle[] = []
  if (keeping.size > 0) {
    obstacles.push({
      message: 'the source keeps a part of its ranges, whose rows the others could not come back among',
      remedy: 'move whole shards',
    })
  }
  for (const { name, kind, isUniqueByKey } of targets > 1 ? tables : []) {
    if (kind === 'reference' || name === keysTable || isUniqueByKey) continue
    obstacles.push({
      message: `a unique constraint of ${name} does not have the shard key in it, so that rows of several targets may clash`,
      remedy: 'take the shard key into it',
    })
  }
  return obstacles.map(forTheWayBack)
}

const forTheWayBack = ({ message, remedy }: Obstacle): Obstacle => ({
  message: `the rows could not be brought back: ${message}`,
  remedy: `${remedy}, or go without a way back (no --reversible-seconds)`,
})

/** What stands against taking a part of a source. */
function partObstacles({ tables, mayBypassTriggers }: InspectedSource, sources: number): Obstacle[] {
  const { circular } = removalOrder(tables)
  return tables
    .filter(({ kind }) => kind === 'sharded')
    .flatMap(({ name, tellsKey, hasTriggers }): Obstacle[] => [
      // A row that stays here and one that comes from another source may have the same primary key.
      ...(sources > 1 && !tellsKey
        ? [
            {
              message: `the log does not tell the shard key of rows of ${name} that are deleted`,
              remedy: `ALTER TABLE ${name} REPLICA IDENTITY FULL, or take the shard key into its primary key`,
            },
          ]
        : []),
      ...((hasTriggers || circular.includes(name)) && !mayBypassTriggers
        ? [
            {
              message: `to remove the moved rows of ${name} would fire its triggers, or foreign keys that go round`,
              remedy:
                'GRANT SET ON PARAMETER session_replication_role to the login, or move the whole shard instead',
            },
          ]
        : []),
    ])
}

const on =
  ({ shard }: Place) =>
  ({ message, remedy }: Obstacle): Obstacle => ({ message: `shard ${shard.id}: ${message}`, remedy })

function refused(obstacles: readonly Obstacle[]): FleetError {
  const [first] = obstacles
  const message = obstacles.map((obstacle) => obstacle.message).join('; ')
  return new FleetError('reshard_refused', message, {
    hint:
      obstacles.length === 1 && first !== undefined
        ? first.remedy
        : obstacles.map(({ remedy }) => remedy).join('; '),
  })
}
