// Signing in with a browser, at any of the managers: a login begins here, goes on at the issuer, and ends at whichever
// manager the browser comes back to, which makes the session. What must be kept in between lies in the browser, sealed;
// sessions lie in the catalog, so that all managers know them and one that was ended is known by none.
import { randomUUID } from 'node:crypto'
import {
  FleetError,
  isFleetError,
  rightsOf,
  toFleetError,
  type Clock,
  type Principal,
  type SessionRecord,
} from '@fleetshard/core'
import { Type, type Static, type TSchema } from 'typebox'
import { Value } from 'typebox/value'
import type { AuditEntry } from '../../audit/mod.ts'
import type { Catalog } from '../../catalog/mod.ts'
import type { Call } from '../../runtime/http/mod.ts'
import { addressOf } from '../../runtime/mod.ts'
import {
  makeToken,
  parseToken,
  RateLimit,
  requireLocalPath,
  type Cookies,
  type EnvelopeSealer,
  type MadeToken,
  type OidcIdentity,
} from '../../security/mod.ts'
import type { SignInSetting } from './deps.ts'
import type { Fleet } from './fleet.ts'
import { actorOf, type Recorder } from './recorder.ts'

/** How long somebody may take at the issuer. */
export const loginMsMax = 10 * 60_000
/** Sessions of one person; his oldest are ended by newer ones. */
export const sessionsOfOneMax = 20
/** Sessions of all. */
const sessionsMax = 10_000
/** Sessions that are removed with a new one: those that are over, and surplus ones of its owner. */
const removedMax = 50
/** How long the catalog may take for one step. */
const catalogMsMax = 5_000
/** What sealed logins are sealed for. */
const sealedFor = 'login of a browser'

const LoginSchema = Type.Object({
  state: Type.String({ minLength: 1 }),
  nonce: Type.String({ minLength: 1 }),
  verifier: Type.String({ minLength: 1 }),
  returnTo: Type.String(),
  untilMs: Type.Number(),
})
const EnvelopeSchema = Type.Object({ key: Type.String(), dataKey: Type.String(), data: Type.String() })

/** A login while the browser is at the issuer. */
type Login = Readonly<Static<typeof LoginSchema>>

/** Where a browser goes, with the cookies that it is given. */
export interface Sent {
  readonly location: string
  readonly cookies: readonly string[]
}

/** What signing in stands on. */
export interface SignInParts {
  readonly clock: Clock
  readonly catalog: Pick<Catalog, 'sessions'>
  readonly fleet: Pick<Fleet, 'state' | 'shown'>
  readonly recorder: Recorder
  readonly cookies: Cookies
  /** Told of logins that failed. */
  readonly refused: (call: Call, principal: Principal, error: FleetError) => Promise<void>
  readonly setting: SignInSetting
}

/** Signing in and out. */
export interface SignIn {
  /**
   * @param returnTo path to go on with afterwards
   * @throws FleetError `invalid_request`, `identity_unavailable`, `rate_limited`, `secret_unavailable`
   */
  begin(returnTo: string, call: Call): Promise<Sent>
  /** @throws FleetError `sign_in_failed`, `forbidden`, `identity_unavailable`, `rate_limited`, those of the catalog */
  finish(call: Call): Promise<Sent>
  /** @returns where to sign out at the issuer, null for nowhere @throws FleetError those of the catalog */
  end(call: Call): Promise<{ readonly issuerUrl: string | null; readonly cookies: readonly string[] }>
  /** Of the caller; null where he has none. */
  sessionOf(call: Call): Promise<SessionRecord | null>
}

/** For one manager. */
export function createSignIn(parts: SignInParts): SignIn {
  return new BrowserSignIn(parts)
}

class BrowserSignIn implements SignIn {
  readonly #parts: SignInParts
  readonly #failures: RateLimit

