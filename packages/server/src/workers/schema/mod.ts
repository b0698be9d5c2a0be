// Face of the schema worker.
export { createSchemaWorker } from './worker.ts'
