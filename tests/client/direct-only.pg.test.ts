// What only direct mode has: logins, the way back to http mode, servers that answer no more.
import { connect, type FleetShard } from '@fleetshard/client'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseEpoch } from '@fleetshard/core'
import type { ConformanceContext } from './conformance.ts'
import { startContext } from './context.ts'
import { failureOf } from './failure.ts'
import { until } from '../e2e/harness/until.ts'

let context: ConformanceContext & AsyncDisposable
beforeAll(async () => {
  context = await startContext('direct')
})
afterAll(() => context[Symbol.asyncDispose]())

/** As a proxy would pass requests on. */
const proxied: typeof fetch = (input, init = {}) => {
  const headers = new Headers(init.headers)
  headers.set('x-forwarded-for', '203.0.113.7')
  return fetch(input, { ...init, headers })
}

const works = async (db: FleetShard): Promise<void> => {
  expect(await db.sql`select 1 as one`).toEqual([{ one: 1 }])
}

describe('where the router hands out no logins', () => {
  it('goes through the router instead, and says why', async () => {
    await using db = await connect({
      url: context.router.url,
      keyspace: 'app',
      mode: 'direct',
      fetch: proxied,
    })
    expect({ mode: db.mode, why: db.fallback?.code }).toEqual({ mode: 'http', why: 'direct_refused' })
    await works(db)
  })

  it('fails when it may not', async () => {
    const error = await failureOf(context.connect({ fetch: proxied }))
    expect(error).toMatchObject({ code: 'direct_refused', outcome: 'aborted' })
  })

  it('takes logins of its caller, one for all or one for each server', async () => {
    const asked: string[] = []
    const login = { user: 'postgres', password: '' }
    await using one = await context.connect({ fetch: proxied, credentials: login })
    await works(one)
    await using each = await context.connect({
      fetch: proxied,
      credentials: async ({ id, shardId, role }) => {
        asked.push(`${shardId} ${role} ${id}`)
        return login
      },
    })
    await works(each)
    expect(asked[0]).toMatch(/^s\d primary /)
  })

  it('says that a server refuses a login', async () => {
    const credentials = { user: 'nobody_of_that_name', password: 'wrong' }
    const error = await failureOf(context.connect({ fetch: proxied, credentials, fallback: true }))
    expect(error).toMatchObject({ code: 'shard_unavailable', facts: { server_sqlstate: '28000' } })
  })
})

it('asks where its writes lie from the first look at the session on, and sends reads to the primary before', async () => {
  await using db = await context.connect()
  const write = () => db.shard('lazy').sql`insert into notes (user_id) values ('lazy')`
  const read = () =>
    db.shard('lazy').query('select 1 from notes', [], { consistency: { session: db.session } })
  await write()
  expect(db.session).toMatch(/^fs1,app\/s\d=0\.f{16}$/)
  expect((await read()).rowCount).toBe(1)
  await write()
  expect(db.session).toMatch(/^fs1,app\/s\d=[1-9a-f][0-9a-f]*\.(?!f{16})[0-9a-f]+$/)
  expect((await read()).rowCount).toBe(2)
})

describe('a server that accepts and never answers', () => {
  let silent: Server
  beforeAll(async () => {
    silent = createServer(() => undefined)
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  })
  afterAll(() => void silent.close())

  /** Moves all shards to that server, for the time of the test. */
  async function whileSilent(test: () => Promise<void>): Promise<void> {
    const { router, db } = context
    const before = router.snapshot()
    const { port } = silent.address() as AddressInfo
    const at = (epoch: number, moved: boolean) => ({
      ...before,
      epoch: parseEpoch(epoch),
      shards: before.shards.map((shard) => ({
        ...shard,
        version: shard.version + (moved ? 1 : 2),
        nodes: shard.nodes.map((node) => (moved ? { ...node, host: '127.0.0.1', port } : node)),
      })),
    })
    router.replace(() => at(before.epoch + 1, true))
    await until('the client knows', () => db.shardFor('a').epoch === before.epoch + 1)
    try {
      await test()
    } finally {
      router.replace(() => at(before.epoch + 2, false))
      await until('the client knows', () => db.shardFor('a').epoch === before.epoch + 2)
    }
  }

  it('is bounded by the time of the call', () =>
    whileSilent(async () => {
      const begun = performance.now()
      const error = await failureOf(context.db.query('select 1', [], { timeoutMs: 300 }))
      expect(error).toMatchObject({ code: 'deadline_exceeded', outcome: 'aborted' })
      expect(performance.now() - begun).toBeLessThan(5_000)
    }))

  it('is not waited for by connect for longer than it may', () =>
    whileSilent(async () => {
      await using db = await context.connect({ fallback: true, connectTimeoutMs: 2_000 })
      expect({ mode: db.mode, why: db.fallback?.code }).toEqual({ mode: 'http', why: 'shard_unavailable' })
      expect((await failureOf(context.connect({ connectTimeoutMs: 2_000 }))).code).toBe('shard_unavailable')
    }))

  it('is left as soon as the map says so', async () => {
    await works(context.db)
  })
})
