// The record of a failover: the detail of its job, and how it goes from one state to the next. Written before every
// effect, so that another manager goes on where one died.
import {
  FleetError,
  parseJobId,
  type JobRecord,
  type KeyspaceName,
  type NodeId,
  type ShardId,
} from '@fleetshard/core'
import Type, { type Static } from 'typebox'
import { Compile } from 'typebox/compile'
import type { Stored } from '../../catalog/mod.ts'
import {
  failoverMachine,
  nextState,
  parseFailoverState,
  type FailoverEvent,
  type FailoverState,
  type StateSpec,
} from './machine.ts'

/** `type` of the job's record. */
export const failoverJobType = 'failover'
/** Steps kept in a record; a job that is retried for ever must not grow for ever. */
const stepsMax = 60

const nodeId = Type.Unsafe<NodeId>(Type.String({ minLength: 1, maxLength: 63 }))
const textOrNull = Type.Union([Type.String(), Type.Null()])
const numberOrNull = Type.Union([Type.Number(), Type.Null()])

const candidate = Type.Object({
  node: nodeId,
  /** What was read of it; null when nothing could be. */
  timeline: numberOrNull,
  position: textOrNull,
  /** True when it receives nothing from the old primary any more, as its agent says. */
  revoked: Type.Boolean(),
  eligible: Type.Boolean(),
  /** Why it was chosen, or was not. */
  verdict: Type.String(),
})

const proof = Type.Object({
  kind: Type.Unsafe<'death' | 'quorum' | 'forced'>(Type.Enum(['death', 'quorum', 'forced'])),
  text: Type.String(),
})

const detail = Type.Object({
  /** `rebuild`: nobody else leads; `from` is a replica that is made one of `to` again. */
  kind: Type.Unsafe<'failover' | 'switchover' | 'rebuild'>(Type.Enum(['failover', 'switchover', 'rebuild'])),
  shard: Type.Unsafe<ShardId>(Type.String({ minLength: 1, maxLength: 63 })),
  /** The term that it leads to; null until it is declared. */
  term: numberOrNull,
  /** Epoch of the map that has the hold. */
  epoch: numberOrNull,
  from: nodeId,
  /** The candidate, once it is chosen. */
  to: Type.Union([nodeId, Type.Null()]),
  /** What the operator asked for. */
  wanted: Type.Union([nodeId, Type.Null()]),
  /** Without proof that the old primary is dead. */
  force: Type.Boolean(),
  /** With a candidate that is known to lack what was acknowledged. */
  allowDataLoss: Type.Boolean(),
  reason: Type.String(),
  by: Type.Unsafe<'health' | 'operator'>(Type.Enum(['health', 'operator'])),
  /** What was seen of the primary when it was declared. */
  seen: Type.Array(Type.String(), { maxItems: 20 }),
  /** Last position that the old primary is known to have written. */
  lastPosition: textOrNull,
  /** Where its shutdown checkpoint begins; null when it was not shut down in order. */
  shutdownPosition: textOrNull,
  proof: Type.Union([proof, Type.Null()]),
  candidates: Type.Array(candidate, { maxItems: 32 }),
  /** Acknowledged writes that may be lost, in bytes of log, as far as is known; null while nothing is promoted. */
  lossBytesMax: numberOrNull,
  timeline: numberOrNull,
  /** True: the quorum has confirmed a write of the new primary. */
  verified: Type.Union([Type.Boolean(), Type.Null()]),
  rejoinedBy: textOrNull,
  waitsFor: textOrNull,
  enteredAt: Type.String(),
  /** Each state that was left, with how long it took. */
  steps: Type.Array(Type.Object({ state: Type.String(), at: Type.String(), ms: Type.Number() }), {
    maxItems: stepsMax,
  }),
})

/** Input and working state of a failover job. */
export type FailoverDetail = Static<typeof detail>
/** What was found of one candidate. */
export type CandidateVerdict = Static<typeof candidate>

/** A job whose record was read. */
export interface FailoverJob {
  readonly stored: Stored<JobRecord>
  readonly state: FailoverState
  readonly detail: FailoverDetail
}

const checker = Compile(detail)

/** @throws FleetError `corrupt_record` */
export function parseFailoverDetail(value: unknown): FailoverDetail {
  if (checker.Check(value)) return value
  throw new FleetError(
    'corrupt_record',
    'the detail of a failover job does not have the form of this version',
  )
}

/** @throws FleetError `corrupt_record` */
export function readFailoverJob(stored: Stored<JobRecord>): FailoverJob {
  const { state, detail: found } = stored.record
  return { stored, state: parseFailoverState(state), detail: parseFailoverDetail(found) }
}

/** What a new job is made from. */
export interface NewFailover extends Pick<FailoverDetail, 'kind' | 'shard' | 'from' | 'reason' | 'by'> {
  readonly keyspace: KeyspaceName
  readonly id: string
  /** ISO 8601. */
  readonly now: string
  readonly state: FailoverState
  readonly detail?: Partial<FailoverDetail>
}

/** The record of a job that begins in that state. */
export function newFailoverJob(made: NewFailover): JobRecord {
  const { kind, shard, from, reason, by, now, state, keyspace } = made
  const spec: StateSpec = failoverMachine[state]
  const fresh: FailoverDetail = {
    kind,
    shard,
    from,
    reason,
    by,
    term: null,
    epoch: null,
    to: null,
    wanted: null,
    force: false,
    allowDataLoss: false,
    seen: [],
    lastPosition: null,
    shutdownPosition: null,
    proof: null,
    candidates: [],
    lossBytesMax: null,
    timeline: null,
    verified: null,
    rejoinedBy: null,
    waitsFor: null,
    enteredAt: now,
    steps: [],
    ...made.detail,
  }
  const isOver = spec.status === 'failed'
  return {
    id: parseJobId(made.id),
    type: failoverJobType,
    keyspace,
    status: spec.status ?? 'pending',
    state,
    progress: spec.progress,
    detail: fresh,
    errorCode: isOver ? 'failover_refused' : null,
    errorMessage: isOver ? fresh.waitsFor : null,
    version: 1,
    createdAt: now,
    startedAt: spec.status === 'pending' ? null : now,
    completedAt: isOver ? now : null,
  }
}

/** The record after the event; its version is counted up by the commit. */
export function moved(
  job: FailoverJob,
  event: FailoverEvent,
  { now, change = {} }: { readonly now: string; readonly change?: Partial<FailoverDetail> },
): JobRecord {
  const { record } = job.stored
  const to = nextState(job.state, event)
  const spec: StateSpec = failoverMachine[to]
  const ms = Math.max(0, Date.parse(now) - Date.parse(job.detail.enteredAt))
  const steps = [...job.detail.steps, { state: job.state, at: job.detail.enteredAt, ms }].slice(-stepsMax)
  const next: FailoverDetail = { ...job.detail, waitsFor: null, ...change, steps, enteredAt: now }
  const status = spec.status ?? 'running'
  const isOver = status === 'completed' || status === 'failed'
  return {
    ...record,
    status,
    state: to,
    progress: spec.progress,
    detail: next,
    errorCode: to === 'failed' ? 'failover_refused' : null,
    errorMessage: to === 'failed' ? next.waitsFor : null,
    startedAt: record.startedAt ?? now,
    completedAt: isOver ? now : null,
  }
}
