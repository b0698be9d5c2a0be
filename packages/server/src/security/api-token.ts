// API tokens: random texts that are shown once. The catalog keeps their digests, so that whoever reads it cannot use
// them. Pure: no store, no time.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

const prefix = 'fst'
const idBytes = 8
const secretBytes = 32
const form = /^fst_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/

/** A token just made. */
export interface MadeToken {
  /** Public: it names the token in lists and in the audit log. */
  readonly id: string
  /** What its owner sends; not kept anywhere. */
  readonly token: string
  /** What is kept. */
  readonly digest: string
}

/** A new token with 256 bits of chance. */
export function makeToken(): MadeToken {
  const id = randomBytes(idBytes).toString('hex')
  const secret = randomBytes(secretBytes).toString('base64url')
  return { id, token: `${prefix}_${id}_${secret}`, digest: digestOf(secret) }
}

/** A slow hash is for passwords that people choose: nobody guesses 256 bits. */
function digestOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

/** A token taken apart; null for a text of another form. */
export function parseToken(text: string): { readonly id: string; readonly secret: string } | null {
  const [, id, secret] = form.exec(text) ?? []
  return id === undefined || secret === undefined ? null : { id, secret }
}

/** True when the secret is the one whose digest was kept. In constant time. */
export function isSecretOf(secret: string, digest: string): boolean {
  return isSameText(digestOf(secret), digest)
}

/** Compares by digests, so that the time tells neither length nor place of a difference. */
export function isSameText(one: string, other: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(one), digest(other))
}
