// Who may do what: roles of the control plane, grants of the data plane, and the one table of permissions that routes
// and commands refer to. Pure, so that servers, command line and documentation go by the same words.
import { FleetError } from '../errors/fleet-error.ts'

/** Roles of the control plane; each may do what the ones before it may. */
export const ROLES = ['viewer', 'operator', 'admin'] as const
/** One of {@link ROLES}. */
export type Role = (typeof ROLES)[number]

/** What may be done with the rows of a keyspace; `write` includes `read`. */
export type Grant = 'read' | 'write'

/** Stands for every keyspace in a grant. */
export const everyKeyspace = '*'

/** Somebody who makes requests. */
export interface Principal {
  /** Name of the token, `sub` of the JSON web token or of whoever signed in, `admin` or `anonymous`. */
  readonly subject: string
  readonly kind: 'anonymous' | 'admin' | 'token' | 'jwt' | 'session'
  /** The highest role; null for none. */
  readonly role: Role | null
  /** By keyspace, or `*` for all. */
  readonly grants: ReadonlyMap<string, Grant>
}

/** One line of the table of permissions. */
export interface PermissionSpec {
  /** One sentence for the documentation. */
  readonly doc: string
  /** The least role that has it; null where no role gives it. */
  readonly role: Role | null
  /** The grant, on any keyspace, that gives it as well; null for none. Which keyspace is checked with the request. */
  readonly grant: Grant | null
}

/** The permissions. A route or a command needs exactly one of them. */
export const PERMISSIONS = {
  open: { doc: 'Nobody is asked who he is.', role: null, grant: null },
  self: {
    doc: 'What the caller may know of himself, and the end of his own session.',
    role: 'viewer',
    grant: 'read',
  },
  view: { doc: 'Reads of the control plane: topology, shards, nodes, jobs.', role: 'viewer', grant: null },
  operate: {
    doc: 'Changes of the control plane: keyspaces, tables, shards, nodes, jobs, failovers.',
    role: 'operator',
    grant: null,
  },
  administer: { doc: 'Tokens, and the audit log.', role: 'admin', grant: null },
  place: {
    doc: 'The shard map, and where keys and statements go: of all keyspaces by role, else of those granted.',
    role: 'viewer',
    grant: 'read',
  },
  query: {
    doc: 'Statements on the rows of a keyspace: reads by `read`, everything by `write`.',
    role: 'admin',
    grant: 'read',
  },
  login: {
    doc: 'The logins to the database servers of a keyspace, for clients in direct mode.',
    role: 'admin',
    grant: 'write',
  },
  agent: { doc: 'Orders to an agent: by the token of that agent alone.', role: 'admin', grant: null },
} as const satisfies Readonly<Record<string, PermissionSpec>>

/** One of {@link PERMISSIONS}. */
export type Permission = keyof typeof PERMISSIONS

/** Of a process that asks nobody: all may do everything. */
export const everybody: Principal = {
  subject: 'anonymous',
  kind: 'anonymous',
  role: 'admin',
  grants: new Map(),
}

/** Whoever has not said who he is where that is asked. */
export const nobody: Principal = { ...everybody, role: null }

/** True when the role includes the other one. */
export function includesRole(role: Role | null, wanted: Role): boolean {
  return role !== null && ROLES.indexOf(role) >= ROLES.indexOf(wanted)
}

/** What the principal may do with the rows of the keyspace; an admin everything. Null for nothing. */
export function grantOn({ role, grants }: Principal, keyspace: string): Grant | null {
  if (role === 'admin') return 'write'
  const [own, all] = [grants.get(keyspace), grants.get(everyKeyspace)]
  return own === 'write' || all === 'write' ? 'write' : (own ?? all ?? null)
}

/** True when the permission is the principal's, on one keyspace at least where it is about keyspaces. */
export function isPermitted(principal: Principal, permission: Permission): boolean {
  const { role, grant }: PermissionSpec = PERMISSIONS[permission]
  if (permission === 'open' || (role !== null && includesRole(principal.role, role))) return true
  if (grant === null) return false
  return [...principal.grants.values()].some((given) => given === 'write' || given === grant)
}

/** @throws FleetError `unauthenticated` for those who have not said who they are, else `forbidden` */
export function requirePermission(principal: Principal, permission: Permission): void {
  if (isPermitted(principal, permission)) return
  if (principal.kind === 'anonymous') {
    throw new FleetError('unauthenticated', 'the request does not say who sends it', {
      hint: 'send a token: authorization: Bearer <token>',
    })
  }
  const { role, grant }: PermissionSpec = PERMISSIONS[permission]
  const wanted = [role === null ? [] : [`the role ${role}`], grant === null ? [] : [`a grant to ${grant}`]]
  throw new FleetError('forbidden', `${principal.subject} lacks the permission ${permission}`, {
    hint: `it takes ${wanted.flat().join(' or ')}: fleetshard token create --scope …`,
  })
}

/** What the principal may do with rows of the keyspace. @throws FleetError `forbidden` when it is nothing */
export function requireGrant(principal: Principal, keyspace: string): Grant {
  const grant = grantOn(principal, keyspace)
  if (grant !== null) return grant
  throw new FleetError('forbidden', `${principal.subject} may not use the keyspace ${keyspace}`, {
    hint: `it takes the scope read:${keyspace} or write:${keyspace}`,
  })
}

/** True when the principal may know the map of that keyspace. */
export const mayPlace = (principal: Principal, keyspace: string): boolean =>
  includesRole(principal.role, 'viewer') || grantOn(principal, keyspace) !== null

/** What a token carries. */
export type Rights = Pick<Principal, 'role' | 'grants'>

const scopePattern = /^(?:(viewer|operator|admin)|(read|write):(\*|[a-z_][a-z0-9_]{0,62}))$/

/** One scope as text, for schemas and messages. */
export const scopePatternText: string = scopePattern.source

/** True for `viewer`, `operator`, `admin`, `read:KEYSPACE`, `write:KEYSPACE` and `*` in the place of a keyspace. */
export const isScope = (text: string): boolean => scopePattern.test(text)

/** What scopes give together. Texts that are no scopes give nothing. */
export function rightsOf(scopes: readonly string[]): Rights {
  let role: Role | null = null
  const grants = new Map<string, Grant>()
  for (const scope of scopes) {
    const [, named, grant, keyspace = ''] = scopePattern.exec(scope) ?? []
    const found = ROLES.find((known) => known === named)
    if (found !== undefined && !includesRole(role, found)) role = found
    if (grant === 'write' || (grant === 'read' && !grants.has(keyspace))) grants.set(keyspace, grant)
  }
  return { role, grants }
}
