// The `postgres` hash of core against the functions of a live server, over many random values: partial moves and
// diffs are pushed down by them, so one bit of difference would lose rows.
import { randomBytes, randomUUID } from 'node:crypto'
import {
  hashBytesExtended,
  hashInt8Extended,
  HASHES,
  hashTextExtended,
  hashUuidExtended,
  makeHash64,
  type Hash64,
} from '@fleetshard/core'
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startVersion, testVersions } from './testing.ts'

const valuesMax = 4_000
const seeds = ['0', '1', '-1', '81985529216486895', '-9223372036854775808', '9223372036854775807']

function seedOf(decimal: string): Hash64 {
  const bits = BigInt.asUintN(64, BigInt(decimal))
  return { hi: Number(bits >> 32n) | 0, lo: Number(bits & 0xffffffffn) | 0 }
}

/** As Postgres prints a hash: signed. */
function signed({ hi, lo }: Hash64): string {
  return BigInt.asIntN(64, (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString()
}

function randomInteger(): string {
  const bits = BigInt(`0x${randomBytes(8).toString('hex')}`)
  return BigInt.asIntN(64, bits >> BigInt((randomBytes(1)[0] ?? 0) % 64)).toString()
}

const letters = Array.from('abcXYZ019 _-/.äß€√語😀\u0301\u00a0')

function randomText(): string {
  const bytes = randomBytes((randomBytes(1)[0] ?? 0) % 70)
  return [...bytes].map((byte) => letters[byte % letters.length] ?? '').join('')
}

describe.each(testVersions)('the postgres hash on $label', (version) => {
  let server: Awaited<ReturnType<typeof startVersion>>
  let client: Client
  beforeAll(async () => {
    server = await startVersion(version)
    client = await server.connect()
  })
  afterAll(async () => {
    await client.end()
    await server[Symbol.asyncDispose]()
  })

  /** What the server says of each value. */
  async function served(
    expression: string,
    type: string,
    values: readonly string[],
    seed: string,
  ): Promise<string[]> {
    const { rows } = await client.query<{ h: string }>(
      `select ${expression} as h from unnest($1::${type}[]) with ordinality u(v, i), (select $2::int8 as seed) s order by i`,
      [values, seed],
    )
    return rows.map(({ h }) => h)
  }

  async function compare(
    sql: { readonly expression: string; readonly type: string },
    values: readonly string[],
    hash: (value: string, seed: Hash64, out: Hash64) => void,
  ): Promise<void> {
    for (const seed of seeds) {
      const expected = await served(sql.expression, sql.type, values, seed)
      const out = makeHash64()
      const got = values.map((value) => {
        hash(value, seedOf(seed), out)
        return signed(out)
      })
      expect(expected).toHaveLength(values.length)
      expect(got).toEqual(expected)
    }
  }

  it('equals hashint8extended', async () => {
    const edges = ['0', '1', '-1', '9223372036854775807', '-9223372036854775808', '4294967296', '-4294967296']
    const values = [...edges, ...Array.from({ length: valuesMax }, randomInteger)]
    await compare({ expression: 'hashint8extended(v, seed)', type: 'int8' }, values, hashInt8Extended)
  })

  it('equals hashint4extended and hashint2extended in their ranges', async () => {
    const values = Array.from({ length: 500 }, () => String(randomBytes(2).readInt16LE()))
    await compare({ expression: 'hashint4extended(v, seed)', type: 'int4' }, values, hashInt8Extended)
    await compare({ expression: 'hashint2extended(v, seed)', type: 'int2' }, values, hashInt8Extended)
  })

  it('equals hashtextextended under the C collation', async () => {
    const values = ['', 'a', 'user-123', 'x'.repeat(5_000), ...Array.from({ length: valuesMax }, randomText)]
    await compare(
      { expression: 'hashtextextended(v collate "C", seed)', type: 'text' },
      values,
      hashTextExtended,
    )
  })

  it('equals uuid_hash_extended', async () => {
    const values = Array.from({ length: valuesMax }, () => randomUUID())
    await compare({ expression: 'uuid_hash_extended(v, seed)', type: 'uuid' }, values, hashUuidExtended)
  })

  it('hashes bytea as any server hashes the same bytes as text', async () => {
    // hashbyteaextended exists from 18 on; text under C is hashed by its bytes in every version.
    const values = Array.from({ length: 1_000 }, randomText)
    await compare(
      { expression: 'hashtextextended(v collate "C", seed)', type: 'text' },
      values,
      (value, seed, out) => {
        hashBytesExtended(Buffer.from(value, 'utf8'), seed, out)
      },
    )
  })

  it('is what keys are placed by, with seed 0', async () => {
    const out = makeHash64()
    HASHES.postgres.ofKey('user-123', 'text', out)
    expect([signed(out)]).toEqual(
      await served('hashtextextended(v collate "C", seed)', 'text', ['user-123'], '0'),
    )
    HASHES.postgres.ofKey('-42', 'int8', out)
    expect([signed(out)]).toEqual(await served('hashint8extended(v, seed)', 'int8', ['-42'], '0'))
  })
})
