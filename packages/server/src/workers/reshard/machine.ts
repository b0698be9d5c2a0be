// The machine of a reshard job as data: SPEC.md in a form that is executed and tested.
import { FleetError, type JobStatus } from '@fleetshard/core'

/** Where a reshard job stands; the `state` of its record. */
export type ReshardState =
  | 'planned'
  | 'preflight'
  | 'copying'
  | 'catching_up'
  | 'verifying'
  | 'ready'
  | 'restarting'
  | 'cutover'
  | 'reversible'
  | 'reversing'
  | 'cutover_back'
  | 'removing'
  | 'cleaning'
  | 'paused'
  | 'undoing'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'rolled_back'

/** What takes it from one state to another. */
export type ReshardEvent =
  /** A worker has taken it. */
  | 'begin'
  /** Nothing stands against it; names and definitions are written down. */
  | 'checked'
  /** Every target has every unit. */
  | 'copied'
  /** The lag is small and the secondary indexes stand again. */
  | 'caught_up'
  | 'verified'
  /** A unit has to be copied anew. */
  | 'recopy'
  /** Another node of one of the shards has become primary: slots and copies do not outlive that. */
  | 'restart'
  /** Nothing is left of what was copied. */
  | 'restarted'
  /** The hold is in the map: part of the commit that puts it there. */
  | 'hold'
  /** The ranges are the targets': part of the commit that gives them. */
  | 'flipped'
  /** The same of a job with a reversible phase. */
  | 'flipped_reversible'
  /** The hold is taken off without a flip: part of the commit that does so. */
  | 'released'
  /** The operator wants the rows back on the sources. */
  | 'reverse'
  /** The reversible phase ends: by its time, by the operator, or because what it needs is lost. */
  | 'complete'
  /** The hold of a cutover back is in the map: part of the commit that puts it there. */
  | 'hold_back'
  /** The ranges are the sources' again: part of the commit that gives them back. */
  | 'flipped_back'
  /** The hold of a cutover back is taken off without a flip: part of the commit that does so. */
  | 'released_back'
  /** The targets are empty again. */
  | 'removed'
  | 'cleaned'
  /** Another attempt would meet the same again. */
  | 'fail'
  | 'cancel'
  | 'pause'
  | 'resume'
  | 'undone_failed'
  | 'undone_cancelled'

/** One state: how it looks from outside, and where each event leads. */
export interface StateSpec {
  readonly status: JobStatus
  /** 0 to 1, on entering; copying counts on from here by rows. */
  readonly progress: number
  readonly next: Readonly<Partial<Record<ReshardEvent, ReshardState>>>
  /** What an operator does when it does not move on by itself; null where it has ended. */
  readonly wayOut: string | null
}

const stoppable = { restart: 'restarting', fail: 'undoing', cancel: 'undoing', pause: 'paused' } as const

