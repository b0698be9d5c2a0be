// A keyspace whose tables have keys of different types: a key alone tells the shard where all types agree on it.
import { connect } from '@fleetshard/client'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { testSnapshot, testTable } from '@fleetshard/routing/testing'
import { startTestRouter, type TestRouter } from '../../packages/server/src/data-plane/router/testing.ts'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../packages/server/src/engine/postgres/wire/testing.ts'
import { failureOf } from './failure.ts'

const tables = [
  testTable('public.users'),
  testTable('public.orders', { keyColumn: 'customer', keyType: 'int8' }),
]
const schema = `create table users (user_id text not null, name text);
  create table orders (customer bigint not null, what text);`

let server: TestPostgres
let alike: TestRouter
let apart: TestRouter
beforeAll(async () => {
  const [build] = postgresBuilds()
  server = await startTestPostgres(build!)
  alike = await startTestRouter(server, { shards: 2, tables, schema })
  const plain = testSnapshot(2, tables)
  const snapshot = { ...plain, keyspace: { ...plain.keyspace, hash: 'postgres' as const } }
  apart = await startTestRouter(server, { shards: 2, snapshot, schema })
})
afterAll(async () => {
  await alike[Symbol.asyncDispose]()
  await apart[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const client = (router: TestRouter, mode: 'http' | 'direct') =>
  connect({ url: router.url, keyspace: 'app', mode, fallback: false })

it.each(['http', 'direct'] as const)('has transactions by a key alone, in %s mode', async (mode) => {
  await using db = await client(alike, mode)
  for (const key of [42, '43', 44n, 'ada']) {
    const { shardId } = db.shardFor(key)
    const where = await db.shard(key).transaction(async (tx) => {
      await tx.query('insert into users (user_id) values ($1)', [String(key)])
      if (key !== 'ada') await tx.query('insert into orders (customer) values ($1)', [key])
      return (await tx.query('select 1')).shardId
    })
    expect(where).toBe(shardId)
  }
})

it.each(['http', 'direct'] as const)(
  'says how to name the shard where types disagree, in %s mode',
  async (mode) => {
    await using db = await client(apart, mode)
    const shards = new Map(db.shards().map((shard) => [shard.id, shard]))
    // Keys of which a statement on each table tells that they lie apart.
    const placeIn = async (key: number, text: string) => (await db.query(text, [key])).shardId
    let key = 0
    let place = { user: '', order: '' }
    while (place.user === place.order) {
      key += 1
      place = {
        user: await placeIn(key, 'select 1 from users where user_id = $1'),
        order: await placeIn(key, 'select 1 from orders where customer = $1'),
      }
    }
    const error = await failureOf(db.shard(key).transaction((tx) => tx.query('select 1')))
    expect(error).toMatchObject({ code: 'invalid_shard_key', outcome: 'aborted' })
    expect(error.message).toMatch(/int8 of public\.orders/)
    expect(error.hint).toContain('db.shards()')
    expect(() => db.shardFor(key)).toThrow(expect.objectContaining({ code: 'invalid_shard_key' }))

    const done = await shards.get(place.order)?.transaction(async (tx) => {
      await tx.query('delete from orders where customer = $1', [key])
      await tx.query('insert into orders (customer) values ($1)', [key])
      return 'done'
    })
    expect(done).toBe('done')
    // A statement that shows its table needs no more than the key.
    expect((await db.shard(key).query('select 1 from orders where customer = $1', [key])).rowCount).toBe(1)
  },
)
