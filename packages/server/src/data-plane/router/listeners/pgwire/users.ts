// Which users of the databases may log in over the Postgres wire protocol, and how that is proved. Who sends a token as
// password is found out in login.ts.
import { FleetError } from '@fleetshard/core'
import { parseScramVerifier, type ScramVerifier } from '@fleetshard/routing/pgwire'

/** What must be proved by a client that claims to be a user. */
export type LoginDemand =
  /** Whoever connects is let in, as the user of the node records. */
  | { readonly kind: 'trust' }
  | { readonly kind: 'scram'; readonly verifier: ScramVerifier }
  /** There is no such user, or none who may log in; the client must not learn which. */
  | { readonly kind: 'unknown' }

/** Where users come from. */
export interface WireUsers {
  /** @throws FleetError when it can't be found out now */
  demand(user: string, keyspace: string, signal: AbortSignal): Promise<LoginDemand>
}

/** Everybody, without a password: for routers that only their own machine reaches. */
export const trustEverybody: WireUsers = { demand: () => Promise.resolve({ kind: 'trust' }) }

/** Reads a verifier as `pg_authid` has it. Null and anything but SCRAM lets nobody in. */
export function demandOf(verifier: string | null | undefined): LoginDemand {
  const parsed = typeof verifier === 'string' ? parseScramVerifier(verifier) : null
  return parsed === null ? { kind: 'unknown' } : { kind: 'scram', verifier: parsed }
}

const line = /^"((?:[^"]|"")+)"\s+"([^"]*)"$/

/**
 * Users of a file: lines of `"user" "SCRAM-SHA-256$…"`, as other poolers have them; `#` and `;` begin comments.
 * @throws FleetError `invalid_config` for a line that is neither, or holds a password instead of a verifier
 */
export function usersOfFile(text: string, path: string): WireUsers {
  const users = new Map<string, LoginDemand>()
  for (const [index, raw] of text.split('\n').entries()) {
    const trimmed = raw.trim()
    if (trimmed === '' || /^[#;]/.test(trimmed)) continue
    const [, user, verifier] = line.exec(trimmed) ?? []
    const demand = demandOf(verifier)
    if (user === undefined || demand.kind === 'unknown') throw badLine(path, index + 1)
    users.set(user.replaceAll('""', '"'), demand)
  }
  return { demand: (user) => Promise.resolve(users.get(user) ?? { kind: 'unknown' }) }
}

function badLine(path: string, number: number): FleetError {
  return new FleetError(
    'invalid_config',
    `line ${String(number)} of ${path} is not a user and a SCRAM-SHA-256 verifier`,
    { hint: `write "user" "SCRAM-SHA-256$…": the verifier is in pg_authid.rolpassword` },
  )
}
