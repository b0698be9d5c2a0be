// A 64-bit hash as two unsigned 32-bit halves, and the pieces of 64-bit arithmetic that JavaScript lacks.
// Halves instead of BigInt keep the lookup free of allocation.

/** A 64-bit value, caller-owned so that hashing allocates nothing: `hi` and `lo` are unsigned 32-bit integers. */
export interface Hash64 {
  hi: number
  lo: number
}

/** A cell to hash into; make one and use it again and again. */
export function makeHash64(): Hash64 {
  // Starting beyond the small-integer range fixes the fields' representation before the first hash is stored.
  const cell: Hash64 = { hi: 0xffffffff, lo: 0xffffffff }
  cell.hi = 0
  cell.lo = 0
  return cell
}

/** The upper 32 bits of the product of two unsigned 32-bit integers, as a signed one; `Math.imul` is the lower. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0
  const cross = (Math.imul(aLow, bHigh) + (middle & 0xffff)) | 0
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (cross >>> 16)) | 0
}

/** The upper half of the low 64 bits of a product; the lower half is `Math.imul(aLo, bLo)`. */
export function mulHi64(aHi: number, aLo: number, bHi: number, bLo: number): number {
  return (mulHigh(aLo, bLo) + Math.imul(aHi, bLo) + Math.imul(aLo, bHi)) | 0
}

/** The carry of `a + b` into the next 32 bits, given their wrapped `sum`. */
export function carry(sum: number, a: number): number {
  return sum >>> 0 < a >>> 0 ? 1 : 0
}

/** The unsigned decimal form, as the API shows hashes and tokens. */
export function formatHash(hi: number, lo: number): string {
  return hi === 0 ? String(lo) : ((BigInt(hi) << 32n) | BigInt(lo)).toString()
}
