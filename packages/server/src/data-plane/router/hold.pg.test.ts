// A shard that is held for a cutover: writes and strong reads wait for the next map and are then placed by it, older
// reads go on, and what had waited for a connection since before the hold is not sent by the old map.
import { parseShardId } from '@fleetshard/core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { exec, query, type ServerConnection } from '@fleetshard/routing/wire'
import { testTable } from '@fleetshard/routing/testing'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from './testing.ts'
import { ownedBy, withHold } from './testing-hold.ts'

const schema = 'create table users (user_id text primary key, n int default 0)'
const s0 = parseShardId('s0')
const s1 = parseShardId('s1')
const options = { keyspace: 'app' }

describe('a held shard', () => {
  let server: TestPostgres
  let router: TestRouter
  let direct: ServerConnection

  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
  })
  afterAll(() => server[Symbol.asyncDispose]())
  beforeEach(async () => {
    router = await startTestRouter(server, {
      shards: 2,
      tables: [testTable('public.users')],
      schema,
      execute: { connectionsPerNodeMax: 1, lanesPerNodeMax: 0 },
    })
    direct = await server.connect({ database: router.database(s0) })
    await owned(s0)
  })
  afterEach(async () => {
    await direct.close()
    await router[Symbol.asyncDispose]()
  })

  const owned = (owner: typeof s0) => router.replaced((snapshot) => ownedBy(snapshot, owner))
  const hold = () => router.replaced((snapshot) => withHold(snapshot, s0))

  const execute = (text: string, params: unknown[] = [], more: Record<string, unknown> = {}) =>
    router.post('/v1/execute', { query: text, params, options, shard_key: 'u', ...more })
  const insert = (key: string) => execute('insert into users (user_id) values ($1)', [key])
  const rowsOn = async (connection: ServerConnection): Promise<string | null | undefined> =>
    (await query(connection, 'select count(*) from users', [])).rows[0]?.[0]

  it('takes no write and no strong read until the next map, which says where they go', async () => {
    await hold()
    const waiting = [
      insert('u'),
      execute('select * from users where user_id = $1', ['u']),
      router.post('/v1/transaction', {
        statements: [{ query: 'insert into users (user_id) values ($1)', params: ['u2'] }],
        shard_key: 'u2',
        options,
      }),
    ]
    let isAnswered = false
    for (const one of waiting) void one.then(() => (isAnswered = true))
    // An older read overtakes all of them.
    const older = await execute('select * from users', [], { consistency: 'eventual' })
    expect(older).toMatchObject({ status: 200, body: { shard_id: 's0' } })
    expect(isAnswered).toBe(false)
    await owned(s1)
    for (const answer of await Promise.all(waiting)) {
      expect(answer).toMatchObject({ status: 200, body: { shard_id: 's1' } })
    }
    expect(await rowsOn(direct)).toBe('0')
  })

  it('goes on where it was when the hold is taken off', async () => {
    await hold()
    const waiting = insert('u')
    await owned(s0)
    expect(await waiting).toMatchObject({ status: 200, body: { shard_id: 's0' } })
  })

  it('sends nothing by the old map that was still waiting for a connection', async () => {
    await exec(direct, 'begin; lock table users in share mode')
    const first = insert('u')
    // By a connection of its own: within a transaction the view stays as it was first seen.
    const observer = await server.connect({ database: router.database(s0) })
    const blocked = `pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`
    while ((await query(observer, `select count(*) from ${blocked}`, [])).rows[0]?.[0] !== '1');
    await observer.close()
    const behind = insert('v')
    await hold()
    await exec(direct, 'commit')
    expect(await first).toMatchObject({ status: 200, body: { shard_id: 's0' } })
    await owned(s1)
    expect(await behind).toMatchObject({ status: 200, body: { shard_id: 's1' } })
    expect(await rowsOn(direct)).toBe('1')
  })
})
