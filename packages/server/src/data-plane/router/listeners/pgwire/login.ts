// The login of one client: asks for what its user must prove, and ends with the user's keys or a refusal.
import { FleetError, isFleetError, isLocalHost, type Principal } from '@fleetshard/core'
import {
  ScramServer,
  scramMechanism,
  unknownUserVerifier,
  writeAuthenticationCleartext,
  writeAuthenticationOk,
  writeAuthenticationSasl,
  writeAuthenticationSaslText,
  type ScramKeys,
} from '@fleetshard/routing/pgwire'
import type { Authenticator, RateLimit } from '../../../../security/mod.ts'
import type { AttemptLimit } from './attempt-limit.ts'
import type { ClientOutput } from './output.ts'
import type { WireUsers } from './users.ts'

/** Who has logged in. `keys` are null where nothing had to be proved. */
export interface LoggedIn {
  readonly user: string
  readonly keys: ScramKeys | null
  /** Of a token that was sent as password; null for users of the databases, whose rights the databases know. */
  readonly principal: Principal | null
}

/** Whoever logs in by this name sends a token as password, of FleetShard or of an issuer. */
export const tokenUser = 'token'

/** What a login needs beside the client. */
export interface LoginParts {
  readonly users: WireUsers
  readonly authenticator: Pick<Authenticator, 'verify'>
  /** Of this process: users who do not exist are asked as all others are. */
  readonly unknownSeed: Buffer
  readonly random: (bytes: number) => Buffer
  /** Of a user from an address. */
  readonly failures: AttemptLimit
  /** Of an address, whoever it tries to be. */
  readonly failuresOfAddress: RateLimit
}

/** The messages of a client while it logs in. */
export interface LoginMessages {
  /** The body of the next message of type `p`. @throws FleetError when the client goes, or says something else */
  next(): Promise<Buffer>
}

const nonceBytes = 24

/**
 * Carries out the login.
 * @throws FleetError `login_refused`, `protocol_violation`, and what finding the user out fails with
 */
export async function logIn(
  parts: LoginParts,
  claim: {
    readonly user: string
    readonly host: string
    readonly keyspace: string
    readonly signal: AbortSignal
    readonly address: string
    readonly isEncrypted: boolean
  },
  client: { readonly output: ClientOutput; readonly messages: LoginMessages },
): Promise<LoggedIn> {
  const { user, host, keyspace, signal } = claim
  if (user === tokenUser) return logInByToken(parts, claim, client)
  // Before a shard is asked for the user.
  parts.failuresOfAddress.check(host)
  const demand = await parts.users.demand(user, keyspace, signal)
  if (demand.kind === 'trust') {
    writeAuthenticationOk(client.output.writer)
    return { user, keys: null, principal: null }
  }
  const verifier = demand.kind === 'scram' ? demand.verifier : unknownUserVerifier(parts.unknownSeed, user)
  const keys = await proveOnce(parts, `${host} ${user}`, () =>
    proveByScram(new ScramServer(verifier, parts.random(nonceBytes).toString('base64')), client),
  )
  if (keys === null) {
    parts.failuresOfAddress.count(host)
    throw refused(user)
  }
  writeAuthenticationOk(client.output.writer)
  return { user, keys, principal: null }
}

/** The token comes as it is: over TLS, or from this machine. */
async function logInByToken(
  { authenticator }: LoginParts,
  { user, address, isEncrypted }: Parameters<typeof logIn>[1],
  { output, messages }: Parameters<typeof logIn>[2],
): Promise<LoggedIn> {
  if (!isEncrypted && !isLocalHost(address)) {
    throw new FleetError('login_refused', 'a token is taken over TLS only', {
      hint: 'connect with sslmode=require',
    })
  }
  writeAuthenticationCleartext(output.writer)
  const body = await messages.next()
  const token = body.toString('utf8', 0, body.at(-1) === 0 ? body.length - 1 : body.length)
  try {
    const principal = await authenticator.verify(token, address)
    writeAuthenticationOk(output.writer)
    return { user, keys: null, principal }
  } catch (error) {
    throw isFleetError(error, 'unauthenticated') ? refused(user) : error
  }
}

/** An attempt is taken before it is known to be wrong, so that many at a time are no way around. */
async function proveOnce(
  { failures }: LoginParts,
  who: string,
  prove: () => Promise<ScramKeys | null>,
): Promise<ScramKeys | null> {
  if (!failures.take(who)) {
    throw new FleetError('overloaded', 'too many failed logins as this user from this address', {
      hint: 'wait some seconds, then use the right password',
    })
  }
  let isWrong = false
  try {
    const keys = await prove()
    isWrong = keys === null
    return keys
  } finally {
    if (isWrong) failures.wrong += 1
    else failures.giveBack(who)
  }
}

async function proveByScram(
  exchange: ScramServer,
  { output, messages }: { readonly output: ClientOutput; readonly messages: LoginMessages },
): Promise<ScramKeys | null> {
  writeAuthenticationSasl(output.writer, [scramMechanism.plain])
  const challenge = exchange.challenge(initialResponse(await messages.next()))
  if (challenge === null) throw malformed('the first message of the SCRAM exchange cannot be read')
  writeAuthenticationSaslText(output.writer, 'continue', challenge)
  const outcome = exchange.finish((await messages.next()).toString('utf8'))
  if (outcome.kind === 'malformed') throw malformed(outcome.reason)
  if (outcome.kind === 'refused') return null
  writeAuthenticationSaslText(output.writer, 'final', outcome.final)
  return outcome.keys
}

/** SASLInitialResponse: the mechanism, then the client's first message with its length. */
function initialResponse(body: Buffer): string {
  const zero = body.indexOf(0)
  if (zero < 0 || body.length < zero + 5) throw malformed('the login message cannot be read')
  const mechanism = body.toString('latin1', 0, zero)
  if (mechanism !== scramMechanism.plain) {
    throw malformed(`the login method ${JSON.stringify(mechanism.slice(0, 40))} was not offered`)
  }
  return body.toString('utf8', zero + 5)
}

const malformed = (reason: string): FleetError => new FleetError('protocol_violation', reason)

/** In the words of Postgres, so that clients ask for the password again. */
function refused(user: string): FleetError {
  return new FleetError('login_refused', `password authentication failed for user "${user}"`)
}
