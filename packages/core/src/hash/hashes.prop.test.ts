// What holds for all inputs: text is hashed as its UTF-8, and no hash depends on what was hashed before.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { keyBytesMax } from './hash-input.ts'
import { formatHash, makeHash64 } from './hash64.ts'
import { HASHES } from './hashes.ts'

const encoder = new TextEncoder()
const wellFormed = fc.string({ unit: 'binary', maxLength: 200 })

describe.each(Object.values(HASHES))('$name', (hash) => {
  const ofKey = (key: string): string => {
    const cell = makeHash64()
    hash.ofKey(key, 'text', cell)
    return formatHash(cell.hi, cell.lo)
  }
  const ofBytes = (bytes: Uint8Array): string => {
    const cell = makeHash64()
    hash.ofBytes(bytes, cell)
    return formatHash(cell.hi, cell.lo)
  }

  it('hashes text as its UTF-8 bytes', () => {
    fc.assert(
      fc.property(wellFormed, (key) => {
        expect(ofKey(key)).toBe(ofBytes(encoder.encode(key)))
      }),
    )
  })

  it('gives the same whatever was hashed before', () => {
    fc.assert(
      fc.property(wellFormed, fc.string({ maxLength: 300 }), (key, other) => {
        const first = ofKey(key)
        ofKey(other)
        expect(ofKey(key)).toBe(first)
      }),
    )
  })

  it('reads bytes at any offset of a larger buffer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat({ max: 9 }), (bytes, offset) => {
        const larger = new Uint8Array(bytes.length + 20).fill(0xff)
        larger.set(bytes, offset)
        expect(ofBytes(larger.subarray(offset, offset + bytes.length))).toBe(ofBytes(bytes))
      }),
    )
  })

  it('takes text and bytes beyond the longest key', () => {
    for (const key of ['x'.repeat(keyBytesMax + 1), 'ü'.repeat(keyBytesMax), 'x'.repeat(keyBytesMax)]) {
      expect(ofKey(key)).toBe(ofBytes(encoder.encode(key)))
    }
  })

  it(`fills ${String(hash.bits)} bits`, () => {
    let seen = 0n
    for (let i = 0; i < 200; i++) seen |= BigInt(ofKey(`key ${String(i)}`))
    expect(seen).toBe(2n ** BigInt(hash.bits) - 1n)
  })
})
