// Face of the reshard worker.
export { createReshardWorker } from './worker.ts'
export type { Place } from './move-plan.ts'
export { SourceMover } from './source-mover.ts'
export { streamedUnits } from './units.ts'
