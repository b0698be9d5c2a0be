// /api/v1/audit
import { AuditList, AuditQuery, AuditVerification, type AuditRecord } from '@fleetshard/core/contract'
import type { AuditRecord as StoredRecord } from '../../../audit/mod.ts'
import { ok, route, type Route } from '../../../runtime/http/mod.ts'
import type { Api } from './context.ts'

const tag = 'access'
const url = '/api/v1/audit'
const limitDefault = 100

/** Endpoints of the audit log. */
export const auditRoutes = (api: Api): readonly Route[] => [list(api), verify(api)]

function recordView({ traceId, who, ...record }: StoredRecord): AuditRecord {
  return { ...record, who: { ...who }, trace_id: traceId }
}

const list = ({ audit }: Api): Route =>
  route({
    method: 'GET',
    url,
    tag,
    kind: 'read',
    permission: 'administer',
    summary: 'What was done, tried and refused, the newest first',
    query: AuditQuery,
    answers: { 200: AuditList },
    handle: async ({ query: { before, limit } }) => {
      const records = await audit.list({ before, limit: limit ?? limitDefault })
      return ok({ records: records.map(recordView) })
    },
  })

const verify = ({ audit }: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/verification`,
    tag,
    kind: 'read',
    permission: 'administer',
    summary: 'Whether every record is as it was written; names the first that is not',
    answers: { 200: AuditVerification },
    handle: async () => ok(await audit.verify()),
  })
