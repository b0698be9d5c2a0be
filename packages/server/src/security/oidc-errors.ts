// What may be told of an issuer that fails, and of a login that it does not vouch for: what is wrong, and none of the
// codes, tokens and secrets that the library's errors carry.
import { FleetError } from '@fleetshard/core'
import * as client from 'openid-client'

/** How long the issuer may take for one answer. */
export const answerSecondsMax = 5
/** Largest answer. */
export const answerBytesMax = 256 * 1024

/** The library's errors hold tokens and codes in their causes: only what they are called is taken from them. */
export function issuerError(error: unknown): FleetError {
  if (error instanceof FleetError) return error
  if (error instanceof client.AuthorizationResponseError)
    return failed(`the issuer says ${wordOf(error.error)}`)
  if (error instanceof client.WWWAuthenticateChallengeError) return unknownClient()
  if (error instanceof client.ResponseBodyError) return ofTokenEndpoint(error.error)
  if (!(error instanceof client.ClientError)) return unavailable('it cannot be reached')
  const cause = causeOf(error)
  return cause instanceof FleetError ? cause : ofAnswer(error.code ?? '', cause)
}

function ofAnswer(code: string, cause: unknown): FleetError {
  switch (code) {
    case 'OAUTH_TIMEOUT':
    case 'OAUTH_ABORT':
      return unavailable(`it did not answer within ${String(answerSecondsMax)} s`)
    case 'OAUTH_RESPONSE_IS_NOT_CONFORM':
      return unavailable('it answers with an unexpected status')
    case 'OAUTH_RESPONSE_IS_NOT_JSON':
    case 'OAUTH_PARSE_ERROR':
      return unavailable('its answer is not what it should be')
    case 'OAUTH_JWT_CLAIM_COMPARISON_FAILED':
    case 'OAUTH_JWT_TIMESTAMP_CHECK_FAILED':
      return failed(`the claim ${claimOf(cause)} of the identity token is not the right one`)
    case 'OAUTH_KEY_SELECTION_FAILED':
      return failed('the key of the identity token is none of the issuer')
    case 'OAUTH_UNSUPPORTED_OPERATION':
      return failed('the algorithm of the identity token is not accepted')
    default:
      return failed('what the issuer answers is not valid')
  }
}

function ofTokenEndpoint(code: string): FleetError {
  if (code === 'invalid_grant')
    return failed('the code was used already, has expired, or is of another login')
  if (code === 'invalid_client' || code === 'unauthorized_client') return unknownClient()
  return unavailable(`it answers ${wordOf(code)}`)
}

const unknownClient = (): FleetError =>
  unavailable(
    'it does not take our client id and secret: check auth.oidc-client-id and auth.oidc-client-secret',
  )

/** The codes of the standard are words; anything else is not repeated. */
const wordOf = (code: unknown): string =>
  typeof code === 'string' && /^[a-z_]{1,40}$/.test(code) ? code : 'something that is no code'

/** Of the library: its own error is wrapped once. */
const causeOf = ({ cause }: Error): unknown =>
  cause instanceof Error && cause.cause !== undefined ? cause.cause : cause

function claimOf(cause: unknown): string {
  const claim = typeof cause === 'object' && cause !== null && 'claim' in cause ? cause.claim : null
  return wordOf(claim)
}

/** A login that is no good. */
export const failed = (why: string): FleetError =>
  new FleetError('sign_in_failed', `signing in failed: ${why}`)

/** An issuer that does not do its part. */
export const unavailable = (why: string): FleetError =>
  new FleetError('identity_unavailable', `the issuer cannot be asked who signs in: ${why}`)
