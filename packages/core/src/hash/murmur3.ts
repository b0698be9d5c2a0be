// MurmurHash3 x64-128 with seed 0, of which the first 64 bits (h1) are the hash. The default of every keyspace,
// since each language has a library for it. Algorithm: Austin Appleby, public domain.
import type { HashFunction } from './hash-function.ts'
import { carry, mulHi64, type Hash64 } from './hash64.ts'
import { copyBytes, encodeText, type HashInput } from './hash-input.ts'

const C1_HI = 0x87c37b91 | 0
const C1_LO = 0x114253d5 | 0
const C2_HI = 0x4cf5ad43 | 0
const C2_LO = 0x2745937f | 0

/** MurmurHash3 x64-128, first half. */
export const murmur3: HashFunction = {
  name: 'murmur3',
  bits: 64,
  ofKey(canonical, _type, out) {
    absorb(encodeText(canonical), out)
  },
  ofBytes(bytes, out) {
    absorb(copyBytes(bytes), out)
  },
}

/** The two lanes of the state between body and finish: h1 and h2, each as hi, lo. */
const lanes = new Int32Array(4)

// The last, partial block is read as if zeros followed: a zero word mixes to zero, which is what the algorithm
// wants of absent bytes. Unlike a whole block it is not stirred into the state.
function absorb(input: HashInput, out: Hash64): void {
  const { view, length } = input
  let h1Hi = 0
  let h1Lo = 0
  let h2Hi = 0
  let h2Lo = 0
  for (let at = 0; at < length; at += 16) {
    let lo = view.getInt32(at, true)
    let hi = mulHi64(view.getInt32(at + 4, true), lo, C1_HI, C1_LO)
    lo = Math.imul(lo, C1_LO)
    let turned = (lo << 31) | (hi >>> 1)
    h1Hi ^= mulHi64((hi << 31) | (lo >>> 1), turned, C2_HI, C2_LO)
    h1Lo ^= Math.imul(turned, C2_LO)

    lo = view.getInt32(at + 8, true)
    hi = mulHi64(view.getInt32(at + 12, true), lo, C2_HI, C2_LO)
    lo = Math.imul(lo, C2_LO)
    turned = (hi << 1) | (lo >>> 31)
    const k2Hi = mulHi64((lo << 1) | (hi >>> 31), turned, C1_HI, C1_LO)
    const k2Lo = Math.imul(turned, C1_LO)
    if (at + 16 > length) {
      h2Hi ^= k2Hi
      h2Lo ^= k2Lo
      break
    }

    // h1 = (rotl(h1, 27) + h2) * 5 + 0x52dce729
    hi = (h1Hi << 27) | (h1Lo >>> 5)
    lo = (h1Lo << 27) | (h1Hi >>> 5)
    h1Lo = (lo + h2Lo) | 0
    h1Hi = (hi + h2Hi + carry(h1Lo, lo)) | 0
    lo = Math.imul(h1Lo, 5)
    hi = mulHi64(h1Hi, h1Lo, 0, 5)
    h1Lo = (lo + 0x52dce729) | 0
    h1Hi = (hi + carry(h1Lo, lo)) | 0

    // h2 = (rotl(h2 ^ k2, 31) + h1) * 5 + 0x38495ab5
    h2Hi ^= k2Hi
    h2Lo ^= k2Lo
    hi = (h2Hi << 31) | (h2Lo >>> 1)
    lo = (h2Lo << 31) | (h2Hi >>> 1)
    h2Lo = (lo + h1Lo) | 0
    h2Hi = (hi + h1Hi + carry(h2Lo, lo)) | 0
    lo = Math.imul(h2Lo, 5)
    hi = mulHi64(h2Hi, h2Lo, 0, 5)
    h2Lo = (lo + 0x38495ab5) | 0
    h2Hi = (hi + carry(h2Lo, lo)) | 0
  }
  lanes[0] = h1Hi
  lanes[1] = h1Lo
  lanes[2] = h2Hi
  lanes[3] = h2Lo
  finish(length, out)
}

/** h1 ^= length, h2 ^= length; h1 += h2, h2 += h1; both avalanched; h1 += h2. */
function finish(length: number, out: Hash64): void {
  const firstLo = lanes[1]! ^ length
  const secondLo = lanes[3]! ^ length
  const sumLo = (firstLo + secondLo) | 0
  const sumHi = (lanes[0]! + lanes[2]! + carry(sumLo, firstLo)) | 0
  const otherLo = (secondLo + sumLo) | 0
  lanes[2] = (lanes[2]! + sumHi + carry(otherLo, secondLo)) | 0
  lanes[3] = otherLo
  lanes[0] = sumHi
  lanes[1] = sumLo
  avalanche(0)
  avalanche(2)
  const lo = (lanes[1]! + lanes[3]!) | 0
  out.lo = lo >>> 0
  out.hi = (lanes[0]! + lanes[2]! + carry(lo, lanes[1]!)) >>> 0
}

/** Shifting right by 33 leaves only the upper half, in the lower one's place. */
function avalanche(lane: 0 | 2): void {
  let hi = lanes[lane]!
  let lo = lanes[lane + 1]! ^ (hi >>> 1)
  hi = mulHi64(hi, lo, 0xff51afd7 | 0, 0xed558ccd | 0)
  lo = Math.imul(lo, 0xed558ccd) ^ (hi >>> 1)
  hi = mulHi64(hi, lo, 0xc4ceb9fe | 0, 0x1a85ec53 | 0)
  lo = Math.imul(lo, 0x1a85ec53) ^ (hi >>> 1)
  lanes[lane] = hi
  lanes[lane + 1] = lo
}
