// SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677), against a verifier as Postgres stores it. Pure: nonces and
// salts come in, texts go out. From the proof of a client the key is recovered by which the same user can log in to
// a server that holds the same verifier, without anybody knowing the password.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { scramIterationsMax } from './scram.ts'

/** What `pg_authid.rolpassword` holds: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`. */
export interface ScramVerifier {
  readonly iterations: number
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

/** What a client of SCRAM needs in place of the password, for servers with that salt and number of rounds only. */
export interface ScramKeys {
  readonly iterations: number
  readonly salt: Buffer
  readonly clientKey: Buffer
  readonly serverKey: Buffer
}

/** How an exchange ended. */
export type ScramOutcome =
  | { readonly kind: 'ok'; readonly final: string; readonly keys: ScramKeys }
  /** Wrong password, or no such user. */
  | { readonly kind: 'refused' }
  /** Not the messages of SCRAM, or channel binding that was not offered. */
  | { readonly kind: 'malformed'; readonly reason: string }

const keyBytes = 32
const verifierForm =
  /^SCRAM-SHA-256\$([1-9]\d{0,8}):([A-Za-z0-9+/]+={0,2})\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)$/

/** Null for anything that is not such a verifier (md5, clear text). */
export function parseScramVerifier(text: string): ScramVerifier | null {
  const [, rounds = '', salt = '', stored = '', server = ''] = verifierForm.exec(text) ?? []
  const iterations = Number(rounds)
  if (salt === '' || iterations > scramIterationsMax) return null
  return {
    iterations,
    salt: Buffer.from(salt, 'base64'),
    storedKey: Buffer.from(stored, 'base64'),
    serverKey: Buffer.from(server, 'base64'),
  }
}

/**
 * A verifier that no password fits, so that a user who does not exist is asked as all others are. `seed` is a secret
 * of this process: the same name must get the same salt each time.
 */
export function unknownUserVerifier(seed: Uint8Array, user: string): ScramVerifier {
  const part = (what: string): Buffer => createHmac('sha256', seed).update(`${what}\0${user}`).digest()
  return {
    iterations: 4096,
    salt: part('salt').subarray(0, 16),
    storedKey: part('stored'),
    serverKey: part('server'),
  }
}

/** One login: `challenge` answers the client's first message, `finish` its last. */
export class ScramServer {
  readonly #verifier: ScramVerifier
  readonly #nonce: string
  #clientFirstBare = ''
  #serverFirst = ''
  #combinedNonce = ''
  #header = ''

  /** @param nonce random printable text without commas, at least 18 bytes of entropy */
  constructor(verifier: ScramVerifier, nonce: string) {
    this.#verifier = verifier
    this.#nonce = nonce
  }

  /** server-first-message; null when the client's message is not one of SCRAM without channel binding. */
  challenge(clientFirst: string): string | null {
    const match = /^([ny],,)(n=[^,]*,r=([\x21-\x2b\x2d-\x7e]{1,1024}))(?:,.*)?$/.exec(clientFirst)
    const [, header, bare, nonce] = match ?? []
    if (header === undefined || bare === undefined || nonce === undefined) return null
    this.#header = header
    this.#clientFirstBare = clientFirst.slice(header.length)
    this.#combinedNonce = nonce + this.#nonce
    const { salt, iterations } = this.#verifier
    this.#serverFirst = `r=${this.#combinedNonce},s=${salt.toString('base64')},i=${String(iterations)}`
    return this.#serverFirst
  }

  finish(clientFinal: string): ScramOutcome {
    const match = /^(c=([A-Za-z0-9+/]*={0,2}),r=([^,]*)(?:,[^,]*)*?),p=([A-Za-z0-9+/]{43}=)$/.exec(
      clientFinal,
    )
    const [, withoutProof, binding, nonce, encoded] = match ?? []
    if (withoutProof === undefined || binding === undefined || encoded === undefined)
      return { kind: 'malformed', reason: 'the last message of the SCRAM exchange cannot be read' }
    if (nonce !== this.#combinedNonce)
      return { kind: 'malformed', reason: 'the SCRAM nonce is a foreign one' }
    if (Buffer.from(binding, 'base64').toString('latin1') !== this.#header)
      return { kind: 'malformed', reason: 'the SCRAM channel binding does not fit' }
    return this.#verify(withoutProof, Buffer.from(encoded, 'base64'))
  }

  #verify(withoutProof: string, proof: Buffer): ScramOutcome {
    const { storedKey, serverKey, salt, iterations } = this.#verifier
    if (proof.length !== keyBytes) return { kind: 'malformed', reason: 'the SCRAM proof has another length' }
    const message = `${this.#clientFirstBare},${this.#serverFirst},${withoutProof}`
    const signature = createHmac('sha256', storedKey).update(message).digest()
    const clientKey = Buffer.from(proof.map((byte, index) => byte ^ (signature[index] as number)))
    const found = createHash('sha256').update(clientKey).digest()
    if (!timingSafeEqual(found, storedKey)) return { kind: 'refused' }
    const final = `v=${createHmac('sha256', serverKey).update(message).digest('base64')}`
    return { kind: 'ok', final, keys: { iterations, salt, clientKey, serverKey } }
  }
}
