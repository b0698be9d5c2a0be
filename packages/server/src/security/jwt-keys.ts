// Checks JSON web tokens: signatures by a shared secret (HS256) or by the keys of an issuer (RS, PS, ES, EdDSA), with
// issuer, audience and expiry. Which keys a token may be checked with follows from its algorithm, so that a public key
// never serves as a shared secret, and `none` is nobody's algorithm.
import { FleetError, rightsOf, type Clock, type Principal } from '@fleetshard/core'
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeProtectedHeader,
  errors,
  jwtVerify,
  type JSONWebKeySet,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
} from 'jose'
import { readFile } from 'node:fs/promises'
import type { JwtOptions, JwtVerifier, VerifiedJwt } from './jwt.ts'
import { secretFileBytesMax } from './secrets.ts'

/** A file of keys is read again after that, and at once for a key that is not in it. */
const keysAgeMsMax = 30_000
/** Not more often than that, whatever keys are asked for. */
const rereadMsMin = 1_000
/** How long the issuer may take to answer. */
const fetchMsMax = 5_000
/** HS256 is as strong as its secret: shorter ones than its hash are refused. */
export const sharedSecretBytesMin = 32

const asymmetric = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']

/** For options that were checked. */
export function openVerifier(options: JwtOptions, clock: Clock): JwtVerifier {
  const { secretFile, jwksUrl, jwksFile } = options
  const shared = secretFile === null ? null : sharedSecret(secretFile, clock)
  const issuers =
    jwksUrl !== null ? remoteKeys(jwksUrl) : jwksFile === null ? null : fileKeys(jwksFile, clock)
  return { verify: (token) => verify(token, { options, clock, shared, issuers }) }
}

interface Keys {
  readonly options: JwtOptions
  readonly clock: Clock
  readonly shared: JWTVerifyGetKey | null
  readonly issuers: JWTVerifyGetKey | null
}

async function verify(token: string, keys: Keys): Promise<VerifiedJwt> {
  const { options, clock } = keys
  const isShared = algorithmOf(token) === 'HS256'
  const key = isShared ? keys.shared : keys.issuers
  if (key === null) throw refused('its algorithm is not accepted')
  const wanted: JWTVerifyOptions = {
    algorithms: isShared ? ['HS256'] : asymmetric,
    audience: options.audience,
    ...(options.issuer === null ? {} : { issuer: options.issuer }),
    clockTolerance: options.skewMs / 1000,
    currentDate: new Date(clock.now()),
    requiredClaims: ['exp', 'sub'],
  }
  try {
    const { payload } = await jwtVerify(token, key, wanted)
    return verified(payload, options)
  } catch (error) {
    throw errorOf(error)
  }
}

function verified(payload: JWTPayload, { claim, skewMs }: JwtOptions): VerifiedJwt {
  const { sub, exp } = payload
  if (typeof sub !== 'string' || sub === '' || exp === undefined) throw refused('it names nobody')
  const principal: Principal = { subject: sub, kind: 'jwt', ...rightsOf(scopesOf(payload[claim])) }
  return { principal, expiresAtMs: exp * 1000 + skewMs }
}

function scopesOf(claim: unknown): readonly string[] {
  if (typeof claim === 'string') return claim.split(' ')
  return Array.isArray(claim) ? claim.filter((one): one is string => typeof one === 'string') : []
}

function algorithmOf(token: string): string | undefined {
  try {
    return decodeProtectedHeader(token).alg
  } catch {
    throw refused('it has the form of no token')
  }
}

/** What the library says of a token tells its sender nothing that he may not know; of keys it tells the operator. */
function errorOf(error: unknown): FleetError {
  if (error instanceof FleetError) return error
  if (error instanceof errors.JWTExpired) return refused('it has expired')
  if (error instanceof errors.JWTClaimValidationFailed)
    return refused(`its claim ${error.claim} is not the right one`)
  if (error instanceof errors.JWKSNoMatchingKey) return refused('its key is not known')
  if (error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid)
    return keysUnavailable(error)
  if (error instanceof errors.JOSEAlgNotAllowed) return refused('its algorithm is not accepted')
  // The remote set tells of answers other than 200 by the plain error.
  if (error instanceof errors.JOSEError && error.code === 'ERR_JOSE_GENERIC') return keysUnavailable(error)
  if (error instanceof errors.JOSEError) return refused('its signature is not valid')
  return keysUnavailable(error)
}

const refused = (why: string): FleetError =>
  new FleetError('unauthenticated', `the token is not valid: ${why}`, {
    hint: 'get a new one from its issuer',
  })

const keysUnavailable = (cause: unknown): FleetError =>
  new FleetError('identity_unavailable', 'the keys of the issuer cannot be had at the moment', { cause })

function remoteKeys(url: string): JWTVerifyGetKey {
  return createRemoteJWKSet(new URL(url), {
    timeoutDuration: fetchMsMax,
    cooldownDuration: rereadMsMin,
    cacheMaxAge: keysAgeMsMax,
  })
}

/** Something read from a file and kept for a while. */
interface FromFile<T> {
  /** @param isMissing what was read lacks something: it is read again, unless that was done just now */
  get(isMissing?: boolean): Promise<T>
}

function fromFile<T>(path: string, clock: Clock, parse: (bytes: Buffer) => T): FromFile<T> {
  let kept: { readonly value: Promise<T>; readonly atMs: number } | null = null
  return {
    get(isMissing = false) {
      const nowMs = clock.monotonic()
      const ageMsMax = isMissing ? rereadMsMin : keysAgeMsMax
      if (kept !== null && nowMs - kept.atMs < ageMsMax) return kept.value
      const value = readBounded(path).then(parse)
      kept = { value, atMs: nowMs }
      value.catch(() => (kept = null))
      return value
    },
  }
}

async function readBounded(path: string): Promise<Buffer> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new FleetError('identity_unavailable', `the file ${path} cannot be read`, { cause })
  })
  if (bytes.length <= secretFileBytesMax) return bytes
  throw new FleetError('identity_unavailable', `the file ${path} is too large to hold keys`)
}

function sharedSecret(path: string, clock: Clock): JWTVerifyGetKey {
  const file = fromFile(path, clock, (bytes) => {
    const secret = Buffer.from(bytes.toString('utf8').replace(/\r?\n$/, ''))
    if (secret.length >= sharedSecretBytesMin) return new Uint8Array(secret)
    throw new FleetError('identity_unavailable', `the secret in ${path} is too short`, {
      hint: `it takes ${String(sharedSecretBytesMin)} bytes: openssl rand -hex 32`,
    })
  })
  return () => file.get()
}

function fileKeys(path: string, clock: Clock): JWTVerifyGetKey {
  const file = fromFile(path, clock, (bytes) =>
    createLocalJWKSet(JSON.parse(bytes.toString('utf8')) as JSONWebKeySet),
  )
  return async (header, token) => {
    try {
      return await (
        await file.get()
      )(header, token)
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
      return (await file.get(true))(header, token)
    }
  }
}
