// HTTP for every role: a server by fastify, endpoints as data, problem+json errors, event streams, trace ids.
export * from './app.ts'
export * from './errors.ts'
export * from './gate.ts'
export * from './route.ts'
export { traceparentOf } from './spans.ts'
export * from './sse.ts'
export * from './streams.ts'
export * from './trace.ts'
