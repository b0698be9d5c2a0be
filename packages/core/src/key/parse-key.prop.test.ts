// What holds for all keys: a canonical form parses to itself, and each way to write a value gives the same one.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isFleetError } from '../errors/fleet-error.ts'
import type { KeyType } from '../model.ts'
import { keyFromBinary, parseKey } from './parse-key.ts'

/** Bytes of hexadecimal digits. */
const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))

const types = fc.constantFrom<KeyType>('text', 'int2', 'int4', 'int8', 'uuid', 'bytea')
const int8 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })

describe('keys', () => {
  it('never come out of anything but a canonical form or invalid_shard_key', () => {
    const anything = fc.oneof(
      fc.anything({ withBigInt: true, withTypedArray: true, withDate: true }),
      fc.string({ unit: 'binary' }),
      fc.stringMatching(/^[ +-]?[0-9]{1,21}$/),
      fc.stringMatching(/^\{?[0-9a-fA-F-]{30,40}\}?$/),
      fc.stringMatching(/^\\x[0-9a-fA-F]{0,12}$/),
    )
    fc.assert(
      fc.property(anything, types, (value, type) => {
        try {
          const key = parseKey(value, type)
          expect(parseKey(key, type)).toBe(key)
          expect(key).not.toBe('')
        } catch (error) {
          if (!isFleetError(error, 'invalid_shard_key')) throw error
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('integers are the same by number, bigint, text and binary form', () => {
    fc.assert(
      fc.property(int8, fc.nat({ max: 20 }), (value, zeros) => {
        const bytes = new Uint8Array(8)
        new DataView(bytes.buffer).setBigInt64(0, value)
        const padded = String(value).replace(/^(-?)/, `$1${'0'.repeat(zeros)}`)
        for (const form of [value, String(value), padded]) expect(parseKey(form, 'int8')).toBe(String(value))
        expect(keyFromBinary(bytes, 'int8')).toBe(String(value))
        if (Number.isSafeInteger(Number(value))) expect(parseKey(Number(value), 'int8')).toBe(String(value))
      }),
    )
  })

  it('uuids are the same in every spelling', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }),
        (bytes, hyphens) => {
          const hex = Buffer.from(bytes).toString('hex')
          const groups = hex.match(/.{4}/g)!
          const spelled = groups.map((group, i) => (hyphens[i] === true ? `${group}-` : group)).join('')
          const canonical = parseKey(bytes, 'uuid')
          expect(canonical.replaceAll('-', '')).toBe(hex)
          for (const form of [spelled, spelled.toUpperCase(), `{${spelled}}`])
            expect(parseKey(form, 'uuid')).toBe(canonical)
        },
      ),
    )
  })

  it('text and bytea come back from their bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (bytes) => {
        expect(bytesOf(keyFromBinary(bytes, 'bytea').slice(2))).toEqual(bytes)
      }),
    )
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (text) => {
        fc.pre(!text.includes('\0'))
        expect(keyFromBinary(new TextEncoder().encode(text), 'text')).toBe(parseKey(text, 'text'))
      }),
    )
  })
})
