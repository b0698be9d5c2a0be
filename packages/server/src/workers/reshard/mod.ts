// Face of the reshard worker.
export { createReshardWorker } from './worker.ts'
