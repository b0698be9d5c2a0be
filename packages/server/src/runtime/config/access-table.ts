// The settings of who may ask what; a part of the table in table.ts.
import type { Setting } from './types.ts'

const second = 1000
const minute = 60 * second
const roles = ['up', 'router', 'manager', 'worker', 'agent'] as const

/** Keyed like SETTINGS. */
export const ACCESS_SETTINGS = {
  auth: {
    type: 'enum',
    choices: ['open', 'required'],
    default: 'open',
    doc: 'Whether whoever makes a request must say who he is, by a token. `open` is for this machine only: other addresses than loopback want `required`.',
    usedBy: roles,
  },
  'auth.admin-token-file': {
    type: 'path',
    default: null,
    doc: 'File with a token that may do everything, for the first steps: at least 32 characters, readable for its owner only. `up` makes one.',
    usedBy: ['up', 'router', 'manager'],
  },
  'auth.jwt-secret-file': {
    type: 'path',
    default: null,
    doc: 'File with the secret of at least 32 bytes that JSON web tokens are signed with by HS256.',
    usedBy: ['up', 'router', 'manager'],
  },
  'auth.jwks-url': {
    type: 'url',
    schemes: ['https', 'http'],
    default: null,
    doc: 'Where an issuer of JSON web tokens has its public keys (JWKS): by https, or by http on this machine.',
    usedBy: ['up', 'router', 'manager'],
  },
  'auth.jwks-file': {
    type: 'path',
    default: null,
    doc: 'File with those keys, in place of the URL; what changes in it is taken over.',
    usedBy: ['up', 'router', 'manager'],
  },
  'auth.jwt-issuer': {
    type: 'string',
    default: null,
    doc: 'Issuer (`iss`) that JSON web tokens must have; needed with the keys of an issuer.',
    usedBy: ['up', 'router', 'manager'],
  },
  'auth.jwt-audience': {
    type: 'string',
    default: 'fleetshard',
    doc: 'Audience (`aud`) that JSON web tokens must have.',
    usedBy: ['up', 'router', 'manager'],
  },
  'auth.jwt-claim': {
    type: 'string',
    default: 'fleetshard',
    doc: 'Claim of JSON web tokens with their scopes: a list, or a text with blanks between.',
    usedBy: ['up', 'router', 'manager'],
  },
  'auth.jwt-skew-ms': {
    type: 'duration',
    default: 30 * second,
    min: 0,
    max: 5 * minute,
    doc: 'By how much clocks may differ when the times of JSON web tokens are checked.',
    usedBy: ['up', 'router', 'manager'],
  },
  'auth.failures-per-minute': {
    type: 'int',
    default: 60,
    min: 0,
    max: 1_000_000,
    unit: 'logins',
    doc: 'Tokens of one address that are not valid, beyond which it has to wait; 0 for no limit.',
    usedBy: ['up', 'router', 'manager'],
  },
  'http.requests-per-second': {
    type: 'int',
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: 'requests',
    doc: 'Requests of one caller (of one address where nobody says who he is) to this process; 0 for no limit.',
    usedBy: ['up', 'router', 'manager'],
  },
  'http.receive-ms': {
    type: 'duration',
    default: minute,
    min: second,
    max: 60 * minute,
    doc: 'How long a request may take to arrive, its body included; slower ones are cut off.',
    usedBy: ['up', 'router', 'manager'],
  },
  'secrets.key-file': {
    type: 'path',
    default: null,
    doc: 'File with keys of 32 bytes in base64, one a line, by which passwords in the catalog are sealed: the first for new ones, the others for those sealed before. `up` makes one. Read at each use.',
    usedBy: roles,
  },
  'secrets.key': {
    type: 'secret',
    default: null,
    doc: 'The same keys, in place of the file.',
    usedBy: roles,
  },
  'audit.records-max': {
    type: 'int',
    default: 2_000,
    min: 100,
    max: 100_000,
    unit: 'records',
    doc: 'Records of the audit log that are kept in the catalog; the oldest go first, so export them in time.',
    usedBy: ['up', 'manager'],
  },
  token: {
    type: 'secret',
    default: null,
    doc: 'Token that commands send; else that of the running local cluster, where they may read it.',
    usedBy: ['cli'],
  },
  'token-file': {
    type: 'path',
    default: null,
    doc: 'File with that token: a token on the command line could be read by every user of the machine.',
    usedBy: ['cli'],
  },
} as const satisfies Readonly<Record<string, Setting>>
