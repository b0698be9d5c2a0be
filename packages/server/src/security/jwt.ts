// Which JSON web tokens are accepted: the settings, checked when a process starts. What checks the tokens themselves is
// loaded with the first of them, since most processes never see one.
import { FleetError, isLocalHost, type Clock, type Principal } from '@fleetshard/core'

/** Whose tokens are accepted. */
export interface JwtOptions {
  readonly secretFile: string | null
  readonly jwksUrl: string | null
  readonly jwksFile: string | null
  /** `iss` must be this; null where HS256 alone is used, whose secret says who made the token. */
  readonly issuer: string | null
  /** `aud` must have this. */
  readonly audience: string
  readonly skewMs: number
  /** The claim with the scopes: a list, or a text with blanks between. */
  readonly claim: string
}

/** A token that is valid. */
export interface VerifiedJwt {
  readonly principal: Principal
  /** Wall time, milliseconds, skew included. */
  readonly expiresAtMs: number
}

/** Checks tokens. */
export interface JwtVerifier {
  /** @throws FleetError `unauthenticated`, `identity_unavailable` */
  verify(token: string): Promise<VerifiedJwt>
}

/** Null where no key is configured. @throws FleetError `invalid_config` for settings that do not go together */
export function createJwtVerifier(options: JwtOptions, clock: Clock): JwtVerifier | null {
  const { secretFile, jwksUrl, jwksFile, issuer } = options
  if (jwksUrl !== null && jwksFile !== null) {
    throw new FleetError('invalid_config', 'both auth.jwks-url and auth.jwks-file are given', {
      hint: 'give one of them',
    })
  }
  if (jwksUrl !== null && !isPrivate(new URL(jwksUrl))) {
    throw new FleetError(
      'invalid_config',
      'auth.jwks-url is not https: whoever is between could send keys of his own',
      {
        hint: 'use https, or auth.jwks-file',
      },
    )
  }
  const hasIssuerKeys = jwksUrl !== null || jwksFile !== null
  if (hasIssuerKeys && issuer === null) {
    throw new FleetError('invalid_config', 'tokens of an issuer are accepted, but not said of which', {
      hint: 'give auth.jwt-issuer: the `iss` of its tokens',
    })
  }
  if (secretFile === null && !hasIssuerKeys) return null
  let opened: Promise<JwtVerifier> | null = null
  const open = async (): Promise<JwtVerifier> => (await import('./jwt-keys.ts')).openVerifier(options, clock)
  return {
    async verify(token) {
      opened ??= open()
      return (await opened).verify(token)
    },
  }
}

/** True for what nobody between can read: https, or http on this machine. */
export const isPrivate = ({ protocol, hostname }: URL): boolean =>
  protocol === 'https:' || (protocol === 'http:' && isLocalHost(hostname.replaceAll(/[[\]]/g, '')))