  constructor(parts: SignInParts) {
    const { failuresPerMinute } = parts.setting
    this.#parts = parts
    this.#failures = new RateLimit({
      clock: parts.clock,
      perSecond: failuresPerMinute / 60,
      burst: failuresPerMinute,
      what: (name) => `failed logins from ${name}`,
    })
  }

  async begin(returnTo: string, { request }: Call): Promise<Sent> {
    const { clock, cookies, setting } = this.#parts
    const path = requireLocalPath(returnTo, setting.oidc.publicOrigin)
    this.#failures.check(addressOf(request.raw))
    const { url, pending } = await setting.oidc.begin()
    const login: Login = { ...pending, returnTo: path, untilMs: clock.now() + loginMsMax }
    const sealed = await setting.sealer.seal(sealedFor, JSON.stringify(login))
    const value = Buffer.from(JSON.stringify(sealed)).toString('base64url')
    return { location: url, cookies: [cookies.setLogin(value, loginMsMax)] }
  }

  async finish(call: Call): Promise<Sent> {
    const { login, identity, principal } = await this.#identify(call)
    const { cookies, setting } = this.#parts
    const made = makeToken('session')
    await this.#recorded('session.begin', { ...call, principal }, (told) =>
      this.#store(made, identity, principal, told),
    )
    return {
      location: login.returnTo,
      cookies: [cookies.setSession(made.token, setting.sessionMs), cookies.setLogin('', 0)],
    }
  }

  async end(call: Call): ReturnType<SignIn['end']> {
    const { catalog, fleet, cookies, setting } = this.#parts
    const id = idOf(call, cookies)
    if (id === null)
      throw new FleetError(
        'invalid_request',
        'the request is not known by a session, so that there is none to end',
        {
          hint: 'a token is ended by fleetshard token revoke',
        },
      )
    await this.#recorded('session.end', call, async () => {
      await catalog.sessions.delete(id, AbortSignal.timeout(catalogMsMax))
      await fleet.shown(({ sessions }) => !sessions.has(id))
    })
    // It has ended here in any case.
    const issuerUrl = await setting.oidc.logoutUrl().catch(() => null)
    return { issuerUrl, cookies: [cookies.setSession('', 0)] }
  }

  async sessionOf(call: Call): Promise<SessionRecord | null> {
    const { catalog, fleet, cookies } = this.#parts
    const id = idOf(call, cookies)
    if (id === null) return null
    return fleet.state().sessions.get(id) ?? catalog.sessions.get(id, AbortSignal.timeout(catalogMsMax))
  }

  /** Who has come back from the issuer, and what he may do. Who may not come in is written down. */
  async #identify(call: Call): Promise<Identified> {
    const { setting, refused } = this.#parts
    const address = addressOf(call.request.raw)
    this.#failures.check(address)
    let principal: Principal = { subject: 'unknown', kind: 'session', ...rightsOf([]) }
    try {
      const login = await this.#loginOf(call)
      const { searchParams } = new URL(call.request.url, setting.oidc.publicOrigin)
      const identity = await setting.oidc.finish(searchParams, login)
      principal = { ...principal, subject: identity.subject }
      principal = { ...principal, ...rightsOf([setting.oidc.roleOf(identity)]) }
      return { login, identity, principal }
    } catch (thrown) {
      const error = toFleetError(thrown)
      if (error.code === 'sign_in_failed' || error.code === 'forbidden') this.#failures.count(address)
      await refused(call, principal, error)
      throw error
    }
  }

  /** @throws FleetError `sign_in_failed` for a cookie that is not of a login under way */
  async #loginOf({ request }: Call): Promise<Login> {
    const { clock, cookies, setting } = this.#parts
    const cookie = cookies.login(request.headers)
    if (cookie === null || cookie === '') throw failed('it was not begun in this browser, or has ended')
    const login = parsed(LoginSchema, await opened(setting.sealer, cookie))
    if (login === null) throw failed('the cookie of the login is not one of ours')
    if (clock.now() >= login.untilMs) throw failed('it took too long')
    return login
  }

  /** What is over makes room in the same commit. */
  async #store(
    { id, digest }: MadeToken,
    { subject, name }: OidcIdentity,
    { role }: Principal,
    told: (after: object) => void,
  ): Promise<void> {
    const { catalog, clock, fleet, setting } = this.#parts
    if (role === null) throw new FleetError('internal', 'a session without a role')
    const nowMs = clock.now()
    const all = [...fleet.state().sessions.values()]
    const over = removable(all, subject, nowMs)
    if (all.length - over.length >= sessionsMax)
      throw new FleetError('overloaded', `${String(sessionsMax)} people are signed in already`)
    const times = {
      createdAt: new Date(nowMs).toISOString(),
      expiresAt: new Date(nowMs + setting.sessionMs).toISOString(),
    }
    const record: SessionRecord = { id, digest, subject, name, role, ...times, version: 1 }
    await catalog.sessions.create(record, over, AbortSignal.timeout(catalogMsMax))
    await fleet.shown(({ sessions }) => sessions.has(id))
    told({ id, subject, name, role, ...times, ended: over })
  }

  /** Nothing is done without a record of it, as with every other change. */
  async #recorded(
    what: string,
    call: Call,
    work: (told: (after: object) => void) => Promise<void>,
  ): Promise<void> {
    const { clock, recorder } = this.#parts
    const change = randomUUID()
    const began = clock.monotonic()
    let after: unknown = null
    const entryOf = (told: Pick<AuditEntry, 'phase' | 'outcome'>): AuditEntry => ({
      ...actorOf(call),
      ...told,
      what,
      target: call.principal.subject,
      at: new Date(clock.now()).toISOString(),
      change,
      before: null,
      after,
    })
    await recorder.begun(entryOf({ phase: 'begun', outcome: null }))
    let failure: unknown = null
    try {
      await work((state) => (after = state))
    } catch (error) {
      failure = error
      throw error
    } finally {
      const outcome = failure === null ? 'ok' : toFleetError(failure).code
      await recorder.ended(entryOf({ phase: 'ended', outcome }), clock.monotonic() - began, failure)
    }
  }
}

