// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the client's side (RFC 5802, RFC 7677, RFC 5929 for the channel binding).
// Pure: the nonce comes in, texts go out. The server's proof is checked too; without it no login counts.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { FleetError } from '@fleetshard/core'
import { scramKeys, type ClientKeys } from './scram-keys.ts'
import type { ScramKeys } from './scram-server.ts'
import { protocolViolation } from './violation.ts'

/** More rounds than this are refused: a false server could keep the client busy for hours. */
export const scramIterationsMax = 1_000_000
/** Mechanisms that this client speaks. */
export const scramMechanism = { plain: 'SCRAM-SHA-256', plus: 'SCRAM-SHA-256-PLUS' } as const

/** What the exchange begins with. */
export interface ScramOptions {
  /** The password, or the keys that one exchange with its owner has shown. */
  readonly password: string | ScramKeys
  /** Random printable text without commas, at least 18 bytes of entropy. */
  readonly nonce: string
  /** `tls-server-end-point` data for PLUS; null for the plain mechanism. */
  readonly channelBinding: Uint8Array | null
}

/** One login: `first`, then `answer` to the server's challenge, then `verify` its last word, in that order. */
export class ScramClient {
  readonly #options: ScramOptions
  readonly #header: string
  #serverSignature: Buffer | null = null

  constructor(options: ScramOptions) {
    this.#options = options
    this.#header = options.channelBinding === null ? 'n,,' : 'p=tls-server-end-point,,'
  }

  get mechanism(): string {
    return this.#options.channelBinding === null ? scramMechanism.plain : scramMechanism.plus
  }

  /** client-first-message. The user is left empty: Postgres takes that of the startup message. */
  first(): string {
    return `${this.#header}${this.#firstBare()}`
  }

  /** client-final-message. @throws FleetError `protocol_violation` */
  async answer(challenge: string): Promise<string> {
    const { nonce, salt, iterations } = parseChallenge(challenge)
    if (!nonce.startsWith(this.#options.nonce) || nonce.length === this.#options.nonce.length) {
      throw protocolViolation('the SCRAM challenge has a foreign nonce')
    }
    const binding = Buffer.concat([
      Buffer.from(this.#header),
      this.#options.channelBinding ?? Buffer.alloc(0),
    ])
    const withoutProof = `c=${binding.toString('base64')},r=${nonce}`
    const message = `${this.#firstBare()},${challenge},${withoutProof}`
    const { clientKey, serverKey } = await keysOf(this.#options.password, salt, iterations)
    const signature = hmac(createHash('sha256').update(clientKey).digest(), message)
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] as number)))
    this.#serverSignature = hmac(serverKey, message)
    return `${withoutProof},p=${proof.toString('base64')}`
  }

  /** True when the server has proved that it knows the password too. @throws FleetError `protocol_violation` */
  verify(final: string): boolean {
    const expected = this.#serverSignature
    const encoded = /^v=([A-Za-z0-9+/]+={0,2})(?:,|$)/.exec(final)?.[1]
    if (expected === null || encoded === undefined)
      throw protocolViolation('the SCRAM exchange is out of step')
    const given = Buffer.from(encoded, 'base64')
    return given.length === expected.length && timingSafeEqual(given, expected)
  }

  #firstBare(): string {
    return `n=,r=${this.#options.nonce}`
  }
}

/** @throws FleetError `login_refused` for keys that were made with another salt */
async function keysOf(password: string | ScramKeys, salt: Buffer, iterations: number): Promise<ClientKeys> {
  if (typeof password !== 'string') {
    if (password.iterations === iterations && password.salt.equals(salt)) return password
    throw new FleetError('login_refused', 'this server has another SCRAM secret for the user', {
      hint: 'give the role the same secret on every shard (copy its rolpassword, not the password), and log in again',
      sqlstate: '28000',
    })
  }
  return scramKeys(password, salt, iterations)
}

function parseChallenge(challenge: string): { nonce: string; salt: Buffer; iterations: number } {
  const match =
    /^r=([\x21-\x2b\x2d-\x7e]{1,1024}),s=([A-Za-z0-9+/]{1,1024}={0,2}),i=([1-9]\d{0,8})(?:,|$)/.exec(
      challenge,
    )
  const [nonce, salt, rounds] = [match?.[1], match?.[2], match?.[3]]
  if (nonce === undefined || salt === undefined || rounds === undefined) {
    throw protocolViolation('the SCRAM challenge cannot be read')
  }
  const iterations = Number(rounds)
  if (iterations > scramIterationsMax) throw protocolViolation(`the server asks for ${rounds} SCRAM rounds`)
  return { nonce, salt: Buffer.from(salt, 'base64'), iterations }
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

// Signature algorithms by the DER bytes of their object identifier, and the hash that RFC 5929 takes for them
// (SHA-256 in place of MD5 and SHA-1).
const signatureHashes: Readonly<Record<string, string>> = {
  '2a864886f70d010104': 'sha256',
  '2a864886f70d010105': 'sha256',
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a8648ce3d0401': 'sha256',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
}

/**
 * The `tls-server-end-point` binding of a certificate in DER; null for signatures that name no single hash
 * (RSA-PSS, Ed25519): the plain mechanism is used then, as libpq does.
 */
export function serverEndPoint(certificate: Uint8Array): Buffer | null {
  // Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { algorithm OID, … }, … }
  const outer = element(certificate, 0)
  const signed = outer === null ? null : element(certificate, outer.start)
  const algorithm = signed === null ? null : element(certificate, signed.end)
  const oid = algorithm === null ? null : element(certificate, algorithm.start)
  if (oid === null || certificate[algorithm?.start ?? 0] !== 0x06) return null
  const hash = signatureHashes[Buffer.from(certificate.subarray(oid.start, oid.end)).toString('hex')]
  return hash === undefined ? null : createHash(hash).update(certificate).digest()
}

/** Content of the DER element at `at`; null when it does not fit. */
function element(der: Uint8Array, at: number): { start: number; end: number } | null {
  const first = der[at + 1]
  if (first === undefined) return null
  const sizeBytes = first < 0x80 ? 0 : first & 0x7f
  if (sizeBytes > 4) return null
  let length = sizeBytes === 0 ? first : 0
  for (let index = 0; index < sizeBytes; index += 1) length = length * 256 + (der[at + 2 + index] ?? 0)
  const start = at + 2 + sizeBytes
  return start + length <= der.length ? { start, end: start + length } : null
}
