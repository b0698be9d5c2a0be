// The hashes that PostgreSQL itself computes in SQL, bit for bit: hashint8extended, hashtextextended under the C
// collation, uuid_hash_extended, and hash_any_extended for bytea. A keyspace hashed so can be filtered by hash
// inside the shards. int2 and int4 hash as int8 does, which Postgres keeps so for joins across widths.
// Algorithm: Bob Jenkins' lookup3 (public domain) in the byte order of little-endian machines, which is what a
// server on such a machine gives.
import type { HashFunction } from './hash-function.ts'
import { carry, mulHi64, type Hash64 } from './hash64.ts'
import { copyBytes, decodeHex, encodeText, type HashInput } from './hash-input.ts'

/** PostgreSQL's own hash of the key's type, seed 0. bytea hashes its bytes, not their text form. */
export const postgres: HashFunction = {
  name: 'postgres',
  bits: 64,
  ofKey(canonical, type, out) {
    switch (type) {
      case 'text':
        return hashTextExtended(canonical, noSeed, out)
      case 'int2':
      case 'int4':
      case 'int8':
        return hashInt8Extended(canonical, noSeed, out)
      case 'uuid':
        return hashUuidExtended(canonical, noSeed, out)
      case 'bytea':
        return hashAny(decodeHex(canonical, 2), noSeed, out)
    }
  },
  ofBytes(bytes, out) {
    hashAny(copyBytes(bytes), noSeed, out)
  },
}

const noSeed: Readonly<Hash64> = Object.freeze({ hi: 0, lo: 0 })

/** `hashtextextended(text, seed)` of a text under a deterministic collation without one's own hash, such as C. */
export function hashTextExtended(text: string, seed: Readonly<Hash64>, out: Hash64): void {
  hashAny(encodeText(text), seed, out)
}

/** `uuid_hash_extended(uuid, seed)` of a uuid in its hyphenated lower-case form. */
export function hashUuidExtended(uuid: string, seed: Readonly<Hash64>, out: Hash64): void {
  hashAny(decodeHex(uuid, 0), seed, out)
}

/** `hashbyteaextended(bytes, seed)`, which is hash_any_extended; Postgres 18 and later have it in SQL. */
export function hashBytesExtended(bytes: Uint8Array, seed: Readonly<Hash64>, out: Hash64): void {
  hashAny(copyBytes(bytes), seed, out)
}

/** `hashint8extended(value, seed)` of an integer in decimal; equal to the int2 and int4 variants in their ranges. */
export function hashInt8Extended(decimal: string, seed: Readonly<Hash64>, out: Hash64): void {
  const negative = decimal.charCodeAt(0) === 0x2d
  readDecimal(decimal, negative ? 1 : 0)
  // The halves are folded so that a value hashes alike in every width that can hold it.
  hashWord(negative ? negatedFold() : magnitude[0]! ^ magnitude[1]!, seed, out)
}

/** hi, lo of the absolute value read last. */
const magnitude = new Uint32Array(2)

/** Digits that a double holds exactly. */
const exactDigits = 15
const lowerDigits = 9
const lowerUnit = 1_000_000_000

function readDecimal(decimal: string, from: number): void {
  const end = decimal.length
  if (end - from <= exactDigits) {
    const value = digitsOf(decimal, from, end)
    magnitude[0] = value / 2 ** 32
    magnitude[1] = value
    return
  }
  const upper = digitsOf(decimal, from, end - lowerDigits)
  const lower = digitsOf(decimal, end - lowerDigits, end)
  const product = Math.imul(upper | 0, lowerUnit)
  const lo = (product + lower) | 0
  magnitude[0] = mulHi64(Math.floor(upper / 2 ** 32), upper | 0, 0, lowerUnit) + carry(lo, product)
  magnitude[1] = lo
}

function digitsOf(decimal: string, from: number, to: number): number {
  let value = 0
  for (let i = from; i < to; i++) value = value * 10 + decimal.charCodeAt(i) - 0x30
  return value
}

/** lo ^ ~hi of the two's complement of the magnitude. */
function negatedFold(): number {
  const lo = -magnitude[1]! | 0
  const hi = ~magnitude[0]! + (lo === 0 ? 1 : 0)
  return lo ^ ~hi
}

/** The three words of lookup3's state; shared, since hashing never yields. */
const state = new Int32Array(3)

function begin(length: number, seed: Readonly<Hash64>): void {
  state.fill((0x9e3779b9 + length + 3923095) | 0)
  if (seed.hi === 0 && seed.lo === 0) return
  state[0] = state[0]! + seed.hi
  state[1] = state[1]! + seed.lo
  mix()
}

function hashWord(value: number, seed: Readonly<Hash64>, out: Hash64): void {
  begin(4, seed)
  state[0] = state[0]! + value
  finish(out)
}

function hashAny(input: HashInput, seed: Readonly<Hash64>, out: Hash64): void {
  const { view, length } = input
  begin(length, seed)
  let at = 0
  for (; at + 12 <= length; at += 12) {
    state[0] = state[0]! + view.getInt32(at, true)
    state[1] = state[1]! + view.getInt32(at + 4, true)
    state[2] = state[2]! + view.getInt32(at + 8, true)
    mix()
  }
  state[0] = state[0]! + view.getInt32(at, true)
  state[1] = state[1]! + view.getInt32(at + 4, true)
  // Of the third word the lowest byte is left to the length.
  state[2] = state[2]! + (view.getInt32(at + 8, true) << 8)
  finish(out)
}

function mix(): void {
  let a = state[0]!
  let b = state[1]!
  let c = state[2]!
  a = ((a - c) | 0) ^ ((c << 4) | (c >>> 28))
  c = (c + b) | 0
  b = ((b - a) | 0) ^ ((a << 6) | (a >>> 26))
  a = (a + c) | 0
  c = ((c - b) | 0) ^ ((b << 8) | (b >>> 24))
  b = (b + a) | 0
  a = ((a - c) | 0) ^ ((c << 16) | (c >>> 16))
  c = (c + b) | 0
  b = ((b - a) | 0) ^ ((a << 19) | (a >>> 13))
  a = (a + c) | 0
  c = ((c - b) | 0) ^ ((b << 4) | (b >>> 28))
  b = (b + a) | 0
  state[0] = a
  state[1] = b
  state[2] = c
}

function finish(out: Hash64): void {
  let a = state[0]!
  let b = state[1]!
  let c = state[2]!
  c = ((c ^ b) - ((b << 14) | (b >>> 18))) | 0
  a = ((a ^ c) - ((c << 11) | (c >>> 21))) | 0
  b = ((b ^ a) - ((a << 25) | (a >>> 7))) | 0
  c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0
  a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0
  b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0
  c = ((c ^ b) - ((b << 24) | (b >>> 8))) | 0
  out.hi = b >>> 0
  out.lo = c >>> 0
}
