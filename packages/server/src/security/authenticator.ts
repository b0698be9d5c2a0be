// From a token, or the cookie of a session, to who sends it. Tokens that were verified are remembered for a while, so that a request costs one
// digest and one look-up; failures are counted by address and slow down whoever guesses.
import {
  everybody,
  FleetError,
  isFleetError,
  isLocalHost,
  nobody,
  rightsOf,
  type Clock,
  type Principal,
  type TokenRecord,
} from '@fleetshard/core'
import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Gate } from '../runtime/http/mod.ts'
import { addressOf } from '../runtime/mod.ts'
import { isSameText, isSecretOf, parseToken } from './api-token.ts'
import type { SessionCheck } from './browser-session.ts'
import type { JwtVerifier } from './jwt.ts'
import { RateLimit } from './rate-limit.ts'

/** Longest token that is looked at. */
export const tokenCharsMax = 8 * 1024
/** Verified tokens that are remembered; those that were verified longest ago are forgotten first. */
export const verifiedMax = 10_000
/** A JSON web token is verified anew after that: keys are taken back by their issuers. */
export const verifiedMsMax = 30_000

/** The tokens of the catalog, by id; another map when one was made or revoked. */
export type KnownTokens = ReadonlyMap<string, TokenRecord>

/** What an authenticator goes by. */
export interface AuthenticatorParts {
  readonly clock: Clock
  /** False lets in whoever sends no token. */
  readonly isRequired: boolean
  /**
   * Lets in without a token only who asks for this machine by name: a page of a browser that calls it by another one
   * (DNS rebinding) is none of its programs.
   */
  readonly onlyOwnHost: boolean
  /** The token of the operator of this machine; null for none. */
  readonly adminToken: string | null
  readonly tokens: () => KnownTokens
  readonly jwt: JwtVerifier | null
  /** Null, or left out, where nobody signs in with a browser. */
  readonly sessions?: SessionCheck | null
  /** Failed logins of one address in a minute, and how many at once; 0 for no limit. */
  readonly failuresPerMinute: number
  /** Requests of one caller in a second, and how many at once; 0 for no limit. */
  readonly requestsPerSecond: number
}

/** Finds out who sends a token. */
export interface Authenticator extends Gate {
  /** True when those without a token are let in. */
  readonly isOpen: boolean
  /**
   * Of a token alone. @param address where it comes from
   * @throws FleetError `unauthenticated`, `rate_limited`, `identity_unavailable`
   */
  verify(token: string, address: string): Principal | Promise<Principal>
}

interface Verified {
  readonly principal: Principal
  /** `clock.now()` from which on it does not count any more. */
  readonly untilMs: number
  /** The tokens of the catalog that it was found in; null for others. */
  readonly tokens: KnownTokens | null
}

/** Of the header: `localhost:8080`, `127.0.0.1`, `[::1]:8080`. */
const isOwnHost = (host: string): boolean => isLocalHost(host.replace(/:\d*$/, '').replaceAll(/[[\]]/g, ''))

const bearer = /^Bearer +(\S+) *$/i

/** Nobody is known yet. */
export function createAuthenticator(parts: AuthenticatorParts): Authenticator {
  return new TokenAuthenticator(parts)
}

class TokenAuthenticator implements Authenticator {
  readonly #parts: AuthenticatorParts
  readonly #verified = new Map<string, Verified>()
  readonly #requests: RateLimit
  readonly #failures: RateLimit

