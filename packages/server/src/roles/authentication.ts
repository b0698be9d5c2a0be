// Who is let in, by the settings of a process.
import { readFileSync } from 'node:fs'
import { FleetError, type Clock } from '@fleetshard/core'
import { flagOf, type Config, type Logger } from '../runtime/mod.ts'
import {
  createAuthenticator,
  createJwtVerifier,
  type Authenticator,
  type KnownTokens,
} from '../security/mod.ts'
import { isLoopback } from './loopback.ts'

/** Shorter ones could be guessed. */
const adminTokenCharsMin = 32

/** @throws FleetError `invalid_config` for files that cannot be used, and settings that do not go together */
export function authenticatorOf(parts: {
  readonly config: Config
  readonly clock: Clock
  readonly log: Logger
  readonly tokens: () => KnownTokens
}): Authenticator {
  const { config, clock, log, tokens } = parts
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
    failuresPerMinute: config.get('auth.failures-per-minute'),
    requestsPerSecond: config.get('http.requests-per-second'),
  })
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