interface Identified {
  readonly login: Login
  readonly identity: OidcIdentity
  readonly principal: Principal
}

const idOf = ({ principal, request }: Call, cookies: Cookies): string | null =>
  principal.kind === 'session'
    ? (parseToken(cookies.session(request.headers) ?? '', 'session')?.id ?? null)
    : null

/** Ids of sessions that are over, and of a person's oldest ones where he would have too many. */
function removable(all: readonly SessionRecord[], subject: string, nowMs: number): readonly string[] {
  const isOver = ({ expiresAt }: SessionRecord): boolean => nowMs >= Date.parse(expiresAt)
  const own = all
    .filter((session) => session.subject === subject && !isOver(session))
    .toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1))
  const surplus = own.slice(sessionsOfOneMax - 1)
  return [...surplus, ...all.filter(isOver)].slice(0, removedMax).map(({ id }) => id)
}

/** Null for a text that nobody here has sealed. @throws FleetError `secret_unavailable` when our keys cannot be had */
async function opened(sealer: EnvelopeSealer, cookie: string): Promise<string | null> {
  const sealed = parsed(EnvelopeSchema, Buffer.from(cookie, 'base64url').toString())
  if (sealed === null) return null
  try {
    return await sealer.open(sealedFor, sealed)
  } catch (error) {
    if (!isFleetError(error, 'secret_unavailable')) throw error
    await sealer.currentKey()
    return null
  }
}

function parsed<S extends TSchema>(schema: S, text: string | null): Static<S> | null {
  try {
    const value: unknown = JSON.parse(text ?? 'null')
    return Value.Check(schema, value) ? value : null
  } catch {
    return null
  }
}

const failed = (why: string): FleetError =>
  new FleetError('sign_in_failed', `signing in failed: ${why}`, { hint: 'sign in again: /auth/login' })
