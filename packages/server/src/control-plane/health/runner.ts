// Carries one failover on from wherever it stands: state by state, each written down before what follows from it.
// Started by the controller for every open job, so that a new leader goes on where the last one died.
import { FleetError, isFleetError, toFleetError, type JobId, type ShardRecord } from '@fleetshard/core'
import { awaitFormer, checkSuccessor, reachFormer, rejoinFormer, retreat, verifyWrite } from './after-care.ts'
import { EVENTS } from '../../runtime/mod.ts'
import { readFailoverJob, type FailoverDetail, type FailoverJob } from './job.ts'
import { failoverMachine, type FailoverEvent, type FailoverState, type StateSpec } from './machine.ts'
import { effect, type Leading } from './parts.ts'
import { begin } from './begin.ts'
import { next } from './shard-change.ts'
import { awaitHold, electSuccessor, fenceOld, promote, type StepContext, type StepOutcome } from './steps.ts'

/** Pauses between two attempts at a step. */
const retryMsMin = 20
const retryMsMax = 1_000

type Step = (context: StepContext) => Promise<StepOutcome>

/** What is done in each state of a job; null where it has ended. */
const steps: Readonly<Record<Exclude<FailoverState, 'suspect'>, Step | null>> = {
  requested: begin,
  declared: awaitHold,
  fencing: fenceOld,
  electing: electSuccessor,
  promoting: promote,
  map_updated: checkSuccessor,
  verifying: verifyWrite,
  degraded: reachFormer,
  rejoining: rejoinFormer,
  catching_up: awaitFormer,
  retreating: retreat,
  healthy: null,
  failed: null,
  superseded: null,
}

/**
 * Runs until the job has ended. @throws the signal's reason; other errors are met by trying again
 */
export async function runFailover(leading: Leading, id: JobId): Promise<FailoverState> {
  const { clock } = leading.parts
  let state: FailoverState | null = null
  let [failures, sinceMs] = [0, 0]
  for (;;) {
    const job = await reread(leading, id)
    if (job.state !== state) {
      // Time without a leader is nobody's: a successor that finds the deadline passed has not tried anything yet.
      ;[state, failures, sinceMs] = [job.state, 0, clock.monotonic()]
    }
    const step = job.state === 'suspect' ? null : steps[job.state]
    if (step === null) return job.state
    const outcome = await attempt(leading, job, step)
    if (outcome.kind === 'event') {
      await write(leading, job, { event: outcome.event, change: outcome.change ?? {} })
    }
    if (outcome.kind !== 'wait') continue
    await giveTime(leading, job, { outcome, failures, spentMs: clock.monotonic() - sinceMs })
    failures += 1
  }
}

async function attempt(leading: Leading, job: FailoverJob, step: Step): Promise<StepOutcome> {
  try {
    return await step({ leading, job, shard: shardOf(leading, job) })
  } catch (error) {
    leading.signal.throwIfAborted()
    if (isFleetError(error, 'catalog_conflict') || isFleetError(error, 'version_mismatch')) {
      return { kind: 'wait', reason: 'the catalog changed meanwhile' }
    }
    const { message, code } = toFleetError(error)
    const { log } = leading.parts
    log.warn({ err: error, code, job: job.stored.record.id, state: job.state }, 'a step of a failover failed')
    return { kind: 'wait', reason: message }
  }
}

/** Writes down why it waits, then waits; or does what the deadline of the state says. */
async function giveTime(
  leading: Leading,
  job: FailoverJob,
  {
    outcome,
    failures,
    spentMs,
  }: {
    readonly outcome: Extract<StepOutcome, { kind: 'wait' }>
    readonly failures: number
    /** Since this leader began with the state. */
    readonly spentMs: number
  },
): Promise<void> {
  const { parts, signal } = leading
  const change = { ...outcome.change, waitsFor: outcome.reason }
  const { deadline }: StateSpec = failoverMachine[job.state]
  if (deadline !== null && spentMs >= deadline.ms) {
    await write(leading, job, { event: deadline.event, change })
    return
  }
  if (outcome.reason !== job.detail.waitsFor) await note(leading, job, change)
  await parts.clock.sleep(Math.min(retryMsMin * 2 ** Math.min(failures, 10), retryMsMax), signal)
}

async function write(
  leading: Leading,
  job: FailoverJob,
  { event, change }: { readonly event: FailoverEvent; readonly change: Partial<FailoverDetail> },
): Promise<void> {
  const { parts, leadership, signal } = leading
  const { conditions, writes } = next(leading, job, event, change)
  await effect(leading, `persist ${event}`, async () => {
    try {
      // A conflict is another leader's write, or an order of the operator: what is there now decides.
      await parts.catalog.store.commit([leadership.condition, ...conditions], writes, signal)
    } catch (error) {
      signal.throwIfAborted()
      parts.log.warn(
        { err: error, job: job.stored.record.id },
        'a step of a failover could not be written down',
      )
      await parts.clock.sleep(retryMsMin, signal)
    }
  })
  const { id } = job.stored.record
  const { shard } = job.detail
  parts.log.info({ event: EVENTS.failover_state, job: id, shard, state: job.state, step: event }, 'failover')
}

async function note(leading: Leading, job: FailoverJob, change: Partial<FailoverDetail>): Promise<void> {
  const { parts, leadership, signal } = leading
  const detail = { ...job.detail, ...change }
  const { conditions, writes } = parts.catalog.jobs.updateParts(job.stored, { ...job.stored.record, detail })
  await parts.catalog.store
    .commit([leadership.condition, ...conditions], writes, signal)
    .catch(() => undefined)
}

async function reread(leading: Leading, id: JobId): Promise<FailoverJob> {
  const { parts, signal } = leading
  for (let failures = 0; ; failures += 1) {
    try {
      const stored = await parts.catalog.jobs.get(id, signal)
      if (stored !== null) return readFailoverJob(stored)
      throw new FleetError('not_found', `there is no job ${id} any more`)
    } catch (error) {
      signal.throwIfAborted()
      if (!isFleetError(error, 'catalog_unavailable')) throw error
      await parts.clock.sleep(Math.min(retryMsMin * 2 ** Math.min(failures, 10), retryMsMax), signal)
    }
  }
}

/** By the live copy: nodes and their places change seldom, and what is written is conditioned anyway. */
function shardOf({ parts }: Leading, { detail, stored }: FailoverJob): ShardRecord {
  const shards = parts.view.current().keyspaces.get(stored.record.keyspace)?.shards ?? []
  const shard = shards.find(({ id }) => id === detail.shard)
  if (shard !== undefined) return shard
  throw new FleetError('not_found', `there is no shard ${detail.shard} any more`)
}
