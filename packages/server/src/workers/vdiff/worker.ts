// The vdiff worker: compares table after table and keeps what it finds. It changes nothing but its own job, so every
// step may be repeated; tables that are done are not compared again.
import {
  buildShardMap,
  FleetError,
  toFleetError,
  type JobRecord,
  type KeyspaceSnapshot,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import type { Stored } from '../../catalog/mod.ts'
import {
  parseVdiffJobDetail,
  vdiffJobType,
  type ComparedTable,
  type NodeTarget,
  type VdiffEngine,
  type VdiffJobDetail,
  type VdiffTable,
} from '../../engine/mod.ts'
import {
  defineWorker,
  type JobProgress,
  type JobRun,
  type WorkerDefinition,
  type WorkerParts,
} from '../worker.ts'
import { compareShards, compareSides, type TableUnderTest } from './compare.ts'
import type { Place } from './merge.ts'

/** Workers that may take the job, before it is given up. */
const runsMax = 50

/** The worker. */
export function createVdiffWorker({ engine }: { readonly engine: VdiffEngine }): WorkerDefinition {
  return defineWorker({ name: vdiffJobType, run: (parts, run) => runVdiff({ parts, run, engine }) })
}

interface Step {
  readonly parts: WorkerParts
  readonly run: JobRun
  readonly engine: VdiffEngine
}

interface VdiffJob {
  readonly record: JobRecord
  readonly detail: VdiffJobDetail
}

async function runVdiff(step: Step): Promise<JobProgress> {
  const { run } = step
  const first = read(run.job)
  if (hasEnded(first.record)) return { kind: 'ended' }
  const job = await write(step, first, { detail: { run: first.detail.run + 1 }, state: 'comparing' })
  try {
    await compareAll(step, job)
    return { kind: 'ended' }
  } catch (error) {
    run.signal.throwIfAborted()
    const known = toFleetError(error)
    if (known.retryable && job.detail.run < runsMax) {
      await write(step, job, { detail: { waitsFor: known.message } })
      return { kind: 'waiting', reason: known.message }
    }
    await write(step, job, { state: 'failed', error: known })
    return { kind: 'ended' }
  }
}

async function compareAll(step: Step, begun: VdiffJob): Promise<void> {
  const snapshot = await snapshotOf(step, begun)
  const tables = wantedTables(snapshot, begun.detail)
  let job = begun
  for (const record of tables) {
    if (job.detail.results.some(({ name }) => name === record.name)) continue
    const result = await compareTable(step, job, { snapshot, record })
    // Ranges that changed hands meanwhile make of right rows misplaced ones.
    if ((await snapshotOf(step, job)).epoch !== snapshot.epoch) {
      throw new FleetError('conflict', 'the shard map changed while rows were compared')
    }
    const results = [...job.detail.results, result]
    job = await write(step, job, {
      detail: { results, waitsFor: null },
      progress: results.length / tables.length,
    })
  }
  await write(step, job, { state: 'completed' })
}

async function snapshotOf({ parts, run }: Step, { record }: VdiffJob): Promise<KeyspaceSnapshot> {
  const stored = await parts.catalog.keyspaces.read(record.keyspace, run.signal)
  if (stored !== null) return stored.snapshot
  throw new FleetError('not_found', `there is no keyspace ${record.keyspace}`)
}

/** Global tables are on one shard: there is nothing to compare them with. */
function wantedTables({ tables }: KeyspaceSnapshot, detail: VdiffJobDetail): readonly TableRecord[] {
  return tables.filter(
    ({ name, kind }) => kind !== 'global' && (detail.tables === null || detail.tables.includes(name)),
  )
}

async function compareTable(
  step: Step,
  { detail }: VdiffJob,
  { snapshot, record }: { readonly snapshot: KeyspaceSnapshot; readonly record: TableRecord },
): Promise<VdiffTable> {
  const { run, parts } = step
  await using stack = new AsyncDisposableStack()
  const open = async (shards: readonly ShardRecord[]): Promise<readonly Opened[]> => {
    const opened = await Promise.allSettled(shards.map((shard) => openPlace(step, shard)))
    const places = opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    for (const { reader } of places) stack.use(reader)
    for (const one of opened) if (one.status === 'rejected') throw one.reason
    return places
  }
  const byIds = (ids: readonly string[]) => snapshot.shards.filter(({ id }) => ids.includes(id))
  const pause = (ms: number): Promise<void> => parts.clock.sleep(ms, run.signal)
  if (detail.compares.kind === 'shards') {
    const places = await open(snapshot.shards.filter(({ vnodes }) => vnodes !== ''))
    const under = await describe(step, places, record)
    // Awaited here: the connections are closed when the block is left.
    return await compareShards(under, places, { map: buildShardMap(snapshot), pause })
  }
  const { sources, targets } = detail.compares
  const sides = { sources: await open(byIds(sources)), targets: await open(byIds(targets)) }
  if (sides.sources.length < sources.length || sides.targets.length < targets.length) {
    throw new FleetError('not_found', `a shard of the job ${detail.compares.job} was deleted meanwhile`)
  }
  return await compareSides(await describe(step, sides.targets, record), sides, pause)
}

interface Opened extends Place {
  readonly target: NodeTarget
}

async function openPlace({ parts, run, engine }: Step, shard: ShardRecord): Promise<Opened> {
  const primary = shard.nodes.find(({ role }) => role === 'primary')
  if (primary === undefined) throw new FleetError('shard_unavailable', `shard ${shard.id} has no primary`)
  const target = await parts.targetOf(primary, run.signal)
  return { shard: shard.id, target, reader: await engine.openReader(target, run.signal) }
}

/** The table as the first of them has it. */
async function describe(
  { parts, run }: Step,
  [first]: readonly Opened[],
  record: TableRecord,
): Promise<TableUnderTest> {
  if (first === undefined) throw new FleetError('no_shard', 'no shard owns anything', { retryable: false })
  const facts = (await parts.engineOf('postgres').describeTables(first.target, { signal: run.signal })).find(
    ({ name }) => name === record.name,
  )
  if (facts === undefined) {
    throw new FleetError('not_found', `shard ${first.shard} has no table ${record.name}`, {
      hint: 'create it, or drop its declaration: fleetshard table delete',
    })
  }
  const columns = facts.columns.filter(({ generated }) => !generated).map(({ name }) => name)
  const primary = facts.uniques.find(({ kind }) => kind === 'primary')
  const key = (primary?.columns ?? []).filter((name) => name !== null)
  const table: ComparedTable = {
    name: record.name,
    columns,
    key: key.length > 0 ? key : columns,
    shardKey: record.kind === 'sharded' ? record.keyColumn : null,
  }
  return { table, keyType: record.kind === 'sharded' ? record.keyType : null }
}

interface Change {
  readonly state?: 'comparing' | 'completed' | 'failed'
  readonly detail?: Partial<VdiffJobDetail>
  readonly progress?: number
  readonly error?: FleetError
}

/** Writes the job under the claim. */
async function write({ parts, run }: Step, { record }: VdiffJob, change: Change): Promise<VdiffJob> {
  const now = new Date(parts.clock.now()).toISOString()
  const stored = await parts.catalog.jobs.update(
    record.id,
    (found) => {
      const state = change.state ?? found.state
      const hasCome = state === 'completed' || state === 'failed'
      return {
        ...found,
        state,
        status: hasCome ? state : 'running',
        progress: hasCome ? 1 : (change.progress ?? found.progress),
        detail: { ...parseVdiffJobDetail(found.detail), ...change.detail },
        errorCode: change.error?.code ?? null,
        errorMessage: change.error?.message ?? null,
        startedAt: found.startedAt ?? now,
        completedAt: hasCome ? now : null,
      }
    },
    { conditions: [run.claim.condition], signal: run.signal },
  )
  return read(stored)
}

const read = ({ record }: Stored<JobRecord>): VdiffJob => ({
  record,
  detail: parseVdiffJobDetail(record.detail),
})

const hasEnded = ({ status }: JobRecord): boolean => status !== 'pending' && status !== 'running'
