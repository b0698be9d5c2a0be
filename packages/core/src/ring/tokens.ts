// Packed tokens: how a shard's vnodes are stored, base64 of ascending big-endian 64-bit words. Decoding is our own,
// since a map of 1,000 shards is unpacked at every start and the platform's decoders go through strings.
import { FleetError } from '../errors/fleet-error.ts'

/** Bytes of one packed token. */
export const tokenBytes = 8
/** Vnodes of a shard that asks for no number. */
export const vnodeCountDefault = 256
/** Most tokens in one record, so that it stays well below the catalog's limit for a value. */
export const tokensPerShardMax = 16_384

/** The 64 digits of base64, and the padding behind them. */
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/='
const padding = 64
const notSextet = 0xff
const SEXTET = new Uint8Array(128).fill(notSextet)
for (let i = 0; i < padding; i++) SEXTET[DIGITS.charCodeAt(i)] = i

/** Tokens as numbers, ascending. @throws FleetError `corrupt_record` */
export function unpackTokens(packed: string): bigint[] {
  const count = countTokens(packed)
  const view = new DataView(decodeBase64(packed).buffer)
  const tokens: bigint[] = []
  for (let i = 0; i < count; i++) {
    const token = view.getBigUint64(i * tokenBytes)
    if (tokens.length > 0 && token <= tokens.at(-1)!) throw notAscending()
    tokens.push(token)
  }
  return tokens
}

/** The packed form of tokens in any order. @throws FleetError `conflict` for too many or equal ones */
export function packTokens(tokens: readonly bigint[]): string {
  if (tokens.length > tokensPerShardMax) {
    throw new FleetError('conflict', `a shard cannot have ${String(tokens.length)} vnodes`, {
      hint: `the most is ${String(tokensPerShardMax)}; merge or hand over fewer ranges at once`,
    })
  }
  const bytes = new Uint8Array(tokens.length * tokenBytes)
  const view = new DataView(bytes.buffer)
  const ascending = tokens.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  for (const [i, token] of ascending.entries()) {
    if (i > 0 && token === ascending[i - 1])
      throw new FleetError('conflict', `token ${String(token)} is given twice`)
    view.setBigUint64(i * tokenBytes, token)
  }
  return encodeBase64(bytes)
}

/** How many tokens a packed text holds, without reading them. @throws FleetError `corrupt_record` */
export function countTokens(packed: string): number {
  const bytes = Math.floor((base64Digits(packed) * 3) / 4)
  if (packed.length % 4 !== 0 || bytes % tokenBytes !== 0) throw notBase64()
  return bytes / tokenBytes
}

/**
 * Writes the halves of packed tokens into the arrays from `at` on and returns how many there were.
 * @throws FleetError `corrupt_record`
 */
export function unpackInto(packed: string, hi: Uint32Array, lo: Uint32Array, at: number): number {
  const count = countTokens(packed)
  const bytes = decodeBase64(packed)
  for (let i = 0, from = 0; i < count; i++, from += tokenBytes) {
    const tokenHi = bigEndian(bytes, from)
    const tokenLo = bigEndian(bytes, from + 4)
    const index = at + i
    if (i > 0 && (tokenHi < hi[index - 1]! || (tokenHi === hi[index - 1]! && tokenLo <= lo[index - 1]!))) {
      throw notAscending()
    }
    hi[index] = tokenHi
    lo[index] = tokenLo
  }
  return count
}

function bigEndian(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

function notAscending(): FleetError {
  return new FleetError('corrupt_record', 'the tokens of a shard are not in ascending order')
}

function base64Digits(text: string): number {
  return text.length - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0)
}

/** The bytes, and up to two more that stand for the padding. */
function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array((text.length / 4) * 3)
  const digits = base64Digits(text)
  for (let at = 0, i = 0; at < bytes.length; at += 3, i += 4) {
    const [a, b] = [sextetAt(text, i), sextetAt(text, i + 1)]
    const [c, d] = [i + 2 < digits ? sextetAt(text, i + 2) : 0, i + 3 < digits ? sextetAt(text, i + 3) : 0]
    if ((a | b | c | d) > 63) throw notBase64()
    bytes[at] = (a << 2) | (b >>> 4)
    bytes[at + 1] = (b << 4) | (c >>> 2)
    bytes[at + 2] = (c << 6) | d
  }
  return bytes
}

function sextetAt(text: string, at: number): number {
  const code = text.charCodeAt(at)
  return code < SEXTET.length ? SEXTET[code]! : notSextet
}

function notBase64(): FleetError {
  return new FleetError('corrupt_record', 'the tokens of a shard are not base64 of 64-bit words')
}

function encodeBase64(bytes: Uint8Array): string {
  const groups: string[] = []
  for (let at = 0; at < bytes.length; at += 3) {
    const left = bytes.length - at
    const group =
      (bytes[at]! << 16) | ((left > 1 ? bytes[at + 1]! : 0) << 8) | (left > 2 ? bytes[at + 2]! : 0)
    const [third, fourth] = [left > 1 ? (group >>> 6) & 63 : padding, left > 2 ? group & 63 : padding]
    groups.push(DIGITS[group >>> 18]! + DIGITS[(group >>> 12) & 63]! + DIGITS[third]! + DIGITS[fourth]!)
  }
  return groups.join('')
}
