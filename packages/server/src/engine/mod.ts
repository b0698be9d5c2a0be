// Face of the shard engines: the port, its facts, and the table of engines.
export * from './schema-facts.ts'
export * from './shard-engine.ts'
export * from './engines.ts'
export * from './reshard-engine.ts'
export * from './reshard-job.ts'
export * from './schema-job.ts'
export { shapeDifference } from './table-shape.ts'
export { statementsByTable } from './postgres/ddl/parse-schema.ts'
