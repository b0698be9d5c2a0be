// API tokens, and what browsers are known by: random texts that are shown once. The catalog keeps their digests, so that
// whoever reads it cannot use them. Pure: no store, no time.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** What a token is for: programs and people by the API, or the session of a browser. One is never taken for the other. */
export type TokenKind = 'api' | 'session'

const prefixes: Readonly<Record<TokenKind, string>> = { api: 'fst', session: 'fss' }
const idBytes = 8
const secretBytes = 32
const form = /^(fs[st])_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/

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
export function makeToken(kind: TokenKind = 'api'): MadeToken {
  const id = randomBytes(idBytes).toString('hex')
  const secret = randomBytes(secretBytes).toString('base64url')
  return { id, token: `${prefixes[kind]}_${id}_${secret}`, digest: digestOf(secret) }
}

/** A slow hash is for passwords that people choose: nobody guesses 256 bits. */
function digestOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

/** A token taken apart; null for a text of another form. */
export function parseToken(
  text: string,
  kind: TokenKind = 'api',
): { readonly id: string; readonly secret: string } | null {
  const [, prefix, id, secret] = form.exec(text) ?? []
  return prefix !== prefixes[kind] || id === undefined || secret === undefined ? null : { id, secret }
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
