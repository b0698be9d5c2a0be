// The first step: is it this job's turn, and can it be done at all? Nothing is changed on any shard before the
// answer, with the shards it was given for, is in the catalog.
import { FleetError, isFleetError, type KeyspaceSnapshot, type ShardId } from '@fleetshard/core'
import { schemaJobType, type SchemaScript } from '../../engine/mod.ts'
import type { JobProgress } from '../worker.ts'
import { failureOf, move, type SchemaJob } from './job-store.ts'
import { firstError, onShards, reach, shardStepMsMax } from './shards.ts'
import type { SchemaStep } from './step.ts'

/** The step of `planned`. */
export async function planJob(step: SchemaStep, job: SchemaJob): Promise<SchemaJob | JobProgress> {
  const before = await olderJob(step, job)
  if (before !== null) return { kind: 'waiting', reason: `schema job ${before} has to end first` }
  let shards: readonly ShardId[]
  try {
    shards = await plan(step, job)
  } catch (error) {
    if (!isFleetError(error) || isOfCatalog(error)) throw error
    step.run.signal.throwIfAborted()
    const detail = { failure: failureOf(error) }
    return step.effect('persist refuse', () => move(step.parts, step.run, job, { event: 'refuse', detail }))
  }
  const event = shards.length === 1 ? 'begin_one' : 'begin_several'
  const detail = { shards: [...shards] }
  return step.effect(`persist ${event}`, () => move(step.parts, step.run, job, { event, detail }))
}

/** Two jobs with prepared transactions could wait for each other's locks on different shards for ever. */
async function olderJob(step: SchemaStep, job: SchemaJob): Promise<string | null> {
  const { record } = job.stored
  const open = await step.parts.catalog.jobs.list(
    { type: schemaJobType, status: ['pending', 'running'] },
    step.run.signal,
  )
  const order = `${record.createdAt} ${record.id}`
  const older = open
    .map((found) => found.record)
    .filter((found) => found.keyspace === record.keyspace && `${found.createdAt} ${found.id}` < order)
  return older[0]?.id ?? null
}

/** Errors that say nothing about the job. */
function isOfCatalog(error: FleetError): boolean {
  return error.code.startsWith('catalog_') || error.code === 'lease_lost'
}

async function plan(step: SchemaStep, job: SchemaJob): Promise<readonly ShardId[]> {
  const { record, detail } = { ...job, record: job.stored.record }
  const script = await step.engine.parseSchema(detail.ddl)
  const keyspace = await step.parts.catalog.keyspaces.read(record.keyspace, step.run.signal)
  if (keyspace === null) throw new FleetError('not_found', `there is no keyspace ${record.keyspace}`)
  checkNames(script, job, keyspace.snapshot)
  const { shards } = keyspace.snapshot
  if (shards.length === 0) {
    throw new FleetError('no_shard', `keyspace ${record.keyspace} has no shard to create tables on`, {
      hint: 'create a shard first: fleetshard shard create',
    })
  }
  await checkServers(step, keyspace.snapshot)
  return shards.map(({ id }) => id)
}

function checkNames(script: SchemaScript, job: SchemaJob, keyspace: KeyspaceSnapshot): void {
  const declared = new Set(job.detail.declarations.map(({ name }) => name))
  const forgotten = script.creates.find((name) => !declared.has(name))
  if (forgotten !== undefined) {
    throw new FleetError('schema_refused', `the script creates ${forgotten}, which is not declared`, {
      hint: 'say whether it is sharded (by which column), reference or global',
    })
  }
  const unknown = [...declared].find((name) => !script.creates.includes(name))
  if (unknown !== undefined) {
    throw new FleetError('schema_refused', `${unknown} is declared, but the script does not create it`, {
      hint: `the script creates ${script.creates.join(', ')}`,
    })
  }
  const taken = keyspace.tables.find(({ name }) => declared.has(name))
  if (taken !== undefined) {
    throw new FleetError('already_exists', `the table ${taken.name} is declared already`, {
      hint: 'leave it out of the script, or choose another name',
    })
  }
}

/** Every server must be the shard it should be, writable, and able to do its part. */
async function checkServers(step: SchemaStep, keyspace: KeyspaceSnapshot): Promise<void> {
  const { signal } = step.run
  const twoPhase = keyspace.shards.length > 1
  const results = await onShards(keyspace.shards, signal, async (shard) => {
    const { engine, target } = await reach(step.parts, step.engine, shard, signal)
    const facts = await engine.inspectNode(target, { signal, timeoutMs: shardStepMsMax })
    if (facts.identity?.shard !== shard.id) {
      throw new FleetError(
        'wrong_database',
        `its database belongs to ${facts.identity?.shard ?? 'no shard'}`,
        {
          hint: 'check the endpoint of the node: fleetshard shard get',
        },
      )
    }
    if (facts.inRecovery || facts.readOnly) {
      throw new FleetError('node_check_failed', 'its primary takes no writes', {
        hint: 'promote a replica, or switch default_transaction_read_only off',
      })
    }
    if (twoPhase && facts.preparedTransactionsMax === 0) {
      throw new FleetError(
        'schema_refused',
        'max_prepared_transactions is 0, so that all or none cannot be held',
        {
          hint: 'set max_prepared_transactions = 20 on every server of the keyspace and restart it',
        },
      )
    }
  })
  const error = firstError(results)
  if (error !== null) throw error
}
