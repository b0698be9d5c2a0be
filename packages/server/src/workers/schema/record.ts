// The last step: every shard has the tables, so the catalog may say so. The records and the end of the job are one
// commit, which holds only if no shard came, went or changed since the shards were looked at.
import {
  FleetError,
  isFleetError,
  type KeyspaceSnapshot,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import { keys, type StoreCondition, type StoredKeyspace } from '../../catalog/mod.ts'
import { statementsByTable, type CheckedDeclaration, type SchemaScript } from '../../engine/mod.ts'
import type { JobProgress } from '../worker.ts'
import { moved, readSchemaJob, type SchemaJob } from './job-store.ts'
import { changeFor, firstError, gidOf, onShards, reach, shardStepMsMax } from './shards.ts'
import type { SchemaStep } from './step.ts'

/** The step of `recording`. */
export async function recordTables(step: SchemaStep, job: SchemaJob): Promise<SchemaJob | JobProgress> {
  const { keyspace: name } = job.stored.record
  const stored = await step.parts.catalog.keyspaces.read(name, step.run.signal)
  if (stored === null) throw new FleetError('not_found', `there is no keyspace ${name}`)
  const script = await step.engine.parseSchema(job.detail.ddl)
  const waits = await reachNewcomers(step, job, { script, keyspace: stored.snapshot })
  if (waits !== null) return waits
  const records = await recordsOf(step, job, { script, keyspace: stored.snapshot })
  try {
    return await step.effect('persist recorded', () => commit(step, job, stored, records))
  } catch (error) {
    // A shard or a table changed meanwhile: look again.
    if (isFleetError(error, 'catalog_conflict'))
      return { kind: 'waiting', reason: 'the keyspace has changed' }
    throw error
  }
}

interface Looked {
  readonly script: SchemaScript
  readonly keyspace: KeyspaceSnapshot
}

/** Shards that the job did not know when it began get the tables now; done before, it is a no-op. */
async function reachNewcomers(step: SchemaStep, job: SchemaJob, looked: Looked): Promise<JobProgress | null> {
  const known = new Set(job.detail.shards)
  const newcomers = looked.keyspace.shards.filter(({ id }) => !known.has(id))
  const { signal } = step.run
  const results = await onShards(newcomers, signal, async (shard) => {
    const { target } = await reach(step.parts, step.engine, shard, signal)
    const change = changeFor(shard, looked.script, {
      declarations: job.detail.declarations,
      declared: looked.keyspace.tables,
    })
    const gid = gidOf(job.stored.record.id, shard.id)
    await step.effect(`apply ${shard.id}`, () =>
      step.engine.applySchema(target, change, { signal, timeoutMs: shardStepMsMax, gid }),
    )
  })
  const error = firstError(results)
  return error === null ? null : { kind: 'waiting', reason: error.message }
}

async function recordsOf(step: SchemaStep, job: SchemaJob, looked: Looked): Promise<readonly TableRecord[]> {
  const { keyspace, script } = looked
  const checked = await checkedTables(step, job, keyspace)
  const parts = statementsByTable(script)
  const home = firstShard(keyspace)
  const declaredBefore = new Set(keyspace.tables.map(({ name }) => name))
  const firstMs = Math.max(
    step.parts.clock.now(),
    ...keyspace.tables.map(({ createdAt }) => Date.parse(createdAt) + 1),
  )
  const records = script.creates.map((name, index) => {
    const { declaration, keyType } = required(checked, name)
    return {
      keyspace: keyspace.keyspace.name,
      name,
      kind: declaration.kind,
      keyColumn: declaration.keyColumn,
      keyType,
      homeShard: declaration.kind === 'global' ? (declaration.homeShard ?? home.id) : null,
      ddl: (parts.get(name) ?? []).join(';\n'),
      version: 1,
      // Ascending in the order of the script: a fresh shard gets the parts in the order of creation.
      createdAt: new Date(firstMs + index).toISOString(),
    }
  })
  return records.filter(({ name }) => !declaredBefore.has(name))
}

/** The rules once more, on what is there: key types come from the real columns. */
async function checkedTables(
  step: SchemaStep,
  job: SchemaJob,
  keyspace: KeyspaceSnapshot,
): Promise<ReadonlyMap<string, CheckedDeclaration>> {
  const { signal } = step.run
  const { target } = await reach(step.parts, step.engine, firstShard(keyspace), signal)
  const tables = await step.engine.describeTables(target, { signal, timeoutMs: shardStepMsMax })
  const checked = new Map<string, CheckedDeclaration>()
  for (const declaration of job.detail.declarations) {
    const table = tables.find(({ name }) => name === declaration.name)
    if (table !== undefined) checked.set(declaration.name, step.engine.checkDeclaration(table, declaration))
  }
  return checked
}

function required(checked: ReadonlyMap<string, CheckedDeclaration>, name: string): CheckedDeclaration {
  const found = checked.get(name)
  if (found !== undefined) return found
  throw new FleetError('schema_failed', `${name} was created, and is gone again`, {
    hint: 'somebody dropped it on a shard: create it there again by the same statement, and the job goes on',
  })
}

/** By sequence block, which is the order in which shards were made. */
function firstShard(keyspace: KeyspaceSnapshot): ShardRecord {
  const [first] = keyspace.shards.toSorted((a, b) => a.sequenceBlock - b.sequenceBlock)
  if (first !== undefined) return first
  throw new FleetError('no_shard', `keyspace ${keyspace.keyspace.name} has lost all its shards`)
}

async function commit(
  step: SchemaStep,
  job: SchemaJob,
  stored: StoredKeyspace,
  records: readonly TableRecord[],
): Promise<SchemaJob> {
  const { catalog, clock } = step.parts
  const { record } = job.stored
  const next = moved(job, 'recorded', { now: new Date(clock.now()).toISOString() })
  const unchanged: StoreCondition = {
    kind: 'revision',
    key: keys.epoch(record.keyspace),
    revision: stored.epochRevision,
  }
  const end = catalog.jobs.updateParts(job.stored, next)
  const conditions = [step.run.claim.condition, ...end.conditions]
  const { signal } = step.run
  if (records.length > 0) {
    await catalog.tables.create(records, {
      conditions: [...conditions, unchanged],
      writes: end.writes,
      signal,
    })
  } else {
    await catalog.jobs.update(record.id, () => next, {
      expectedVersion: record.version,
      conditions: [step.run.claim.condition, unchanged],
      signal,
    })
  }
  const ended = await catalog.jobs.get(record.id, signal)
  if (ended === null) throw new FleetError('not_found', `there is no job ${record.id}`)
  return readSchemaJob(ended)
}
