// /auth: signing in and out with a browser, and who one is. The first two are for browsers to go to, the others for pages.
import { CallbackQuery, Identity, LoggedOut, LoginQuery } from '@fleetshard/core/contract'
import { FleetError } from '@fleetshard/core'
import { route, type Answer, type Call, type Route } from '../../../runtime/http/mod.ts'
import { callbackPath } from '../../../security/mod.ts'
import type { SignIn } from '../sign-in.ts'
import type { Api } from './context.ts'

const tag = 'access'
/** Nobody between keeps who somebody is. */
const notKept = { 'cache-control': 'no-store' } as const

/** Endpoints of signing in. */
export const authRoutes = (api: Api): readonly Route[] => [login(api), callback(api), me(api), logout(api)]

/** @throws FleetError `not_found` */
function signInOf({ signIn }: Api): SignIn {
  if (signIn !== null) return signIn
  throw new FleetError('not_found', 'nobody signs in with a browser here: no issuer is set', {
    hint: 'set auth.oidc-issuer; docs/guides/sign-in.md has the steps',
  })
}

function give({ reply }: Call, cookies: readonly string[]): void {
  for (const cookie of cookies) void reply.header('set-cookie', cookie)
}

const sendTo = (location: string): Answer => ({
  kind: 'json',
  status: 302,
  headers: { ...notKept, location },
})

const login = (api: Api): Route =>
  route({
    method: 'GET',
    url: '/auth/login',
    tag,
    kind: 'session',
    permission: 'open',
    summary: 'Send a browser to the issuer to sign in',
    query: LoginQuery,
    answers: { 302: null },
    handle: async ({ query }, call) => {
      const { location, cookies } = await signInOf(api).begin(query.return_to ?? '/', call)
      give(call, cookies)
      return sendTo(location)
    },
  })

const callback = (api: Api): Route =>
  route({
    method: 'GET',
    url: callbackPath,
    tag,
    kind: 'session',
    permission: 'open',
    summary: 'Where the issuer sends the browser back to: begins its session',
    query: CallbackQuery,
    answers: { 302: null },
    handle: async (_input, call) => {
      const { location, cookies } = await signInOf(api).finish(call)
      give(call, cookies)
      return sendTo(location)
    },
  })

const me = (api: Api): Route =>
  route({
    method: 'GET',
    url: '/auth/me',
    tag,
    kind: 'read',
    permission: 'self',
    summary: 'Who the caller is, what he may do, and until when',
    answers: { 200: Identity },
    handle: async (_input, call) => {
      const { kind, subject, role, grants } = call.principal
      const session = (await api.signIn?.sessionOf(call)) ?? null
      const body: Identity = {
        kind,
        subject,
        name: session?.name ?? null,
        role,
        grants: Object.fromEntries(grants),
        expires_at: session?.expiresAt ?? null,
      }
      return { kind: 'json', status: 200, body, headers: notKept }
    },
  })

const logout = (api: Api): Route =>
  route({
    method: 'POST',
    url: '/auth/logout',
    tag,
    kind: 'session',
    permission: 'self',
    summary: 'End the session of the browser; tells where it signs out at the issuer too',
    answers: { 200: LoggedOut },
    handle: async (_input, call) => {
      const { issuerUrl, cookies } = await signInOf(api).end(call)
      give(call, cookies)
      const body: LoggedOut = { issuer_logout_url: issuerUrl }
      return { kind: 'json', status: 200, body, headers: notKept }
    },
  })
