// XXH64 with seed 0. Algorithm: Yann Collet's specification of xxHash (BSD 2-clause documentation, public format).
import type { HashFunction } from './hash-function.ts'
import { carry, mulHi64, type Hash64 } from './hash64.ts'
import { copyBytes, encodeText, type HashInput } from './hash-input.ts'

const P1_HI = 0x9e3779b1 | 0
const P1_LO = 0x85ebca87 | 0
const P2_HI = 0xc2b2ae3d | 0
const P2_LO = 0x27d4eb4f | 0
const P3_HI = 0x165667b1 | 0
const P3_LO = 0x9e3779f9 | 0
const P4_HI = 0x85ebca77 | 0
const P4_LO = 0xc2b2ae63 | 0
const P5_HI = 0x27d4eb2f | 0
const P5_LO = 0x165667c5 | 0

/** XXH64. */
export const xxhash: HashFunction = {
  name: 'xxhash',
  bits: 64,
  ofKey(canonical, _type, out) {
    hash(encodeText(canonical), out)
  },
  ofBytes(bytes, out) {
    hash(copyBytes(bytes), out)
  },
}

/**
 * Six 64-bit registers as hi, lo: the four lanes of the bulk loop, the accumulator, and one to turn a lane in.
 * Shared, since hashing never yields.
 */
const registers = new Int32Array(12)
const ACCUMULATOR = 8
const TURNED = 10

function hash(input: HashInput, out: Hash64): void {
  const { bytes, view, length } = input
  let at = 0
  set(ACCUMULATOR, P5_HI, P5_LO)
  if (length >= 32) at = absorbStripes(view, length)
  add(ACCUMULATOR, 0, length)
  for (; at + 8 <= length; at += 8) {
    xorRound(view.getInt32(at + 4, true), view.getInt32(at, true))
    rotate(ACCUMULATOR, 27)
    multiplyAdd(P1_HI, P1_LO, P4_HI, P4_LO)
  }
  if (at + 4 <= length) {
    absorbSmall(view.getInt32(at, true), P1_HI, P1_LO, 23)
    multiplyAdd(P2_HI, P2_LO, P3_HI, P3_LO)
    at += 4
  }
  for (; at < length; at++) {
    absorbSmall(bytes[at]!, P5_HI, P5_LO, 11)
    multiply(ACCUMULATOR, P1_HI, P1_LO)
  }
  finish(out)
}

/** The bulk of long inputs, 32 bytes a turn; leaves the lanes merged in the accumulator and returns the offset. */
function absorbStripes(view: DataView, length: number): number {
  set(0, P1_HI, P1_LO)
  add(0, P2_HI, P2_LO)
  set(2, P2_HI, P2_LO)
  set(4, 0, 0)
  set(6, 0, 0)
  subtract(6, P1_HI, P1_LO)
  let at = 0
  for (; at + 32 <= length; at += 32) {
    for (let lane = 0; lane < 8; lane += 2) {
      const from = at + lane * 4
      round(lane, view.getInt32(from + 4, true), view.getInt32(from, true))
    }
  }
  mergeLanes()
  return at
}

function mergeLanes(): void {
  set(ACCUMULATOR, 0, 0)
  for (let lane = 0; lane < 8; lane += 2) {
    set(TURNED, registers[lane]!, registers[lane + 1]!)
    rotate(TURNED, LANE_TURNS[lane >> 1]!)
    add(ACCUMULATOR, registers[TURNED]!, registers[TURNED + 1]!)
  }
  for (let lane = 0; lane < 8; lane += 2) {
    xorRound(registers[lane]!, registers[lane + 1]!)
    multiplyAdd(P1_HI, P1_LO, P4_HI, P4_LO)
  }
}

const LANE_TURNS = [1, 7, 12, 18] as const

/** Mixes the accumulator until each bit depends on all, and hands it out. */
function finish(out: Hash64): void {
  xor(ACCUMULATOR, 0, registers[ACCUMULATOR]! >>> 1)
  multiply(ACCUMULATOR, P2_HI, P2_LO)
  const hi = registers[ACCUMULATOR]!
  xor(ACCUMULATOR, hi >>> 29, (registers[ACCUMULATOR + 1]! >>> 29) | (hi << 3))
  multiply(ACCUMULATOR, P3_HI, P3_LO)
  out.hi = registers[ACCUMULATOR]! >>> 0
  out.lo = (registers[ACCUMULATOR + 1]! ^ out.hi) >>> 0
}

/** accumulator ^= value * prime, then rotated; for the 4-byte and 1-byte pieces of the end. */
function absorbSmall(value: number, primeHi: number, primeLo: number, turn: number): void {
  xor(ACCUMULATOR, mulHi64(0, value, primeHi, primeLo), Math.imul(value, primeLo))
  rotate(ACCUMULATOR, turn)
}

/** register = rotl(register + word * P2, 31) * P1; by far the most frequent step, so in one piece. */
function round(register: number, wordHi: number, wordLo: number): void {
  const product = Math.imul(wordLo, P2_LO)
  const lo = (registers[register + 1]! + product) | 0
  const hi = (registers[register]! + mulHi64(wordHi, wordLo, P2_HI, P2_LO) + carry(lo, product)) | 0
  const turned = (lo << 31) | (hi >>> 1)
  registers[register] = mulHi64((hi << 31) | (lo >>> 1), turned, P1_HI, P1_LO)
  registers[register + 1] = Math.imul(turned, P1_LO)
}

/** accumulator ^= a round over the word, begun from zero. */
function xorRound(wordHi: number, wordLo: number): void {
  const lo = Math.imul(wordLo, P2_LO)
  const hi = mulHi64(wordHi, wordLo, P2_HI, P2_LO)
  const turned = (lo << 31) | (hi >>> 1)
  xor(ACCUMULATOR, mulHi64((hi << 31) | (lo >>> 1), turned, P1_HI, P1_LO), Math.imul(turned, P1_LO))
}

/** accumulator = accumulator * factor + term */
function multiplyAdd(factorHi: number, factorLo: number, termHi: number, termLo: number): void {
  const low = registers[ACCUMULATOR + 1]!
  const product = Math.imul(low, factorLo)
  const sum = (product + termLo) | 0
  registers[ACCUMULATOR] =
    mulHi64(registers[ACCUMULATOR]!, low, factorHi, factorLo) + termHi + carry(sum, product)
  registers[ACCUMULATOR + 1] = sum
}

function set(register: number, hi: number, lo: number): void {
  registers[register] = hi
  registers[register + 1] = lo
}

function add(register: number, hi: number, lo: number): void {
  const sum = (registers[register + 1]! + lo) | 0
  registers[register] = registers[register]! + hi + carry(sum, lo)
  registers[register + 1] = sum
}

function subtract(register: number, hi: number, lo: number): void {
  add(register, ~hi, ~lo)
  add(register, 0, 1)
}

function xor(register: number, hi: number, lo: number): void {
  registers[register] = registers[register]! ^ hi
  registers[register + 1] = registers[register + 1]! ^ lo
}

function multiply(register: number, hi: number, lo: number): void {
  const low = registers[register + 1]!
  registers[register] = mulHi64(registers[register]!, low, hi, lo)
  registers[register + 1] = Math.imul(low, lo)
}

/** Rotates left by 1 to 31 bits. */
function rotate(register: number, by: number): void {
  const hi = registers[register]!
  const lo = registers[register + 1]!
  registers[register] = (hi << by) | (lo >>> (32 - by))
  registers[register + 1] = (lo << by) | (hi >>> (32 - by))
}
