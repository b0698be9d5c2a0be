// What a worker is: a job type and the function that carries a job of it on. Workers meet the rest in the catalog
// only; everything they need from outside comes in one object, put together in roles/.
import type { Clock, JobRecord, NodeRecord } from '@fleetshard/core'
import type { Catalog, JobClaim, Stored } from '../catalog/mod.ts'
import type { EngineName, NodeTarget, ShardEngine } from '../engine/mod.ts'
import type { Logger, TraceSpan } from '../runtime/mod.ts'

/** What workers act with. */
export interface WorkerParts {
  readonly log: Logger
  readonly clock: Clock
  /** Of this turn at a job; null where there are no traces. */
  readonly span?: TraceSpan | null
  readonly catalog: Catalog
  readonly engineOf: (name: EngineName) => ShardEngine
  /** A node with its password. @throws FleetError `secret_unavailable` */
  readonly targetOf: (node: NodeRecord, signal: AbortSignal) => Promise<NodeTarget>
}

/** One claimed job. */
export interface JobRun {
  /** As read after it was claimed. */
  readonly job: Stored<JobRecord>
  readonly claim: JobClaim
  /** Aborts when the claim is lost or the process stops; the job is then left as it is. */
  readonly signal: AbortSignal
}

/** `waiting`: something outside has to change first; the job is let go and taken up again after a while. */
export type JobProgress = { readonly kind: 'ended' } | { readonly kind: 'waiting'; readonly reason: string }

/** A worker: one line in the table of roles/worker.ts. */
export interface WorkerDefinition {
  /** The `type` of its jobs. */
  readonly name: string
  /**
   * Carries the job on from wherever it stands until it has ended or has to wait. Every write to the catalog carries
   * the claim's condition. An error lets the job go; it is taken up again later, here or elsewhere.
   */
  readonly run: (parts: WorkerParts, run: JobRun) => Promise<JobProgress>
  /** Now and then, without a job: clears away what crashes may have left. */
  readonly sweep?: (parts: WorkerParts, signal: AbortSignal) => Promise<void>
}

/** Names the type; returns its argument. */
export function defineWorker(definition: WorkerDefinition): WorkerDefinition {
  return definition
}
