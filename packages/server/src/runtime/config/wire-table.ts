// The settings of the router's Postgres port; a part of the table in table.ts.
import type { Setting } from './types.ts'

const second = 1000
const minute = 60 * second
const kB = 1024
const MB = 1024 * kB

/** Keyed like SETTINGS. */
export const WIRE_SETTINGS = {
  'router.wire-port': {
    type: 'port',
    default: 6432,
    doc: 'Port on which the router speaks the protocol of Postgres; the database of a client is its keyspace.',
    usedBy: ['up', 'router'],
    aliases: { up: ['wire-port'], router: ['wire-port'] },
  },
  'router.wire-auth': {
    type: 'enum',
    choices: ['scram', 'trust'],
    default: 'scram',
    doc: 'How clients of the Postgres port log in. `trust` lets everybody in as the user of the node records, on loopback addresses only; `up` does so there unless told otherwise.',
    usedBy: ['up', 'router'],
  },
  'router.wire-auth-query': {
    type: 'string',
    default:
      'select rolpassword from pg_catalog.pg_authid where rolname = $1 and rolcanlogin and (rolvaliduntil is null or rolvaliduntil > now())',
    doc: 'Query on a shard that gives the SCRAM verifier of the user $1.',
    usedBy: ['up', 'router'],
  },
  'router.wire-users-file': {
    type: 'path',
    default: null,
    doc: 'File with lines of "user" "SCRAM-SHA-256$…", asked in place of the shards.',
    usedBy: ['up', 'router'],
  },
  'router.wire-tls-cert': {
    type: 'path',
    default: null,
    doc: 'Certificate of the Postgres port in PEM, with its chain; else that of `tls.cert`. Without one there is no TLS.',
    usedBy: ['up', 'router'],
  },
  'router.wire-tls-key': {
    type: 'path',
    default: null,
    doc: 'Key of that certificate in PEM.',
    usedBy: ['up', 'router'],
  },
  'router.wire-tls': {
    type: 'enum',
    choices: ['offered', 'required'],
    default: 'offered',
    doc: 'Whether clients of the Postgres port may go on without TLS where there is a certificate.',
    usedBy: ['up', 'router'],
  },
  'router.wire-connections-max': {
    type: 'int',
    default: 20_000,
    min: 1,
    max: 1_000_000,
    unit: 'connections',
    doc: 'Most clients of the Postgres port at once; more are refused.',
    usedBy: ['up', 'router'],
  },
  'router.wire-connections-per-address': {
    type: 'int',
    default: 20_000,
    min: 1,
    max: 1_000_000,
    unit: 'connections',
    doc: 'Most clients of the Postgres port from one address.',
    usedBy: ['up', 'router'],
  },
  'router.wire-failures-per-minute': {
    type: 'int',
    default: 300,
    min: 0,
    max: 1_000_000,
    unit: 'logins',
    doc: 'Wrong passwords of one address on the Postgres port, beyond which it has to wait; 0 for no limit. One user from one address has to wait sooner.',
    usedBy: ['up', 'router'],
  },
  'router.wire-statements-per-second': {
    type: 'int',
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: 'statements',
    doc: 'Statements of one login on the Postgres port (of one address where nobody says who he is), by each router; 0 for no limit.',
    usedBy: ['up', 'router'],
  },
  'router.wire-statements-per-address': {
    type: 'int',
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: 'statements',
    doc: 'Statements a second from one address on the Postgres port, whoever sends them; 0 for no limit.',
    usedBy: ['up', 'router'],
  },
  'router.wire-login-ms': {
    type: 'duration',
    default: 30 * second,
    min: 100,
    max: 10 * minute,
    doc: 'How long a client may take from connecting to the end of its login.',
    usedBy: ['up', 'router'],
  },
  'router.wire-message-bytes-max': {
    type: 'bytes',
    default: 64 * MB,
    min: 64 * kB,
    max: 1024 * MB - 1,
    doc: 'Largest message of a client of the Postgres port, but for COPY, which passes through in parts.',
    usedBy: ['up', 'router'],
  },
} as const satisfies Readonly<Record<string, Setting>>
