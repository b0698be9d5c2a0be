// What a browser is known by: cookies of sessions and of logins under way, and who may make requests with them. Another
// page may send a browser here with its cookies, so that changes want to come from our own pages.
import { FleetError, rightsOf, type Clock, type Principal, type SessionRecord } from '@fleetshard/core'
import type { IncomingHttpHeaders } from 'node:http'
import { isSecretOf, parseToken } from './api-token.ts'

/** Browsers keep no larger ones. */
const cookieCharsMax = 4_096
/** Methods that change nothing. */
const reading: readonly string[] = ['GET', 'HEAD', 'OPTIONS']

/** The cookies of managers that browsers reach by one address. */
export interface Cookies {
  /** Of the session; null for none. */
  session(headers: IncomingHttpHeaders): string | null
  /** Of the login under way; null for none. */
  login(headers: IncomingHttpHeaders): string | null
  /** The header `cookie` with the session alone, to be sent on; null for none. */
  sessionHeader(headers: IncomingHttpHeaders): string | null
  /** Values for `set-cookie`; an empty value ends the cookie. */
  setSession(value: string, maxAgeMs: number): string
  setLogin(value: string, maxAgeMs: number): string
}

/**
 * Under https they are bound to the host: no other one, and no page by http, can set them.
 * @param publicOrigin where browsers reach the managers
 */
export function createCookies(publicOrigin: string): Cookies {
  const isSecure = publicOrigin.startsWith('https:')
  const prefix = isSecure ? '__Host-' : ''
  const [session, login] = [`${prefix}fleetshard_session`, `${prefix}fleetshard_login`]
  // Lax: the issuer sends browsers back here, and their own pages must know them then.
  const rest = `; Path=/; HttpOnly; SameSite=Lax${isSecure ? '; Secure' : ''}`
  const set = (name: string, value: string, maxAgeMs: number): string =>
    `${name}=${value}; Max-Age=${String(Math.floor(maxAgeMs / 1000))}${rest}`
  return {
    session: (headers) => cookieOf(headers, session),
    login: (headers) => cookieOf(headers, login),
    sessionHeader(headers) {
      const value = cookieOf(headers, session)
      return value === null ? null : `${session}=${value}`
    },
    setSession: (value, maxAgeMs) => set(session, value, maxAgeMs),
    setLogin: (value, maxAgeMs) => set(login, value, maxAgeMs),
  }
}

function cookieOf({ cookie }: IncomingHttpHeaders, name: string): string | null {
  for (const pair of (cookie ?? '').split(';')) {
    const at = pair.indexOf('=')
    if (pair.slice(0, at).trim() === name)
      return pair
        .slice(at + 1)
        .trim()
        .slice(0, cookieCharsMax)
  }
  return null
}

/** Knows who sends a session. */
export interface SessionCheck {
  readonly cookies: Cookies
  /** Of the live copy of the catalog, at once; null for what it does not have. */
  known(token: string): Principal | null
  /** Of the catalog itself. @throws FleetError `unauthenticated` for a session that is over, or never was */
  find(token: string): Promise<Principal>
  /** @throws FleetError `forbidden` for a change that another page has sent the browser to */
  requireOwnPage(
    principal: Principal,
    request: { readonly method?: string | undefined; readonly headers: IncomingHttpHeaders },
  ): void
}

/** What checking takes. */
export interface SessionCheckParts {
  readonly clock: Clock
  readonly publicOrigin: string
  /** Sessions of the live copy, by id. */
  readonly sessions: () => ReadonlyMap<string, SessionRecord>
  /** Those that it may not show yet: another manager has just made them. */
  readonly read: (id: string) => Promise<SessionRecord | null>
}

/** For one address of the managers. */
export function createSessionCheck(parts: SessionCheckParts): SessionCheck {
  const { clock, publicOrigin } = parts
  const principalOf = (record: SessionRecord | null | undefined, secret: string): Principal | null => {
    // Of a session that is not there the digest is made all the same.
    const isRight = isSecretOf(secret, record?.digest ?? '')
    if (record === null || record === undefined || !isRight) return null
    if (clock.now() >= Date.parse(record.expiresAt)) return null
    return { subject: record.subject, kind: 'session', ...rightsOf([record.role]) }
  }
  return {
    cookies: createCookies(publicOrigin),
    known(token) {
      const sent = parseToken(token, 'session')
      return sent === null ? null : principalOf(parts.sessions().get(sent.id), sent.secret)
    },
    async find(token) {
      const sent = parseToken(token, 'session')
      const found = sent === null ? null : principalOf(await parts.read(sent.id), sent.secret)
      if (found !== null) return found
      throw new FleetError('unauthenticated', 'the session is over, or was ended', {
        hint: 'sign in again: /auth/login',
      })
    },
    requireOwnPage({ subject }, { method = '', headers }) {
      if (reading.includes(method)) return
      const { origin, 'sec-fetch-site': site } = headers
      const isOwn =
        (origin === undefined || origin === publicOrigin) && (site === undefined || site === 'same-origin')
      if (isOwn && (origin !== undefined || site !== undefined)) return
      throw new FleetError(
        'forbidden',
        `${subject} is known by a cookie, and the change does not come from a page of ${publicOrigin}`,
        { hint: 'programs send a token: authorization: Bearer <token>' },
      )
    },
  }
}

/** A path on this server. @throws FleetError `invalid_request` for everything that could lead elsewhere */
export function requireLocalPath(path: string, publicOrigin: string): string {
  const url = URL.parse(path, publicOrigin)
  // As a browser reads it, and nothing that it would read as something else: backslashes, blanks, dots.
  if (url?.origin === publicOrigin && url.pathname + url.search + url.hash === path) return path
  throw new FleetError('invalid_request', 'return_to is not a path on this server', {
    hint: 'send a path that begins with one slash, percent-encoded: /shards?status=active',
  })
}
