// Face of what all workers share; each worker is a folder with a face of its own.
export * from './worker.ts'
export * from './runner.ts'
