// The schema worker: one step function a state. SPEC.md has the states, and why each step may be repeated.
import { FleetError, isFleetError, type KeyspaceSnapshot, type ShardRecord } from '@fleetshard/core'
import { schemaJobType, type SchemaScript } from '../../engine/mod.ts'
import {
  defineWorker,
  type JobProgress,
  type JobRun,
  type WorkerDefinition,
  type WorkerParts,
} from '../worker.ts'
import { inSpan } from '../../runtime/mod.ts'
import { failureOf, move, readSchemaJob, type SchemaJob } from './job-store.ts'
import { hasEnded, type SchemaState } from './machine.ts'
import { planJob } from './plan.ts'
import { recordTables } from './record.ts'
import { changeFor, firstError, gidOf, onShards, reach, shardStepMsMax, type ReachedShard } from './shards.ts'
import type { Checkpoint, SchemaStep } from './step.ts'
import { sweepPrepared } from './sweep.ts'

/** How often a rollback is tried before what is left is left to the sweep. */
const rollbackAttemptsMax = 3
const rollbackPauseMs = 1_000

type Step = (step: SchemaStep, job: SchemaJob) => Promise<SchemaJob | JobProgress>

const ended: Step = () => Promise.resolve({ kind: 'ended' })

const steps: Readonly<Record<SchemaState, Step>> = {
  planned: planJob,
  applying,
  preparing,
  committing,
  recording: recordTables,
  rolling_back: rollingBack,
  completed: ended,
  failed: ended,
}

/** The worker; `checkpoint` is for tests. */
export function createSchemaWorker(checkpoint: Checkpoint = () => undefined): WorkerDefinition {
  return defineWorker({
    name: schemaJobType,
    run: (parts, run) => runSchemaJob(parts, run, checkpoint),
    sweep: sweepPrepared,
  })
}

async function runSchemaJob(parts: WorkerParts, run: JobRun, checkpoint: Checkpoint): Promise<JobProgress> {
  const step: SchemaStep = {
    parts,
    run,
    engine: parts.engineOf('postgres'),
    effect: async (name, work) => {
      await checkpoint(`before ${name}`)
      const value = await inSpan(parts.span ?? null, name, work)
      await checkpoint(`after ${name}`)
      return value
    },
  }
  let job: SchemaJob
  try {
    job = readSchemaJob(run.job)
  } catch (error) {
    return endUnreadable(step, error)
  }
  while (!hasEnded(job.state)) {
    run.signal.throwIfAborted()
    const next = await steps[job.state](step, job)
    if ('kind' in next) return next
    job = next
  }
  return { kind: 'ended' }
}

/** A job that this version can't read must not be tried for ever. The sweep ends what it may have prepared. */
async function endUnreadable(step: SchemaStep, error: unknown): Promise<JobProgress> {
  if (!isFleetError(error, 'corrupt_record')) throw error
  const { parts, run } = step
  const { record } = run.job
  await parts.catalog.jobs.update(
    record.id,
    (found) => ({
      ...found,
      status: 'failed',
      errorCode: error.code,
      errorMessage: error.message,
      completedAt: new Date(parts.clock.now()).toISOString(),
    }),
    { expectedVersion: record.version, conditions: [run.claim.condition], signal: run.signal },
  )
  return { kind: 'ended' }
}

/** One shard: the transaction with its marker is effect and decision in one. */
async function applying(step: SchemaStep, job: SchemaJob): Promise<SchemaJob | JobProgress> {
  const { script, shards, keyspace } = await context(step, job)
  const results = await onShards(shards, step.run.signal, async (shard) => {
    const reached = await reach(step.parts, step.engine, shard, step.run.signal)
    const change = changeFor(shard, script, tablesOf(job, keyspace))
    await step.effect(`apply ${shard.id}`, () =>
      step.engine.applySchema(reached.target, change, {
        ...bounds(step),
        gid: gidOf(step.run.job.record.id, shard.id),
      }),
    )
  })
  const error = firstError(results)
  if (error === null)
    return step.effect('persist applied', () => move(step.parts, step.run, job, { event: 'applied' }))
  // Only these say for certain that the transaction was rolled back.
  if (error.code !== 'schema_failed' && error.code !== 'schema_refused') return waiting(error)
  const detail = { failure: failureOf(error) }
  return step.effect('persist refuse', () => move(step.parts, step.run, job, { event: 'refuse', detail }))
}

