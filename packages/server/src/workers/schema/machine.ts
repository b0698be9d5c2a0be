// The machine of a schema job as data: SPEC.md in a form that is executed and tested.
import { FleetError, type JobStatus } from '@fleetshard/core'

/** Where a schema job stands; the `state` of its record. */
export type SchemaState =
  | 'planned'
  | 'applying'
  | 'preparing'
  | 'committing'
  | 'recording'
  | 'rolling_back'
  | 'completed'
  | 'failed'

/** What takes it from one state to another. */
export type SchemaEvent =
  /** The keyspace has one shard. */
  | 'begin_one'
  /** It has several, and all can do two-phase commit. */
  | 'begin_several'
  /** The script, a declaration or the only shard refuses; nothing was changed. */
  | 'refuse'
  /** The only shard has committed. */
  | 'applied'
  /** Every shard has prepared. Taking this step is the decision. */
  | 'prepared'
  /** A shard could not prepare. */
  | 'abort'
  | 'committed'
  | 'recorded'
  | 'rolled_back'
  /** A shard can't be reached to roll back; the sweep will. */
  | 'give_up'

/** One state: how it looks from outside, and where each event leads. */
export interface StateSpec {
  readonly status: JobStatus
  /** 0 to 1, on entering. */
  readonly progress: number
  readonly next: Readonly<Partial<Record<SchemaEvent, SchemaState>>>
  /** What an operator does when it does not move on by itself; null where it always does, or has ended. */
  readonly wayOut: string | null
}

export const schemaMachine = {
  planned: {
    status: 'pending',
    progress: 0,
    next: { begin_one: 'applying', begin_several: 'preparing', refuse: 'failed' },
    wayOut: 'an older schema job of the keyspace has to end first: fleetshard job list',
  },
  applying: {
    status: 'running',
    progress: 0.1,
    next: { applied: 'recording', refuse: 'failed' },
    wayOut: 'bring the shard back',
  },
  preparing: {
    status: 'running',
    progress: 0.1,
    next: { prepared: 'committing', abort: 'rolling_back' },
    wayOut: null,
  },
  committing: {
    status: 'running',
    progress: 0.6,
    next: { committed: 'recording' },
    wayOut: 'bring the shard back, fail it over, or delete it',
  },
  recording: {
    status: 'running',
    progress: 0.9,
    next: { recorded: 'completed' },
    wayOut: 'bring the new shard back, or delete it',
  },
  rolling_back: {
    status: 'running',
    progress: 0.6,
    next: { rolled_back: 'failed', give_up: 'failed' },
    wayOut: null,
  },
  completed: { status: 'completed', progress: 1, next: {}, wayOut: null },
  failed: { status: 'failed', progress: 1, next: {}, wayOut: null },
} as const satisfies Record<SchemaState, StateSpec>

/** @throws FleetError `corrupt_record` */
export function parseSchemaState(text: string): SchemaState {
  if (Object.hasOwn(schemaMachine, text)) return text as SchemaState
  throw new FleetError('corrupt_record', `${JSON.stringify(text.slice(0, 40))} is no state of a schema job`)
}

/** Where the event leads. @throws FleetError `conflict` for an event that the state does not know */
export function nextState(state: SchemaState, event: SchemaEvent): SchemaState {
  const spec: StateSpec = schemaMachine[state]
  const next = spec.next[event]
  if (next !== undefined) return next
  throw new FleetError('conflict', `a schema job in state ${state} does not know ${event}`)
}

/** True for states that are not left. */
export function hasEnded(state: SchemaState): boolean {
  return state === 'completed' || state === 'failed'
}

/** Once decided, prepared transactions of the job are committed; never rolled back. */
export function isDecidedToCommit(state: SchemaState): boolean {
  return state === 'committing' || state === 'recording' || state === 'completed'
}
