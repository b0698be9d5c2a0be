// Hashes as a real server sends them in binary.
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Client } from 'pg'
import { startVersion, testVersions } from '../testing.ts'
import { keyOfBinary } from './binary-key.ts'

const [version] = testVersions
if (version === undefined) throw new Error('there is always the embedded server')

let server: Awaited<ReturnType<typeof startVersion>>
let client: Client
beforeAll(async () => {
  server = await startVersion(version)
  const { host, port, user, password } = server
  client = new Client({ host, port, user, password, database: 'postgres' })
  await client.connect()
})
afterAll(async () => {
  await client.end()
  await server[Symbol.asyncDispose]()
})

const binaryOf = async (texts: readonly string[]): Promise<Buffer[]> => {
  const { rows } = await client.query<{ bytes: Buffer }>(
    'select numeric_send(n::numeric(20, 0)) as bytes from unnest($1::text[]) with ordinality t(n, i) order by i',
    [texts],
  )
  return rows.map(({ bytes }) => bytes)
}

it('are read back as they were written, whatever zeros they have', async () => {
  const numbers = [0n, 1n, 9_999n, 10_000n, 100_000_000n, 2n ** 64n - 1n, 10n ** 19n, 10_000_000_000_000_001n]
  const any = fc.sample(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), 500)
  const texts = [...numbers, ...any].map(String)
  const found = (await binaryOf(texts)).map((bytes) => keyOfBinary(bytes, 'hash'))
  expect(found).toEqual(texts)
  expect(keyOfBinary(null, 'hash')).toBeNull()
})

it.each([
  ['a negative number', "select numeric_send('-1') as bytes"],
  ['a fraction', "select numeric_send('1.5') as bytes"],
  ['not a number', "select numeric_send('NaN') as bytes"],
  ['a larger number', "select numeric_send('1e30') as bytes"],
  ['another type', 'select int4send(1) as bytes'],
])('is refused as a hash: %s', async (_what, sql) => {
  const { rows } = await client.query<{ bytes: Buffer }>(sql)
  expect(() => keyOfBinary(rows[0]?.bytes ?? null, 'hash')).toThrow(/not a whole 64-bit number/)
})