  constructor(parts: AuthenticatorParts) {
    const { clock, failuresPerMinute, requestsPerSecond } = parts
    this.#parts = parts
    this.#requests = new RateLimit({
      clock,
      perSecond: requestsPerSecond,
      burst: requestsPerSecond,
      what: (name) => `requests of ${name}`,
    })
    this.#failures = new RateLimit({
      clock,
      perSecond: failuresPerMinute / 60,
      burst: failuresPerMinute,
      what: (name) => `failed logins from ${name}`,
    })
  }

  get isOpen(): boolean {
    return !this.#parts.isRequired
  }

  enter(request: IncomingMessage): Principal | Promise<Principal> {
    const { authorization } = request.headers
    if (authorization === undefined) return this.#withoutToken(request)
    const [, token] = bearer.exec(authorization) ?? []
    if (token === undefined) throw notValid('the header authorization is not `Bearer <token>`')
    const principal = this.verify(token, addressOf(request))
    if (!(principal instanceof Promise)) return this.#limited(principal, request)
    return principal.then((found) => this.#limited(found, request))
  }

  #withoutToken(request: IncomingMessage): Principal | Promise<Principal> {
    const sessions = this.#parts.sessions ?? null
    const token = sessions?.cookies.session(request.headers) ?? null
    if (sessions === null || token === null) return this.#limited(this.#unnamed(request), request)
    const own = (principal: Principal): Principal => {
      sessions.requireOwnPage(principal, request)
      return this.#limited(principal, request)
    }
    const known = sessions.known(token)
    return known === null
      ? this.#guarded(addressOf(request), () => sessions.find(token)).then(own)
      : own(known)
  }

  #unnamed({ headers: { host } }: IncomingMessage): Principal {
    if (!this.isOpen) return nobody
    if (this.#parts.onlyOwnHost && host !== undefined && !isOwnHost(host)) {
      throw new FleetError(
        'forbidden',
        'whoever sends no token must call this machine localhost or by its loopback address',
        {
          hint: 'send a token, or set auth to required',
        },
      )
    }
    return everybody
  }

  #limited(principal: Principal, request: IncomingMessage): Principal {
    if (this.#parts.requestsPerSecond === 0) return principal
    const isKnown = principal.kind !== 'anonymous'
    this.#requests.use(isKnown ? `${principal.kind} ${principal.subject}` : addressOf(request))
    return principal
  }

  verify(token: string, address: string): Principal | Promise<Principal> {
    // By its digest: the time of the look-up says nothing of tokens that are remembered.
    const digest = hash('sha256', token, 'base64')
    const known = this.#verified.get(digest)
    if (known !== undefined && this.#counts(known)) return known.principal
    return this.#find(token, digest, address)
  }

  #counts({ untilMs, tokens }: Verified): boolean {
    return this.#parts.clock.now() < untilMs && (tokens === null || tokens === this.#parts.tokens())
  }

  async #find(token: string, digest: string, address: string): Promise<Principal> {
    this.#verified.delete(digest)
    const found = await this.#guarded(address, () => this.#check(token))
    this.#verified.set(digest, found)
    const [oldest] = this.#verified.keys()
    if (this.#verified.size > verifiedMax && oldest !== undefined) this.#verified.delete(oldest)
    return found.principal
  }

  /** What is not valid counts as a failure of the address, of which there may not be too many. */
  async #guarded<T>(address: string, check: () => Promise<T>): Promise<T> {
    this.#failures.check(address)
    try {
      return await check()
    } catch (error) {
      if (isFleetError(error, 'unauthenticated')) this.#failures.count(address)
      throw error
    }
  }

  async #check(token: string): Promise<Verified> {
    const { adminToken, jwt, clock } = this.#parts
    if (token.length > tokenCharsMax) throw notValid('the token is too long')
    if (adminToken !== null && isSameText(token, adminToken)) {
      const principal: Principal = { subject: 'admin', kind: 'admin', ...rightsOf(['admin']) }
      return { principal, untilMs: Infinity, tokens: null }
    }
    const parsed = parseToken(token)
    if (parsed !== null) return this.#ofCatalog(parsed)
    if (jwt === null) throw notValid('the token is not known')
    const { principal, expiresAtMs } = await jwt.verify(token)
    return { principal, untilMs: Math.min(expiresAtMs, clock.now() + verifiedMsMax), tokens: null }
  }

  #ofCatalog({ id, secret }: { readonly id: string; readonly secret: string }): Verified {
    const tokens = this.#parts.tokens()
    const record = tokens.get(id)
    // Of a token that is not there the digest is made all the same.
    const isRight = isSecretOf(secret, record?.digest ?? '')
    if (record === undefined || !isRight) throw notValid('the token is not known, or was revoked')
    const untilMs = record.expiresAt === null ? Infinity : Date.parse(record.expiresAt)
    if (this.#parts.clock.now() >= untilMs) throw notValid('the token has expired')
    return { principal: { subject: record.name, kind: 'token', ...rightsOf(record.scopes) }, untilMs, tokens }
  }
}

const notValid = (message: string): FleetError =>
  new FleetError('unauthenticated', message, { hint: 'send a valid token: authorization: Bearer <token>' })
