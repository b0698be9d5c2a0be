// The agent: supervisor of the Postgres servers on one host.
export * from './model.ts'
export { Agent } from './agent.ts'
export { openAgent } from './open-agent.ts'
export { resolveBinaries } from './binaries.ts'
export { defaultCacheDirs } from './embedded-package.ts'
export { resolveServerUser } from './os-user.ts'
export { agentRoutes, startAgentHttp } from './http.ts'
export { identifyProcess, postgresProcessesOf } from './proc.ts'