async function preparing(step: SchemaStep, job: SchemaJob): Promise<SchemaJob> {
  const { script, shards, keyspace } = await context(step, job)
  const results = await onShards(shards, step.run.signal, async (shard) => {
    const reached = await reach(step.parts, step.engine, shard, step.run.signal)
    const change = changeFor(shard, script, tablesOf(job, keyspace))
    const gid = gidOf(step.run.job.record.id, shard.id)
    await step.effect(`prepare ${shard.id}`, () =>
      step.engine.prepareSchema(reached.target, gid, change, bounds(step)),
    )
  })
  const error = firstError(results) ?? missingShard(job, shards)
  if (error === null) {
    return step.effect('persist prepared', () => move(step.parts, step.run, job, { event: 'prepared' }))
  }
  const detail = { failure: failureOf(error) }
  return step.effect('persist abort', () => move(step.parts, step.run, job, { event: 'abort', detail }))
}

function missingShard(job: SchemaJob, shards: readonly ShardRecord[]): FleetError | null {
  if (shards.length === job.detail.shards?.length) return null
  return new FleetError('conflict', 'a shard was deleted while the schema change was under way', {
    hint: 'start it again',
  })
}

async function committing(step: SchemaStep, job: SchemaJob): Promise<SchemaJob | JobProgress> {
  const { script, shards, keyspace } = await context(step, job)
  const results = await onShards(shards, step.run.signal, async (shard) => {
    const reached = await reach(step.parts, step.engine, shard, step.run.signal)
    const gid = gidOf(step.run.job.record.id, shard.id)
    const state = await step.effect(`commit ${shard.id}`, () =>
      step.engine.finishPrepared(reached.target, gid, 'commit', bounds(step)),
    )
    if (state === 'committed') return
    // Lost: an asynchronous failover, or somebody's ROLLBACK PREPARED. The decision stands, so it is done again.
    step.parts.log.warn(
      { shard: shard.id, found: state },
      'prepared schema change was lost, running it again',
    )
    const change = changeFor(shard, script, tablesOf(job, keyspace))
    await step.effect(`redo ${shard.id}`, () =>
      step.engine.applySchema(reached.target, change, { ...bounds(step), gid: `${gid}:redo` }),
    )
  })
  const error = firstError(results)
  if (error !== null) return waiting(error)
  return step.effect('persist committed', () => move(step.parts, step.run, job, { event: 'committed' }))
}

async function rollingBack(step: SchemaStep, job: SchemaJob): Promise<SchemaJob> {
  const { shards } = await context(step, job)
  let left = shards
  for (let attempt = 1; attempt <= rollbackAttemptsMax && left.length > 0; attempt++) {
    if (attempt > 1) await step.parts.clock.sleep(rollbackPauseMs, step.run.signal)
    left = await rollBack(step, left)
  }
  const event = left.length === 0 ? 'rolled_back' : 'give_up'
  return step.effect(`persist ${event}`, () => move(step.parts, step.run, job, { event }))
}

/** The shards that could not be reached. */
async function rollBack(step: SchemaStep, shards: readonly ShardRecord[]): Promise<readonly ShardRecord[]> {
  const results = await onShards(shards, step.run.signal, async (shard) => {
    const reached: ReachedShard = await reach(step.parts, step.engine, shard, step.run.signal)
    const gid = gidOf(step.run.job.record.id, shard.id)
    await step.effect(`rollback ${shard.id}`, () =>
      step.engine.finishPrepared(reached.target, gid, 'rollback', bounds(step)),
    )
  })
  const failed = new Set(results.filter(({ kind }) => kind === 'error').map(({ shard }) => shard))
  return shards.filter(({ id }) => failed.has(id))
}

/** What a step needs to know, read anew: the script, the keyspace, and those of the job's shards that still exist. */
async function context(
  step: SchemaStep,
  job: SchemaJob,
): Promise<{
  readonly script: SchemaScript
  readonly keyspace: KeyspaceSnapshot
  readonly shards: readonly ShardRecord[]
}> {
  const { record } = job.stored
  const keyspace = await step.parts.catalog.keyspaces.read(record.keyspace, step.run.signal)
  if (keyspace === null) throw new FleetError('not_found', `there is no keyspace ${record.keyspace}`)
  const named = new Set(job.detail.shards)
  return {
    script: await step.engine.parseSchema(job.detail.ddl),
    keyspace: keyspace.snapshot,
    shards: keyspace.snapshot.shards.filter(({ id }) => named.has(id)),
  }
}

function tablesOf(job: SchemaJob, keyspace: KeyspaceSnapshot) {
  return { declarations: job.detail.declarations, declared: keyspace.tables }
}

function bounds(step: SchemaStep) {
  return { signal: step.run.signal, timeoutMs: shardStepMsMax }
}

function waiting(error: FleetError): JobProgress {
  return { kind: 'waiting', reason: error.message }
}
