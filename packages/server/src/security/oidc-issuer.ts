// Talks to an issuer of OpenID Connect: finds its endpoints, sends browsers there with PKCE, and turns the code that they
// come back with into somebody whose identity token is signed by the issuer. What it answers is bounded in time and
// bytes, and no code, token or secret gets into an error.
import { FleetError, isFleetError, type Clock } from '@fleetshard/core'
import * as client from 'openid-client'
import { isSameText } from './api-token.ts'
import { isPrivate } from './jwt.ts'
import {
  callbackPath,
  type Oidc,
  type OidcIdentity,
  type OidcParts,
  type OidcSettings,
  type PendingLogin,
} from './oidc.ts'
import { answerBytesMax, answerSecondsMax, failed, issuerError, unavailable } from './oidc-errors.ts'

/** Its endpoints are looked up again after that. */
const metadataAgeMsMax = 5 * 60_000
/** Logins whose code is being redeemed at once. */
const redeemingMax = 32
/** As OpenID Connect bounds it. */
const subjectCharsMax = 255
const nameCharsMax = 200
const valuesMax = 1_000

interface Metadata {
  readonly value: client.ServerMetadata
  readonly readAtMs: number
}

/** For settings that were checked. Does no I/O yet. */
export function openIssuer(
  settings: OidcSettings,
  parts: OidcParts,
): Pick<Oidc, 'begin' | 'finish' | 'logoutUrl'> {
  const metadata = createMetadata(settings, parts.clock)
  let redeeming = 0
  return {
    async begin() {
      const pending = {
        state: client.randomState(),
        nonce: client.randomNonce(),
        verifier: client.randomPKCECodeVerifier(),
      }
      const challenge = await client.calculatePKCECodeChallenge(pending.verifier)
      return { url: loginUrl(await metadata(), settings, { ...pending, challenge }), pending }
    },
    async finish(search, pending) {
      if (!isSameText(search.get('state') ?? '', pending.state))
        throw failed('it is not the login that this browser has begun')
      if (redeeming >= redeemingMax)
        throw new FleetError('overloaded', `${String(redeemingMax)} people are signing in already`)
      redeeming += 1
      try {
        return await redeem(metadata, settings, parts, { search, pending })
      } catch (error) {
        throw issuerError(error)
      } finally {
        redeeming -= 1
      }
    },
    async logoutUrl() {
      const { end_session_endpoint: endpoint } = await metadata()
      if (endpoint === undefined) return null
      const url = new URL(endpoint)
      url.searchParams.set('client_id', settings.clientId)
      url.searchParams.set('post_logout_redirect_uri', `${settings.publicOrigin}/`)
      return url.href
    },
  }
}

/** What the issuer says of itself, read by one request however many ask for it, and again after a while. */
function createMetadata(settings: OidcSettings, clock: Clock): () => Promise<client.ServerMetadata> {
  let kept: Promise<Metadata> | null = null
  return async function now(): Promise<client.ServerMetadata> {
    const asked = (kept ??= discover(settings).then((value) => ({ value, readAtMs: clock.monotonic() })))
    let isFresh = false
    try {
      const { value, readAtMs } = await asked
      isFresh = clock.monotonic() - readAtMs < metadataAgeMsMax
      if (isFresh) return value
    } finally {
      if (!isFresh && kept === asked) kept = null
    }
    return now()
  }
}

const redirectUriOf = ({ publicOrigin }: OidcSettings): string => publicOrigin + callbackPath

function loginUrl(
  { authorization_endpoint: endpoint = '' }: client.ServerMetadata,
  settings: OidcSettings,
  { state, nonce, challenge }: Omit<PendingLogin, 'verifier'> & { readonly challenge: string },
): string {
  const url = new URL(endpoint)
  const asked = {
    response_type: 'code',
    client_id: settings.clientId,
    redirect_uri: redirectUriOf(settings),
    scope: settings.scopes,
    state,
    nonce,
    code_challenge: challenge,
    code_challenge_method: 'S256',
  }
  for (const [name, value] of Object.entries(asked)) url.searchParams.set(name, value)
  return url.href
}

async function redeem(
  metadata: () => Promise<client.ServerMetadata>,
  settings: OidcSettings,
  parts: OidcParts,
  { search, pending }: { readonly search: URLSearchParams; readonly pending: PendingLogin },
): Promise<OidcIdentity> {
  const address = new URL(redirectUriOf(settings))
  address.search = search.toString()
  // A configuration of its own for each login has no keys of before: those that were rotated are found at once.
  const config = configOf(await metadata(), settings, await parts.secret(settings.clientSecret))
  const tokens = await client.authorizationCodeGrant(config, address, {
    expectedState: pending.state,
    expectedNonce: pending.nonce,
    pkceCodeVerifier: pending.verifier,
    idTokenExpected: true,
  })
  return identityOf(tokens.claims(), settings.claim)
}

