// The settings of signing in with a browser, at an issuer of OpenID Connect; a part of the table in table.ts.
import type { Setting } from './types.ts'

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const managers = ['up', 'manager'] as const

/** Keyed like SETTINGS. */
export const OIDC_SETTINGS = {
  'auth.oidc-issuer': {
    type: 'url',
    schemes: ['https', 'http'],
    default: null,
    doc: 'Issuer at which people sign in with a browser (OpenID Connect), as it calls itself in `iss`: by https, or by http on this machine. Without it nobody can.',
    usedBy: managers,
  },
  'auth.oidc-client-id': {
    type: 'string',
    default: null,
    doc: 'What the issuer knows the managers by.',
    usedBy: managers,
  },
  'auth.oidc-client-secret': {
    type: 'secret',
    default: null,
    doc: 'Where the secret of that client is: `env:NAME`, `file:/path` or `catalog:NAME`; not the secret itself.',
    usedBy: managers,
  },
  'auth.oidc-public-url': {
    type: 'url',
    schemes: ['https', 'http'],
    default: null,
    doc: 'Where browsers reach the managers, all of them by the same: https://fleet.example. The issuer sends them back to `/auth/callback` there.',
    usedBy: managers,
  },
  'auth.oidc-scopes': {
    type: 'string',
    default: 'openid profile email',
    doc: 'Scopes that the issuer is asked for, with blanks between; `openid` is one of them.',
    usedBy: managers,
  },
  'auth.oidc-claim': {
    type: 'string',
    default: 'groups',
    doc: 'Claim of the identity token that roles are read from: a text, or a list of texts. Where there is none of that name, dots lead into objects: `realm_access.roles`.',
    usedBy: managers,
  },
  'auth.oidc-roles': {
    type: 'string',
    default: null,
    doc: 'Which value of that claim gives which role (viewer, operator, admin): `fleet-admins=admin,sre=operator`. A comma in a value is written %2C, a percent sign %25.',
    usedBy: managers,
  },
  'auth.oidc-default-role': {
    type: 'enum',
    choices: ['none', 'viewer', 'operator', 'admin'],
    default: 'none',
    doc: 'Role of everybody whom the issuer lets sign in, where the claim gives no other. `none` lets them not in.',
    usedBy: managers,
  },
  'auth.oidc-session-ms': {
    type: 'duration',
    default: 8 * hour,
    min: 10 * second,
    max: 7 * 24 * hour,
    doc: 'How long somebody stays signed in, with the role that he had when he signed in.',
    usedBy: managers,
  },
} as const satisfies Readonly<Record<string, Setting>>
