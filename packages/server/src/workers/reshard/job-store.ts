// The job's record as the steps see it: its detail parsed, and the ways to change it, all under the claim. The order
// of the operator, which managers write beside the worker, is kept by every change.
import type { FleetError, JobRecord } from '@fleetshard/core'
import type { Stored } from '../../catalog/mod.ts'
import { parseReshardJobDetail, type ReshardJobDetail } from '../../engine/mod.ts'
import type { JobRun, WorkerParts } from '../worker.ts'
import { EVENTS } from '../../runtime/mod.ts'
import {
  nextState,
  parseReshardState,
  reshardMachine,
  type ReshardEvent,
  type ReshardState,
} from './machine.ts'

/** A job in hand. */
export interface ReshardJob {
  readonly stored: Stored<JobRecord>
  readonly state: ReshardState
  readonly detail: ReshardJobDetail
}

/** How often its copy has begun anew. */
export const restartsOf = ({ detail }: ReshardJob): number => detail.restarts ?? 0

type DetailChange = Partial<Omit<ReshardJobDetail, 'order'>>

/** @throws FleetError `corrupt_record` */
export function readReshardJob(stored: Stored<JobRecord>): ReshardJob {
  return {
    stored,
    state: parseReshardState(stored.record.state),
    detail: parseReshardJobDetail(stored.record.detail),
  }
}

/** The record after an event; not yet written. */
export function moved(
  record: JobRecord,
  event: ReshardEvent,
  change: { readonly now: string; readonly detail?: DetailChange },
): JobRecord {
  const state = nextState(parseReshardState(record.state), event)
  const { status, progress } = reshardMachine[state]
  const detail = { ...parseReshardJobDetail(record.detail), waitsFor: null, ...change.detail }
  const hasEnded = status !== 'pending' && status !== 'running'
  return {
    ...record,
    state,
    status,
    progress,
    detail,
    startedAt: record.startedAt ?? change.now,
    completedAt: hasEnded ? change.now : null,
    errorCode: status === 'failed' ? (detail.failure?.code ?? 'internal') : null,
    errorMessage: status === 'failed' ? failureText(detail.failure) : null,
  }
}

/** Writes a step. @throws FleetError `catalog_conflict` (the claim is lost), `catalog_unavailable` (outcome unknown) */
export async function move(
  parts: WorkerParts,
  run: JobRun,
  job: ReshardJob,
  step: { readonly event: ReshardEvent; readonly detail?: DetailChange },
): Promise<ReshardJob> {
  const change = {
    now: new Date(parts.clock.now()).toISOString(),
    ...(step.detail === undefined ? {} : { detail: step.detail }),
  }
  const stored = await parts.catalog.jobs.update(
    job.stored.record.id,
    (found) => moved(found, step.event, change),
    { conditions: [run.claim.condition], signal: run.signal },
  )
  parts.log.info({ event: EVENTS.job_state, state: stored.record.state }, 'reshard job moved on')
  return readReshardJob(stored)
}

/** Writes how far a step is, within its state. */
export async function note(
  parts: WorkerParts,
  run: JobRun,
  job: ReshardJob,
  change: { readonly detail: DetailChange; readonly progress?: number },
): Promise<ReshardJob> {
  const stored = await parts.catalog.jobs.update(
    job.stored.record.id,
    (found) => ({
      ...found,
      progress: change.progress ?? found.progress,
      detail: { ...parseReshardJobDetail(found.detail), ...change.detail },
    }),
    { conditions: [run.claim.condition], signal: run.signal },
  )
  return readReshardJob(stored)
}

/** What of an error is stored: no cause, no stack. */
export function failureOf(error: FleetError): NonNullable<ReshardJobDetail['failure']> {
  return { code: error.code, message: error.message, hint: error.hint ?? null, sqlstate: error.sqlstate }
}

function failureText(failure: ReshardJobDetail['failure']): string {
  if (failure === null) return 'the move failed'
  return failure.hint === null ? failure.message : `${failure.message}; ${failure.hint}`
}
