// Golden vectors from independent implementations: the `source` of each file says which. A hash is an on-disk
// format, so a failure here means that keys would be looked for on the wrong shard.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { KeyType } from '../model.ts'
import { formatHash, makeHash64, type Hash64 } from './hash64.ts'
import { HASHES } from './hashes.ts'
import { hashBytesExtended, hashInt8Extended, hashTextExtended, hashUuidExtended } from './postgres.ts'

interface Golden {
  readonly source: string
  readonly text: readonly (readonly [text: string, hash: string])[]
  readonly bytes: readonly (readonly [hex: string, hash: string])[]
}

type Seeded = readonly (readonly [value: string, seed: string, hash: string])[]
type PostgresGolden = Readonly<Record<'text' | 'int8' | 'uuid' | 'bytea', Seeded>>

const golden = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`golden/${name}.json`, import.meta.url), 'utf8')) as T

/** Bytes of hexadecimal digits. */
const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))

const cell = makeHash64()
const shown = (): string => formatHash(cell.hi, cell.lo)

function keyHash(name: keyof typeof HASHES, key: string, type: KeyType = 'text'): string {
  HASHES[name].ofKey(key, type, cell)
  return shown()
}

function bytesHash(name: keyof typeof HASHES, bytes: Uint8Array): string {
  HASHES[name].ofBytes(bytes, cell)
  return shown()
}

describe.each(['murmur3', 'xxhash'] as const)('%s', (name) => {
  const { text, bytes } = golden<Golden>(name)

  it('hashes text as the reference library does', () => {
    expect(text.map(([key]) => [key, keyHash(name, key)])).toEqual(text)
  })

  it('hashes bytes of every length around its block sizes as the reference library does', () => {
    expect(bytes.map(([hex]) => [hex, bytesHash(name, bytesOf(hex))])).toEqual(bytes)
  })

  it('hashes integers, uuids and bytea by their text', () => {
    for (const [type, key] of [
      ['int8', '-42'],
      ['uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
      ['bytea', '\\xdeadbeef'],
    ] as const) {
      expect(keyHash(name, key, type)).toBe(keyHash(name, key, 'text'))
    }
  })
})

describe('published vectors', () => {
  it('murmur3 gives the first half of the x64 128-bit digest', () => {
    expect(BigInt(keyHash('murmur3', 'The quick brown fox jumps over the lazy dog'))).toBe(
      0xe34bbc7bbc071b6cn,
    )
    expect(bytesHash('murmur3', new Uint8Array())).toBe('0')
  })

  it('xxhash gives XXH64', () => {
    expect(BigInt(bytesHash('xxhash', new Uint8Array()))).toBe(0xef46db3751d8e999n)
    expect(BigInt(keyHash('xxhash', 'a'))).toBe(0xd24ec4f1a98c6e5bn)
    expect(BigInt(keyHash('xxhash', 'abc'))).toBe(0x44bc2cf5ad770999n)
  })

  it('fnv1a gives the 32-bit values of its authors', () => {
    const published = {
      a: 0xe40c292c,
      b: 0xe70c2de5,
      c: 0xe60c2c52,
      d: 0xe10c2473,
      e: 0xe00c22e0,
      f: 0xe30c2799,
      fo: 0x6222e842,
      foo: 0xa9f37ed7,
      foob: 0x3f5076ef,
      fooba: 0x39aaa18a,
      foobar: 0xbf9cf968,
    }
    for (const [key, hash] of Object.entries(published)) expect(keyHash('fnv1a', key)).toBe(String(hash))
    expect(bytesHash('fnv1a', new Uint8Array())).toBe(String(0x811c9dc5))
  })
})

describe('postgres', () => {
  const { text, int8, uuid, bytea } = golden<PostgresGolden>('postgres')
  const all = (rows: Seeded, hash: (value: string, seed: Hash64) => void): void => {
    const got = rows.map(([value, seed]) => {
      const bits = BigInt(seed)
      hash(value, { hi: Number(bits >> 32n), lo: Number(bits & 0xffff_ffffn) })
      return [value, seed, shown()]
    })
    expect(got).toEqual(rows)
  }

  it('hashes text as hashtextextended under the C collation, for every seed', () => {
    all(text, (value, seed) => hashTextExtended(value, seed, cell))
  })

  it('hashes integers as hashint8extended', () => {
    all(int8, (value, seed) => hashInt8Extended(value, seed, cell))
  })

  it('hashes uuids as uuid_hash_extended', () => {
    all(uuid, (value, seed) => hashUuidExtended(value, seed, cell))
  })

  it('hashes bytea as the server does', () => {
    all(bytea, (value, seed) => hashBytesExtended(bytesOf(value.slice(2)), seed, cell))
  })

  it('places keys of every type by the hash with seed 0', () => {
    for (const [type, rows] of Object.entries({ text, int8, uuid, bytea })) {
      for (const [value, seed, hash] of rows) {
        if (seed === '0') expect([value, keyHash('postgres', value, type as KeyType)]).toEqual([value, hash])
      }
    }
  })

  it('hashes an integer alike in every width', () => {
    for (const key of ['0', '-1', '42', '-32768', '32767']) {
      expect(keyHash('postgres', key, 'int2')).toBe(keyHash('postgres', key, 'int8'))
      expect(keyHash('postgres', key, 'int4')).toBe(keyHash('postgres', key, 'int8'))
    }
  })
})
