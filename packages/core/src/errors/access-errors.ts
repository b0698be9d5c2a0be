// The part of the error catalogue about who asks, and what he may do.
import type { ErrorSpec } from './error-spec.ts'

/** Part of `ERRORS`. */
export const ACCESS_ERRORS = {
  unauthenticated: {
    status: 401,
    sqlstate: '28000',
    retryable: false,
    title: 'The caller is not known',
    cause:
      'The request has no token, or one that is not valid: forged, expired, revoked, or for somebody else.',
    remedy: 'Send a valid token as `authorization: Bearer <token>`; the command line takes FLEETSHARD_TOKEN.',
  },
  forbidden: {
    status: 403,
    sqlstate: '42501',
    retryable: false,
    title: 'The caller may not do that',
    cause: 'The token is valid, and its role or its grants do not include what was asked for.',
    remedy: 'Use a token with the scope that the message names; docs/reference/permissions.md has them all.',
  },
  rate_limited: {
    status: 429,
    sqlstate: '53400',
    retryable: true,
    title: 'Too many requests, or too many failed logins',
    cause: 'One caller sent more requests than the limit, or one address failed to log in too often.',
    remedy: 'Try again after retry-after; raise http.requests-per-second or auth.failures-per-minute.',
  },
  identity_unavailable: {
    status: 503,
    sqlstate: '57P03',
    retryable: true,
    title: 'It cannot be found out now who the caller is',
    cause:
      'The keys that tokens are checked with cannot be read, or the issuer of tokens and identities does not answer.',
    remedy:
      'Check auth.jwks-url, auth.jwks-file or auth.oidc-issuer; tokens of FleetShard itself, and sessions, go on working.',
  },
  sign_in_failed: {
    status: 401,
    sqlstate: '28000',
    retryable: false,
    title: 'Signing in with a browser did not succeed',
    cause:
      'The login was not begun in this browser, took too long or is finished already; or the issuer refused it, or told something that is not valid.',
    remedy: 'Sign in again, at /auth/login; the message says what did not fit.',
  },
  audit_unavailable: {
    status: 503,
    sqlstate: '57P03',
    retryable: true,
    title: 'The audit log cannot be written',
    cause: 'Nothing is changed without a record of it, and the record could not be stored.',
    remedy:
      'Try again; the message says whether anything was changed. fleetshard audit verify tells of damage.',
  },
  login_refused: {
    status: 401,
    sqlstate: '28P01',
    retryable: false,
    title: 'The login failed',
    cause: 'The user does not exist, may not log in, or the password is another one.',
    remedy: 'Check user and password; roles and their SCRAM secrets must be the same on every shard.',
  },
} as const satisfies Record<string, ErrorSpec>
