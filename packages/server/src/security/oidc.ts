// At which issuer people sign in, and what they may do then: the settings, checked when a process starts. What talks to
// the issuer is loaded with the first who signs in, since most managers never see one.
import { FleetError, ROLES, type Clock, type Role } from '@fleetshard/core'
import { isPrivate } from './jwt.ts'

/** The settings of signing in. */
export interface OidcOptions {
  /** Null for none: nobody signs in with a browser. */
  readonly issuer: string | null
  readonly clientId: string | null
  /** secretRef of the client's secret. */
  readonly clientSecret: string | null
  /** Where browsers reach the managers. */
  readonly publicUrl: string | null
  /** With blanks between. */
  readonly scopes: string
  readonly claim: string
  /** `value=role`, with commas between; null for none. */
  readonly roles: string | null
  /** Null gives no role to those whom the claim gives none. */
  readonly defaultRole: Role | null
  /** By how much clocks may differ. */
  readonly skewMs: number
}

/** What talking to an issuer takes. */
export interface OidcParts {
  readonly clock: Clock
  /** What the reference to the client's secret stands for. */
  readonly secret: (secretRef: string) => Promise<string>
}

/** What a login is known by while the browser is at the issuer; nobody else may see it. */
export interface PendingLogin {
  readonly state: string
  readonly nonce: string
  /** Of PKCE. */
  readonly verifier: string
}

/** Somebody whom the issuer vouches for. */
export interface OidcIdentity {
  /** `sub` */
  readonly subject: string
  /** For people; null where the issuer tells none. */
  readonly name: string | null
  /** Of the claim that roles are read from; null when the token does not have it. */
  readonly values: readonly string[] | null
}

/** The issuer as the managers see it. All throw FleetError `identity_unavailable` when it does not do its part. */
export interface Oidc {
  /** `https://fleet.example`: where browsers reach the managers. */
  readonly publicOrigin: string
  /** Begins a login. @returns where the browser goes, and what the login is known by */
  begin(): Promise<{ readonly url: string; readonly pending: PendingLogin }>
  /**
   * Ends one. @param search of the address that the issuer sent the browser to
   * @throws FleetError `sign_in_failed`
   */
  finish(search: URLSearchParams, pending: PendingLogin): Promise<OidcIdentity>
  /** Where a browser signs out at the issuer; null where it has no such page. */
  logoutUrl(): Promise<string | null>
  /** @throws FleetError `forbidden` for somebody without any */
  roleOf(identity: OidcIdentity): Role
}

/** Settings that go together, taken apart. */
export interface OidcSettings {
  readonly issuer: URL
  readonly clientId: string
  readonly clientSecret: string
  readonly publicOrigin: string
  readonly scopes: string
  readonly claim: string
  readonly skewMs: number
}

/** Path that the issuer sends browsers back to. */
export const callbackPath = '/auth/callback'

/** Null where no issuer is set. @throws FleetError `invalid_config` for settings that do not go together */
export function createOidc(options: OidcOptions, parts: OidcParts): Oidc | null {
  const { issuer, claim, defaultRole } = options
  if (issuer === null) return null
  const settings = settingsOf(options, issuer)
  const roles = parseRoles(options.roles ?? '')
  if (roles.size === 0 && defaultRole === null) {
    throw refusedSetting('nobody who signs in would have a role', 'auth.oidc-roles or auth.oidc-default-role')
  }
  type Talking = Pick<Oidc, 'begin' | 'finish' | 'logoutUrl'>
  let opened: Promise<Talking> | null = null
  const open = (): Promise<Talking> =>
    (opened ??= import('./oidc-issuer.ts').then(({ openIssuer }) => openIssuer(settings, parts)))
  return {
    publicOrigin: settings.publicOrigin,
    begin: async () => (await open()).begin(),
    finish: async (search, pending) => (await open()).finish(search, pending),
    logoutUrl: async () => (await open()).logoutUrl(),
    roleOf({ subject, values }) {
      const given = new Set((values ?? []).map((value) => roles.get(value)))
      const role = ROLES.findLast((one) => given.has(one)) ?? defaultRole
      if (role !== null) return role
      const why =
        values === null
          ? `the identity token has no claim ${claim}`
          : `no value of the claim ${claim} gives one (it has ${String(values.length)})`
      throw new FleetError('forbidden', `${subject} has no role here: ${why}`, {
        hint: 'the operator maps values of the claim to roles with auth.oidc-roles',
      })
    },
  }
}

/** @throws FleetError `invalid_config` */
function settingsOf(options: OidcOptions, issuerText: string): OidcSettings {
  const { clientId, clientSecret, publicUrl, scopes, claim, skewMs } = options
  if (clientId === null) throw refusedSetting('the issuer does not know us', 'auth.oidc-client-id')
  if (clientSecret === null) throw refusedSetting('the issuer does not know us', 'auth.oidc-client-secret')
  if (publicUrl === null)
    throw refusedSetting('the issuer has nowhere to send browsers', 'auth.oidc-public-url')
  const [issuer, own] = [new URL(issuerText), new URL(publicUrl)]
  for (const [key, url] of [
    ['auth.oidc-issuer', issuer],
    ['auth.oidc-public-url', own],
  ] as const) {
    if (isPrivate(url)) continue
    throw new FleetError(
      'invalid_config',
      `${key} is not https: whoever is between could sign in as others`,
      {
        hint: 'use https; http is for this machine only',
      },
    )
  }
  if (own.pathname !== '/' || own.search !== '' || own.username !== '') {
    throw new FleetError('invalid_config', 'auth.oidc-public-url has more than scheme, host and port', {
      hint: `give ${own.origin}`,
    })
  }
  if (!scopes.split(' ').includes('openid'))
    throw refusedSetting('the issuer tells no identity without the scope openid', 'auth.oidc-scopes')
  return { issuer, clientId, clientSecret, publicOrigin: own.origin, scopes, claim, skewMs }
}

const refusedSetting = (message: string, key: string): FleetError =>
  new FleetError('invalid_config', `people are to sign in with a browser, and ${message}`, {
    hint: `give ${key}`,
  })

/** @throws FleetError `invalid_config` for a text that is no list of `value=role` */
function parseRoles(text: string): ReadonlyMap<string, Role> {
  const pairs = text.split(',').filter((pair) => pair.trim() !== '')
  return new Map(
    pairs.map((pair): [string, Role] => {
      const at = pair.lastIndexOf('=')
      const role = ROLES.find((one) => one === pair.slice(at + 1).trim())
      const value = decoded(pair.slice(0, Math.max(0, at)).trim())
      if (role !== undefined && value !== null && value !== '') return [value, role]
      throw new FleetError('invalid_config', `auth.oidc-roles: ${JSON.stringify(pair)} is not value=role`, {
        hint: `the roles are ${ROLES.join(', ')}: fleet-admins=admin,sre=operator`,
      })
    }),
  )
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}
