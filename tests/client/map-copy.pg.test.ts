// The copy of the shard map on disk: a client of direct mode that starts while no router answers.
import { mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { ConnectOptions } from '@fleetshard/client'
import { until } from '../e2e/harness/until.ts'
import type { ConformanceContext } from './conformance.ts'
import { startContext } from './context.ts'
import { failureOf } from './failure.ts'

const hourMs = 60 * 60_000
const credentials = { user: 'postgres', password: '' }

let context: ConformanceContext & AsyncDisposable
let folder: string
let mapCopy: string
let routersAreAway: boolean
beforeAll(async () => {
  context = await startContext('direct')
})
afterAll(() => context[Symbol.asyncDispose]())
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fleetshard-copy-'))
  mapCopy = join(folder, 'map.json')
  routersAreAway = false
})
afterEach(() => {
  rmSync(folder, { recursive: true })
})

const sometimes: typeof fetch = (input, init) =>
  routersAreAway ? Promise.reject(new TypeError('fetch failed')) : fetch(input, init)

const client = (options: Partial<ConnectOptions> = {}) =>
  context.connect({ fetch: sometimes, mapCopy, credentials, ...options })

const copied = async (): Promise<void> => {
  await using db = await client()
  expect(db.mapAgeMs).toBeLessThan(hourMs / 2)
}

it('is written with the first map, readable for its owner alone, without passwords', async () => {
  await copied()
  expect(statSync(mapCopy).mode & 0o777).toBe(0o600)
  expect(readFileSync(mapCopy, 'utf8')).not.toMatch(/password|secret/i)
})

it('lets a client start while no router answers, and tells how old it is', async () => {
  await copied()
  const before = new Date(Date.now() - hourMs)
  utimesSync(mapCopy, before, before)
  routersAreAway = true
  await using db = await client()
  expect(db.mapAgeMs).toBeGreaterThanOrEqual(hourMs)
  expect(db.shardFor('a')).toEqual(context.db.shardFor('a'))
  for (const shard of db.shards()) expect(await shard.sql`select 1 as one`).toEqual([{ one: 1 }])

  routersAreAway = false
  await until('a router has told its map', () => db.mapAgeMs < hourMs / 2)
})

it('does not help without logins, without a file, or for another keyspace', async () => {
  await copied()
  routersAreAway = true
  const { credentials: _none, ...without } = { fetch: sometimes, mapCopy, credentials }
  expect((await failureOf(context.connect(without))).code).toBe('server_unreachable')
  const missing = await failureOf(client({ mapCopy: join(folder, 'none.json') }))
  expect(missing.code).toBe('server_unreachable')
  expect((await failureOf(client({ keyspace: 'other' }))).code).toBe('server_unreachable')
})

it('is refused where it cannot be read or written', async () => {
  const unwritable = await failureOf(client({ mapCopy: join(folder, 'none', 'map.json') }))
  expect(unwritable).toMatchObject({ code: 'invalid_request', outcome: 'aborted' })
  writeFileSync(mapCopy, '{"topology": {"keyspace": 1}}')
  routersAreAway = true
  const broken = await failureOf(client())
  expect(broken.code).toBe('corrupt_record')
  expect(broken.hint).toContain('delete the file')
})
