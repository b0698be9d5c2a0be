// Face of audit: who did what, kept so that changes to it show.
export type { AuditRecord } from './chain.ts'
export { auditUnavailable, type AuditEntry } from './entry.ts'
export { createAuditLog, type AuditLog } from './log.ts'