/** Reads where the issuer has what. @throws FleetError `identity_unavailable` */
async function discover(settings: OidcSettings): Promise<client.ServerMetadata> {
  const { issuer, clientId } = settings
  let found: client.ServerMetadata
  try {
    const config = await client.discovery(issuer, clientId, undefined, client.None(), {
      [client.customFetch]: boundedFetch,
      timeout: answerSecondsMax,
      ...(issuer.protocol === 'http:' ? { execute: [client.allowInsecureRequests] } : {}),
    })
    found = config.serverMetadata()
  } catch (error) {
    // Whatever it is, it is none of the browser's doing.
    const told = issuerError(error)
    throw isFleetError(told, 'identity_unavailable') ? told : unavailable('its metadata is not valid')
  }
  const { authorization_endpoint: login, token_endpoint: token, jwks_uri: keys } = found
  for (const [name, text] of [
    ['authorization_endpoint', login],
    ['token_endpoint', token],
    ['jwks_uri', keys],
    ...(found.end_session_endpoint === undefined
      ? []
      : [['end_session_endpoint', found.end_session_endpoint] as const]),
  ] as const) {
    const url = typeof text === 'string' ? URL.parse(text) : null
    if (url === null || !isPrivate(url)) throw unavailable(`its metadata has no ${name} that can be used`)
  }
  return found
}

function configOf(
  metadata: client.ServerMetadata,
  { issuer, clientId, skewMs }: OidcSettings,
  secret: string,
): client.Configuration {
  const methods = metadata.token_endpoint_auth_methods_supported
  // What an issuer that names no methods takes is fixed by the standard.
  const isBasic = methods === undefined || methods.includes('client_secret_basic')
  const auth = isBasic ? client.ClientSecretBasic(secret) : client.ClientSecretPost(secret)
  const config = new client.Configuration(
    metadata,
    clientId,
    { [client.clockTolerance]: Math.ceil(skewMs / 1000) },
    auth,
  )
  config.timeout = answerSecondsMax
  config[client.customFetch] = boundedFetch
  if (issuer.protocol === 'http:') client.allowInsecureRequests(config)
  // The signature counts, and not only the connection that the token came by.
  client.enableNonRepudiationChecks(config)
  return config
}

/** An answer within its bounds; the signal of the caller ends the body as well. */
const boundedFetch: client.CustomFetch = async (url, { body, headers, method, redirect, signal }) => {
  const response = await fetch(url, {
    method,
    headers,
    redirect,
    ...(signal === undefined ? {} : { signal }),
    ...(typeof body === 'string' || body instanceof URLSearchParams ? { body } : {}),
  })
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length
    if (bytes > answerBytesMax) throw unavailable(`its answer has more than ${String(answerBytesMax)} bytes`)
    chunks.push(chunk)
  }
  const { status } = response
  const hasBody = status >= 200 && status !== 204 && status !== 205 && status !== 304
  return new Response(hasBody ? Buffer.concat(chunks) : null, { status, headers: response.headers })
}

/** @throws FleetError `sign_in_failed` for a token that names nobody */
function identityOf(claims: client.IDToken | undefined, claim: string): OidcIdentity {
  const subject = claims?.sub ?? ''
  if (claims === undefined || subject === '' || subject.length > subjectCharsMax)
    throw failed('the identity token names nobody')
  const names = [claims['preferred_username'], claims['email'], claims['name']]
  const name = names.find((text): text is string => typeof text === 'string' && text !== '')
  return { subject, name: name?.slice(0, nameCharsMax) ?? null, values: valuesOf(claims, claim) }
}

function valuesOf(claims: client.IDToken, claim: string): readonly string[] | null {
  const found = Object.hasOwn(claims, claim) ? claims[claim] : within(claims, claim.split('.'))
  if (typeof found === 'string') return [found]
  if (!Array.isArray(found)) return null
  return found.filter((one): one is string => typeof one === 'string').slice(0, valuesMax)
}

function within(value: unknown, [name, ...rest]: readonly string[]): unknown {
  if (name === undefined) return value
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return within((value as Readonly<Record<string, unknown>>)[name], rest)
}
