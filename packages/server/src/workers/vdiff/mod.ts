// Face of the vdiff worker.
export { createVdiffWorker } from './worker.ts'