/** SPEC.md, "States". */
export const reshardMachine = {
  planned: {
    status: 'pending',
    progress: 0,
    next: { begin: 'preflight', cancel: 'cancelled' },
    wayOut: 'start a worker: fleetshard worker',
  },
  preflight: {
    status: 'running',
    progress: 0,
    next: { checked: 'copying', restart: 'restarting', fail: 'undoing', cancel: 'undoing' },
    wayOut: 'bring the server back, or cancel the job',
  },
  copying: {
    status: 'running',
    progress: 0.02,
    next: { copied: 'catching_up', ...stoppable },
    wayOut: 'bring the server back, end the transaction that the log names, or cancel the job',
  },
  catching_up: {
    status: 'running',
    progress: 0.8,
    next: { caught_up: 'verifying', recopy: 'copying', ...stoppable },
    wayOut: 'bring the server back, or cancel the job',
  },
  verifying: {
    status: 'running',
    progress: 0.85,
    next: { verified: 'ready', recopy: 'copying', ...stoppable },
    wayOut: 'bring the server back, or cancel the job',
  },
  ready: {
    status: 'running',
    progress: 0.95,
    next: { hold: 'cutover', recopy: 'copying', ...stoppable },
    wayOut: 'end the transaction that the log names, or cancel the job',
  },
  restarting: {
    status: 'running',
    progress: 0,
    next: { restarted: 'preflight', fail: 'undoing', cancel: 'undoing' },
    wayOut: 'bring the server back, or cancel the job',
  },
  cutover: {
    status: 'running',
    progress: 0.97,
    next: { flipped: 'cleaning', flipped_reversible: 'reversible', released: 'catching_up' },
    wayOut: 'bring the catalog back',
  },
  reversible: {
    status: 'running',
    progress: 0.98,
    next: { reverse: 'reversing', complete: 'cleaning' },
    wayOut: 'wait until its time is over, or: fleetshard reshard reverse | complete',
  },
  reversing: {
    status: 'running',
    progress: 0.98,
    next: { hold_back: 'cutover_back', complete: 'cleaning' },
    wayOut: 'bring the server back, end the transaction that the log names, or: fleetshard reshard complete',
  },
  cutover_back: {
    status: 'running',
    progress: 0.98,
    next: { flipped_back: 'removing', released_back: 'reversing' },
    wayOut: 'bring the catalog back',
  },
  removing: {
    status: 'running',
    progress: 0.99,
    next: { removed: 'rolled_back' },
    wayOut: 'bring the server back, or delete the target: it owns nothing any more',
  },
  cleaning: {
    status: 'running',
    progress: 0.99,
    next: { cleaned: 'completed' },
    wayOut: 'bring the source back, or delete it: it owns nothing any more',
  },
  paused: {
    status: 'running',
    progress: 0.02,
    next: { resume: 'copying', cancel: 'undoing' },
    wayOut: 'resume or cancel the job',
  },
  undoing: {
    status: 'running',
    progress: 0.99,
    next: { undone_failed: 'failed', undone_cancelled: 'cancelled' },
    wayOut: 'bring the server back, or delete the target',
  },
  completed: { status: 'completed', progress: 1, next: {}, wayOut: null },
  failed: { status: 'failed', progress: 1, next: {}, wayOut: null },
  cancelled: { status: 'cancelled', progress: 1, next: {}, wayOut: null },
  rolled_back: { status: 'cancelled', progress: 1, next: {}, wayOut: null },
} as const satisfies Record<ReshardState, StateSpec>

/** @throws FleetError `corrupt_record` */
export function parseReshardState(text: string): ReshardState {
  if (Object.hasOwn(reshardMachine, text)) return text as ReshardState
  throw new FleetError('corrupt_record', `${JSON.stringify(text.slice(0, 40))} is no state of a reshard job`)
}

/** Where the event leads. @throws FleetError `conflict` for an event that the state does not know */
export function nextState(state: ReshardState, event: ReshardEvent): ReshardState {
  const spec: StateSpec = reshardMachine[state]
  const next = spec.next[event]
  if (next !== undefined) return next
  throw new FleetError('conflict', `a reshard job in state ${state} does not know ${event}`)
}

/** True for states that are not left. */
export function hasEnded(state: ReshardState): boolean {
  const { wayOut }: StateSpec = reshardMachine[state]
  return wayOut === null
}

/** States in which rows are on their way to the targets. */
export const forwardStates: ReadonlySet<ReshardState> = new Set([
  'copying',
  'catching_up',
  'verifying',
  'ready',
  'cutover',
])

/** States of which another primary of one of the shards makes the copy begin anew. */
export const restartedStates: ReadonlySet<ReshardState> = new Set([
  'preflight',
  'copying',
  'catching_up',
  'verifying',
  'ready',
])

/** States in which what is written on the targets goes back to the sources. */
export const backStates: ReadonlySet<ReshardState> = new Set(['reversible', 'reversing', 'cutover_back'])
