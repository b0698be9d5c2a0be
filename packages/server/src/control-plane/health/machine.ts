// The machine of a failover or switchover as data: SPEC.md in a form that is executed and tested.
import { FleetError, type JobStatus } from '@fleetshard/core'

/** Where a shard's leadership stands. `healthy` and `suspect` need no job; from `declared` on one carries it. */
export type FailoverState =
  | 'healthy'
  | 'suspect'
  | 'requested'
  | 'declared'
  | 'fencing'
  | 'electing'
  | 'promoting'
  | 'map_updated'
  | 'verifying'
  | 'degraded'
  | 'rejoining'
  | 'catching_up'
  | 'retreating'
  | 'failed'
  | 'superseded'

/** What takes it from one state to another. */
export type FailoverEvent =
  /** A probe of the primary was not answered. */
  | 'missed'
  /** The primary answers again. */
  | 'answered'
  /** Missed three times, and its agent or its replicas see it gone, too: part of the commit that raises the term. */
  | 'declare'
  /** Nothing may be done without an operator; the reason is written down. */
  | 'refuse'
  /** Routers hold, or had their time to. */
  | 'held'
  /** The old primary can acknowledge nothing any more. */
  | 'fenced'
  /** The candidate is chosen and written down. */
  | 'elected'
  /** The candidate died before the map named it. */
  | 'candidate_lost'
  /** The new primary is in the map: part of the commit that puts it there. */
  | 'mapped'
  | 'checked'
  | 'verified'
  /** The agent of the former primary answers. */
  | 'reached'
  | 'rejoined'
  /** Part of the commit that makes the former primary a replica in the map. */
  | 'caught_up'
  /** Before anything was promoted: the old primary leads on. */
  | 'retreat'
  /** The hold is taken off. */
  | 'released'
  /** Another failover of the shard has begun. */
  | 'supersede'

/** One state: how its job looks from outside, where each event leads, and what ends it when nothing else does. */
export interface StateSpec {
  /** Null where there is no job. */
  readonly status: JobStatus | null
  readonly progress: number
  readonly next: Readonly<Partial<Record<FailoverEvent, FailoverState>>>
  /** After so long without an event the other one happens; null where it is tried for as long as it takes. */
  readonly deadline: { readonly ms: number; readonly event: FailoverEvent } | null
  /** What an operator does when it does not move on by itself; null where it has ended. */
  readonly wayOut: string | null
}

/** SPEC.md, "States". */
export const failoverMachine = {
  healthy: {
    status: 'completed',
    progress: 1,
    next: { missed: 'suspect' },
    deadline: null,
    wayOut: null,
  },
  suspect: {
    status: null,
    progress: 0,
    next: { answered: 'healthy', declare: 'declared', refuse: 'failed' },
    deadline: null,
    wayOut: 'fleetshard shard promote SHARD --force',
  },
  requested: {
    status: 'pending',
    progress: 0,
    next: { declare: 'declared', refuse: 'failed' },
    deadline: { ms: 30_000, event: 'refuse' },
    wayOut: 'start a manager: fleetshard manager',
  },
  declared: {
    status: 'running',
    progress: 0.1,
    next: { held: 'fencing', retreat: 'retreating' },
    deadline: { ms: 5_000, event: 'retreat' },
    wayOut: 'fleetshard failover explain SHARD',
  },
  fencing: {
    status: 'running',
    progress: 0.2,
    next: { fenced: 'electing', retreat: 'retreating' },
    deadline: { ms: 15_000, event: 'retreat' },
    wayOut: 'bring the agent of the old primary back, or fleetshard shard promote SHARD --force',
  },
  electing: {
    status: 'running',
    progress: 0.4,
    next: { elected: 'promoting', retreat: 'retreating' },
    deadline: { ms: 15_000, event: 'retreat' },
    wayOut: 'bring a replica back, or fleetshard shard promote SHARD --force',
  },
  promoting: {
    status: 'running',
    progress: 0.5,
    next: { mapped: 'map_updated', candidate_lost: 'electing' },
    deadline: { ms: 20_000, event: 'candidate_lost' },
    wayOut: 'bring the agent of the candidate back',
  },
  map_updated: {
    status: 'running',
    progress: 0.7,
    next: { checked: 'verifying', supersede: 'superseded' },
    deadline: { ms: 10_000, event: 'checked' },
    wayOut: 'fleetshard failover explain SHARD',
  },
  verifying: {
    status: 'running',
    progress: 0.8,
    next: { verified: 'degraded', supersede: 'superseded' },
    deadline: { ms: 10_000, event: 'verified' },
    wayOut: 'bring a replica back: writes wait for the quorum',
  },
  degraded: {
    status: 'running',
    progress: 0.85,
    next: { reached: 'rejoining', supersede: 'superseded' },
    deadline: null,
    wayOut:
      'bring the host of the former primary back, or take the node out: fleetshard shard update SHARD --replica …',
  },
  rejoining: {
    status: 'running',
    progress: 0.9,
    next: { rejoined: 'catching_up', supersede: 'superseded' },
    deadline: null,
    wayOut:
      'bring the host of the former primary back, or take the node out: fleetshard shard update SHARD --replica …',
  },
  catching_up: {
    status: 'running',
    progress: 0.95,
    next: { caught_up: 'healthy', supersede: 'superseded' },
    deadline: null,
    wayOut: 'lessen the load, or take the node out: fleetshard shard update SHARD --replica …',
  },
  retreating: {
    status: 'running',
    progress: 0.9,
    next: { released: 'failed' },
    deadline: null,
    wayOut: 'bring the catalog back',
  },
  failed: { status: 'failed', progress: 1, next: {}, deadline: null, wayOut: null },
  superseded: { status: 'completed', progress: 1, next: {}, deadline: null, wayOut: null },
} as const satisfies Record<FailoverState, StateSpec>

/** @throws FleetError `internal` when the state knows no such event: a defect */
export function nextState(from: FailoverState, event: FailoverEvent): FailoverState {
  const spec: StateSpec = failoverMachine[from]
  const to = spec.next[event]
  if (to !== undefined) return to
  throw new FleetError('internal', `a failover in ${from} knows no event ${event}`)
}

/** The state of a record. @throws FleetError `corrupt_record` */
export function parseFailoverState(state: string): FailoverState {
  if (Object.hasOwn(failoverMachine, state)) return state as FailoverState
  throw new FleetError('corrupt_record', `a failover job is in the unknown state ${JSON.stringify(state)}`)
}

/** States of a job in which the shard has no settled primary: nobody else begins anything with it. */
export const unsettledStates: ReadonlySet<FailoverState> = new Set([
  'declared',
  'fencing',
  'electing',
  'promoting',
  'retreating',
])
