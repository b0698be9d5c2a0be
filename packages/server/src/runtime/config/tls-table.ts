// The settings of TLS between processes; a part of the table in table.ts. That of the Postgres port is in wire-table.ts.
import type { Setting } from './types.ts'

const roles = ['up', 'router', 'manager', 'worker', 'agent'] as const
const everybody = [...roles, 'cli'] as const

/** Keyed like SETTINGS. */
export const TLS_SETTINGS = {
  'tls.cert': {
    type: 'path',
    default: null,
    doc: 'Certificate of this process in PEM, with its chain. Its HTTP ports and its Postgres port speak TLS with it, and it is shown to other processes, the catalog and the shards. What changes in the file is taken over.',
    usedBy: everybody,
  },
  'tls.key': {
    type: 'path',
    default: null,
    doc: 'Key of that certificate in PEM, readable for the owner of the process only.',
    usedBy: everybody,
  },
  'tls.ca': {
    type: 'path',
    default: null,
    doc: 'Authorities in PEM whose certificates are trusted, in place of those of the system: of other processes, of the catalog, of shards with sslmode=verify-full, and of callers.',
    usedBy: everybody,
  },
  'tls.client-certs': {
    type: 'enum',
    choices: ['ignored', 'required'],
    default: 'ignored',
    doc: 'Whether the HTTP ports of this process, metrics among them, take only callers with a certificate of `tls.ca`. An agent with TLS always does.',
    usedBy: roles,
  },
} as const satisfies Readonly<Record<string, Setting>>
