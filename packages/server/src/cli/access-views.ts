// How tokens and records of the audit log look in a table and one by one.
import type { AuditRecord, Token } from '@fleetshard/core/contract'
import type { View } from './output/mod.ts'

/** A token. */
export const tokenView: View<Token> = {
  name: (token) => token.id,
  columns: [
    { header: 'ID', cell: (token) => token.id, whole: true },
    { header: 'NAME', cell: (token) => token.name },
    { header: 'SCOPES', cell: (token) => token.scopes.join(' ') },
    { header: 'EXPIRES', cell: (token) => token.expires_at ?? 'never' },
    { header: 'CREATED BY', cell: (token) => token.created_by, wide: true },
    { header: 'CREATED', cell: (token) => token.created_at, wide: true },
  ],
}

/** One record of the audit log. */
export const auditView: View<AuditRecord> = {
  name: (record) => String(record.seq),
  columns: [
    { header: 'SEQ', cell: (record) => record.seq, align: 'right' },
    { header: 'TIME', cell: (record) => record.at, whole: true },
    { header: 'WHO', cell: (record) => `${record.who.kind}:${record.who.subject}` },
    { header: 'FROM', cell: (record) => record.from },
    { header: 'WHAT', cell: (record) => record.what },
    { header: 'TARGET', cell: (record) => record.target },
    {
      header: 'OUTCOME',
      cell: (record) => record.outcome ?? 'begun',
      paint: ({ outcome }, style) =>
        outcome === 'ok' ? style.green : outcome === null ? style.yellow : style.red,
    },
    { header: 'REASON', cell: (record) => record.reason ?? '' },
    { header: 'TRACE', cell: (record) => record.trace_id, wide: true },
    { header: 'HASH', cell: (record) => record.hash, wide: true },
  ],
}
