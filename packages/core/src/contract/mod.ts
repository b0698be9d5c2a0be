// The HTTP contract as JSON Schema (typebox): one source for validation, types and OpenAPI. snake_case, closed
// objects. Clients import types from here only; the schemas need typebox at run time.
export * from './problem.ts'
export * from './parse.ts'
export * from './keyspaces.ts'
export * from './shards.ts'
export * from './tables.ts'
export * from './nodes.ts'
export * from './jobs.ts'
export * from './topology.ts'
export * from './health.ts'
export * from './router.ts'
export * from './views.ts'
export * from './topology-events.ts'
