// The manager's typed client (`@fleetshard/client/admin`).
export { createAdminClient } from './client.ts'
export type { AdminClient, JobCalls, KeyspaceCalls, NodeCalls, ShardCalls, TableCalls } from './client.ts'
export type { AdminOptions, CallOptions, ChangeOptions } from './transport.ts'
