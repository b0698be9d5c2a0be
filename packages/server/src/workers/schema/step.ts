// What the steps of a schema job share.
import type { ShardEngine } from '../../engine/mod.ts'
import type { JobRun, WorkerParts } from '../worker.ts'

/** Called before and after each effect, in tests that end the worker there. */
export type Checkpoint = (name: string) => void | Promise<void>

/** What every step of one job acts with. */
export interface SchemaStep {
  readonly parts: WorkerParts
  readonly run: JobRun
  readonly engine: ShardEngine
  /** Runs an effect between two checkpoints. */
  readonly effect: <T>(name: string, work: () => Promise<T>) => Promise<T>
}
