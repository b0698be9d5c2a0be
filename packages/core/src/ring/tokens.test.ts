// Packed tokens: the stored form of vnodes.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isFleetError } from '../errors/fleet-error.ts'
import { hashMax } from './ranges.ts'
import { anyHash } from './testing/ring-model.ts'
import { countTokens, packTokens, tokensPerShardMax, unpackInto, unpackTokens } from './tokens.ts'

const base64 = (...words: readonly bigint[]): string => {
  const bytes = Buffer.alloc(words.length * 8)
  for (const [i, word] of words.entries()) bytes.writeBigUInt64BE(word, i * 8)
  return bytes.toString('base64')
}

const isCorrupt = (read: () => unknown): boolean => {
  try {
    read()
    return false
  } catch (error) {
    return isFleetError(error, 'corrupt_record')
  }
}

describe('packed tokens', () => {
  it('are base64 of ascending big-endian words', () => {
    for (const tokens of [
      [],
      [0n],
      [hashMax],
      [0n, 1n, hashMax],
      [255n, 256n],
      [1n << 32n, (1n << 32n) + 1n],
    ]) {
      expect(packTokens(tokens)).toBe(base64(...tokens))
      expect(packTokens(tokens.toReversed())).toBe(base64(...tokens))
      expect(unpackTokens(base64(...tokens))).toEqual(tokens)
      expect(countTokens(base64(...tokens))).toBe(tokens.length)
    }
  })

  it('come back as they were, as numbers and as halves', () => {
    fc.assert(
      fc.property(fc.uniqueArray(anyHash, { maxLength: 40 }), (tokens) => {
        const ascending = tokens.toSorted((a, b) => (a < b ? -1 : 1))
        const packed = packTokens(tokens)
        expect(unpackTokens(packed)).toEqual(ascending)
        const [hi, lo] = [new Uint32Array(tokens.length + 2), new Uint32Array(tokens.length + 2)]
        expect(unpackInto(packed, hi, lo, 1)).toBe(tokens.length)
        const joined = Array.from(hi, (half, i) => (BigInt(half) << 32n) | BigInt(lo[i]!))
        expect(joined).toEqual([0n, ...ascending, 0n])
      }),
    )
  })

  it('are refused as corrupt when they are not what is written', () => {
    const good = base64(1n, 2n, 3n)
    for (const bad of [
      'x',
      'AAAA',
      'AAAAAAAAAAA',
      good.slice(0, -1),
      `${good}=`,
      good.replace('A', '*'),
      good.replace('A', 'Á'),
      good.replace('A', '😀'),
      good.replace('A', '-'),
      ` ${good}`,
      '=====',
      '====',
      base64(2n, 1n),
      base64(1n, 1n),
    ]) {
      expect([bad, isCorrupt(() => unpackTokens(bad))]).toEqual([bad, true])
      const [hi, lo] = [new Uint32Array(9), new Uint32Array(9)]
      expect([bad, isCorrupt(() => unpackInto(bad, hi, lo, 0))]).toEqual([bad, true])
    }
  })

  it('refuse to be packed when there are two equal ones or too many', () => {
    expect(() => packTokens([1n, 2n, 1n])).toThrow('given twice')
    const many = Array.from({ length: tokensPerShardMax + 1 }, (_, i) => BigInt(i))
    expect(() => packTokens(many)).toThrow(`${String(tokensPerShardMax + 1)} vnodes`)
    expect(unpackTokens(packTokens(many.slice(1)))).toHaveLength(tokensPerShardMax)
  })
})
