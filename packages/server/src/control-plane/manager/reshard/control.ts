// What an operator wants of a job that moves rows: written beside the state, which is the worker's, and obeyed at the
// worker's next step.
import { FleetError, type JobRecord } from '@fleetshard/core'
import { parseReshardJobDetail, reshardJobType, type ReshardJobDetail } from '../../../engine/mod.ts'
import type { Work } from '../parts.ts'

type Order = ReshardJobDetail['order']

/** States from which there is no way back: the hold is there, or the ranges have changed hands. */
const decided = new Set(['cutover', 'cleaning', 'cutover_back', 'removing'])
/** The rows have moved, and can be brought back. */
const reversible = new Set(['reversible', 'reversing'])

/** Why a job in that state does not take the order; null when it does. */
function refusalOf(state: string, order: Order): { readonly message: string; readonly hint: string } | null {
  if (order === 'reverse' || order === 'complete') {
    if (reversible.has(state)) return null
    return {
      message: `it is in ${state}`,
      hint: 'only a job whose rows have moved, and that was begun with a way back, takes that while the way back lasts',
    }
  }
  if (reversible.has(state)) {
    return {
      message: `it is in ${state}: its rows have moved`,
      hint: 'reverse brings them back, complete gives the way back up',
    }
  }
  if (order === 'run' || !decided.has(state)) return null
  return {
    message: `it is in ${state}: it is too late for that`,
    hint: 'it ends within moments; move the rows back by another job',
  }
}

/** @throws FleetError `not_found`, `conflict` when it is too late */
export async function orderReshard(
  work: Work,
  id: string,
  order: ReshardJobDetail['order'],
): Promise<JobRecord> {
  const { parts, change, signal } = work
  const found = requireReshardJob(parts.fleet.job(id))
  const { record } = await parts.catalog.jobs.update(
    found.id,
    (job) => {
      if (job.status !== 'pending' && job.status !== 'running') {
        throw new FleetError('conflict', `the job ${id} has ended: it is ${job.status}`, { retryable: false })
      }
      const refusal = refusalOf(job.state, order)
      if (refusal !== null) {
        const { message, hint } = refusal
        throw new FleetError('conflict', `the job ${id} does not take ${order}: ${message}`, {
          hint,
          retryable: false,
        })
      }
      const detail = parseReshardJobDetail(job.detail)
      if (order === 'run' && detail.order === 'cancel') {
        throw new FleetError('conflict', `the job ${id} is being cancelled`, { retryable: false })
      }
      return { ...job, detail: { ...detail, order } }
    },
    { conditions: [change.condition], signal },
  )
  await parts.fleet.shown(({ jobs }) => (jobs.get(record.id)?.record.version ?? 0) >= record.version)
  return record
}

/** @throws FleetError `not_found` for a job of another kind */
export function requireReshardJob(job: JobRecord): JobRecord {
  if (job.type === reshardJobType) return job
  throw new FleetError('not_found', `the job ${job.id} is no split, merge or move`, {
    hint: 'see it with fleetshard job get',
  })
}
