// Who is let in, by the settings of a process.
import { readFileSync } from 'node:fs'
import { FleetError, type Clock } from '@fleetshard/core'
import { flagOf, type Config, type Logger } from '../runtime/mod.ts'
import {
  createAuthenticator,
  createJwtVerifier,
  createOidc,
  type Authenticator,
  type KnownTokens,
  type Oidc,
  type SecretResolver,
  type SessionCheck,
} from '../security/mod.ts'
import { isLoopback } from './loopback.ts'

/** Shorter ones could be guessed. */
const adminTokenCharsMin = 32
/** How long the secret of our client may take to be had. */
const secretMsMax = 5_000

/** @throws FleetError `invalid_config` for files that cannot be used, and settings that do not go together */
export function authenticatorOf(parts: {
  readonly config: Config
  readonly clock: Clock
  readonly log: Logger
  readonly tokens: () => KnownTokens
  /** Null, or left out, where nobody signs in with a browser. */
  readonly sessions?: SessionCheck | null
}): Authenticator {
  const { config, clock, log, tokens, sessions = null } = parts
  const adminToken = adminTokenOf(config)
  const jwt = createJwtVerifier(
    {
      secretFile: config.get('auth.jwt-secret-file'),
      jwksUrl: config.get('auth.jwks-url'),
      jwksFile: config.get('auth.jwks-file'),
      issuer: config.get('auth.jwt-issuer'),
      audience: config.get('auth.jwt-audience'),
      skewMs: config.get('auth.jwt-skew-ms'),
      claim: config.get('auth.jwt-claim'),
    },
    clock,
  )
  const isRequired = config.get('auth') === 'required'
  if (isRequired && adminToken === null && jwt === null) {
    log.warn(
      `only tokens that the catalog has already are let in; for the first one give ${flagOf('auth.admin-token-file')}`,
    )
  }
  return createAuthenticator({
    clock,
    isRequired,
    onlyOwnHost: isLoopback(config.get('bind-host')) && !config.get('insecure'),
    adminToken,
    tokens,
    jwt,
    sessions,
    failuresPerMinute: config.get('auth.failures-per-minute'),
    requestsPerSecond: config.get('http.requests-per-second'),
  })
}

/**
 * Where people sign in with a browser; null where they do not.
 * @throws FleetError `invalid_config` for settings that do not go together
 */
export function oidcOf(parts: {
  readonly config: Config
  readonly clock: Clock
  readonly secrets: SecretResolver
}): Oidc | null {
  const { config, clock, secrets } = parts
  const role = config.get('auth.oidc-default-role')
  return createOidc(
    {
      issuer: config.get('auth.oidc-issuer'),
      clientId: config.get('auth.oidc-client-id'),
      clientSecret: config.get('auth.oidc-client-secret'),
      publicUrl: config.get('auth.oidc-public-url'),
      scopes: config.get('auth.oidc-scopes'),
      claim: config.get('auth.oidc-claim'),
      roles: config.get('auth.oidc-roles'),
      defaultRole: role === 'none' ? null : role,
      skewMs: config.get('auth.jwt-skew-ms'),
    },
    {
      clock,
      secret: async (secretRef) => {
        const secret = await secrets.resolve(secretRef, AbortSignal.timeout(secretMsMax))
        if (secret !== null) return secret
        throw new FleetError('secret_unavailable', 'the client of the issuer has no secret')
      },
    },
  )
}

function adminTokenOf(config: Config): string | null {
  const path = config.get('auth.admin-token-file')
  if (path === null) return null
  const token = readToken(path)
  if (token.length >= adminTokenCharsMin && !/\s/.test(token)) return token
  throw new FleetError(
    'invalid_config',
    `${path} does not hold a token of ${String(adminTokenCharsMin)} characters or more`,
    {
      hint: 'make one: openssl rand -hex 32',
    },
  )
}

function readToken(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (cause) {
    throw new FleetError('invalid_config', `the token file ${path} cannot be read`, {
      hint: 'check the path and the rights of the file',
      cause,
    })
  }
}
