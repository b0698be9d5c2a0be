// Tells failures of TLS from those of the network: trying again mends the one and never the other.

/** Codes of Node and OpenSSL, as far as they say that one side does not take the certificate of the other. */
const codes = /CERT|SIGNATURE|ALTNAME|ISSUER|^ERR_(?:TLS|SSL)/

/** What is wrong with TLS, where that is why a connection failed; null for all other failures. */
export function certificateFault(error: unknown): string | null {
  // fetch wraps the failure; with several addresses Node tells of each.
  for (let one: unknown = error, depth = 0; one instanceof Error && depth < 4; depth += 1) {
    if ('code' in one && typeof one.code === 'string' && codes.test(one.code)) return one.message
    one = one instanceof AggregateError ? one.errors[0] : one.cause
  }
  return null
}

/** What to do about it. */
export const certificateHint =
  'check that tls.ca has the authority of the other side, that its certificate names this host, and that it takes ours'
