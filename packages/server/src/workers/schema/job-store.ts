// The job's record as the steps see it: its detail parsed, and the one way to move it, under the claim.
import type { FleetError, JobRecord } from '@fleetshard/core'
import { parseSchemaJobDetail, type SchemaJobDetail, type SchemaJobFailure } from '../../engine/mod.ts'
import type { Stored } from '../../catalog/mod.ts'
import type { JobRun, WorkerParts } from '../worker.ts'
import { EVENTS } from '../../runtime/mod.ts'
import { nextState, parseSchemaState, schemaMachine, type SchemaEvent, type SchemaState } from './machine.ts'

/** A job in hand. */
export interface SchemaJob {
  readonly stored: Stored<JobRecord>
  readonly state: SchemaState
  readonly detail: SchemaJobDetail
}

/** @throws FleetError `corrupt_record` */
export function readSchemaJob(stored: Stored<JobRecord>): SchemaJob {
  return {
    stored,
    state: parseSchemaState(stored.record.state),
    detail: parseSchemaJobDetail(stored.record.detail),
  }
}

/** The record after an event; not yet written. */
export function moved(
  job: SchemaJob,
  event: SchemaEvent,
  change: { readonly now: string; readonly detail?: Partial<SchemaJobDetail> },
): JobRecord {
  const state = nextState(job.state, event)
  const { status, progress } = schemaMachine[state]
  const detail = { ...job.detail, ...change.detail }
  const { record } = job.stored
  const ended = status === 'completed' || status === 'failed'
  return {
    ...record,
    state,
    status,
    progress,
    detail,
    startedAt: record.startedAt ?? change.now,
    completedAt: ended ? change.now : null,
    errorCode: status === 'failed' ? (detail.failure?.code ?? 'internal') : null,
    errorMessage: status === 'failed' ? failureText(detail.failure) : null,
  }
}

/**
 * Writes the step. Conditioned on the claim and on the revision that the job was read at, so that nobody else can
 * have moved it.
 * @throws FleetError `catalog_conflict`, `catalog_unavailable` (outcome unknown: the job is read again)
 */
export async function move(
  parts: WorkerParts,
  run: JobRun,
  job: SchemaJob,
  step: { readonly event: SchemaEvent; readonly detail?: Partial<SchemaJobDetail> },
): Promise<SchemaJob> {
  const now = new Date(parts.clock.now()).toISOString()
  const next = moved(job, step.event, { now, ...(step.detail === undefined ? {} : { detail: step.detail }) })
  const { record } = job.stored
  const stored = await parts.catalog.jobs.update(record.id, () => next, {
    expectedVersion: record.version,
    conditions: [run.claim.condition],
    signal: run.signal,
  })
  parts.log.info({ event: EVENTS.job_state, state: stored.record.state }, 'schema job moved on')
  return readSchemaJob(stored)
}

/** What of an error is stored: no cause, no stack. */
export function failureOf(error: FleetError): SchemaJobFailure {
  return { code: error.code, message: error.message, hint: error.hint ?? null, sqlstate: error.sqlstate }
}

function failureText(failure: SchemaJobFailure | null): string {
  if (failure === null) return 'the schema change failed'
  return failure.hint === null ? failure.message : `${failure.message}; ${failure.hint}`
}
