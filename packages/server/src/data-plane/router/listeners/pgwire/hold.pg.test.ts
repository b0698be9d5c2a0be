// Sessions on a shard that is held for a cutover: what has not begun waits for the next map and goes where it says,
// older reads go on, and so does what has begun.
import pg from 'pg'
import { parseShardId } from '@fleetshard/core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { writeCancelRequest, writeQuery } from '@fleetshard/routing/pgwire'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { ownedBy, withHold } from '../../testing-hold.ts'
import { errorOf, RawClient } from './testing.ts'

const schema = 'create table users (user_id text primary key, n int default 0)'
const s0 = parseShardId('s0')
const s1 = parseShardId('s1')

let server: TestPostgres
let router: TestRouter
const open = new Set<pg.Client>()
/** Keys that lie on the shard that is held. */
let [a, b, c, d] = ['', '', '', '']
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
  ;[a, b, c, d] = await keysOn(s0)
})
afterEach(async () => {
  await Promise.all(Array.from(open, (client) => client.end()))
  open.clear()
  await router[Symbol.asyncDispose]()
})

/** Four of them. */
async function keysOn(shard: typeof s0): Promise<[string, string, string, string]> {
  const found: string[] = []
  for (let n = 0; found.length < 4; n += 1) {
    const key = `k${String(100 + n)}`
    const answer = await fetch(`${router.url}/v1/shard-for-key?key=${key}&keyspace=app`)
    if (((await answer.json()) as { shard_id: string }).shard_id === shard) found.push(key)
  }
  const [one = '', two = '', three = '', four = ''] = found
  return [one, two, three, four]
}

function keyOf({ messages }: RawClient): { processId: number; secretKey: Buffer } {
  const { bytes } = messages.find(({ type }) => type === 'K')!
  return { processId: bytes.readInt32BE(5), secretKey: bytes.subarray(9) }
}

const insert = 'insert into users (user_id) values ($1)'
const owned = (owner: typeof s0) => router.replaced((snapshot) => ownedBy(snapshot, owner))
const hold = () => router.replaced((snapshot) => withHold(snapshot, s0))
const usersOn = async (shard: typeof s0) =>
  (await router.rowsIn(shard, 'select user_id from users order by 1')).flat()

async function connect(to = router): Promise<pg.Client> {
  const client = new pg.Client({ host: '127.0.0.1', port: to.wirePort, user: 'app', database: 'app' })
  client.on('error', () => undefined)
  open.add(client)
  await client.connect()
  return client
}

it('takes no write and no strong read until the next map, which says where they go', async () => {
  const [simple, extended, reader, transaction, older] = await Promise.all([
    connect(),
    connect(),
    connect(),
    connect(),
    connect(),
  ])
  await older.query("set fleetshard.consistency = 'eventual'")
  await transaction.query('begin')
  await router.onShard(s1, `insert into users (user_id) values ('${c}')`)
  await hold()
  let answered = 0
  const waiting = [
    simple.query(`insert into users (user_id) values ('${a}')`),
    extended.query(insert, [b]),
    reader.query('select current_database() as name from users where user_id = $1', [c]),
    // It has the one connection until it ends.
    transaction.query(insert, [d]).then(() => transaction.query('commit')),
  ]
  for (const one of waiting) void one.then(() => (answered += 1))
  // An older read, and what belongs to no shard, overtake all of them.
  expect((await older.query('select user_id from users where user_id = $1', [c])).rows).toEqual([])
  expect((await older.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  expect(answered).toBe(0)
  await owned(s1)
  const [, , found] = await Promise.all(waiting)
  expect(found?.rows).toEqual([{ name: router.database(s1) }])
  expect(await usersOn(s0)).toEqual([])
  expect(await usersOn(s1)).toEqual([a, b, c, d].toSorted())
})

it('sends no read to a lane by the map of before', async () => {
  await using lanes = await startTestRouter(server, {
    shards: 2,
    tables: [testTable('public.users')],
    schema,
  })
  const reader = await connect(lanes)
  const read = { name: 'read', text: 'select current_database() as name from users where user_id = $1' }
  await lanes.onShard(s0, `insert into users (user_id) values ('${a}')`)
  await lanes.onShard(s1, `insert into users (user_id) values ('${a}')`)
  // Cheap enough for a lane from the second on.
  for (let round = 0; round < 5; round += 1)
    expect((await reader.query(read, [a])).rows).toEqual([{ name: lanes.database(s0) }])
  await lanes.replaced((snapshot) => withHold(snapshot, s0))
  const reading = reader.query(read, [a])
  await lanes.replaced((snapshot) => ownedBy(snapshot, s1))
  expect((await reading).rows).toEqual([{ name: lanes.database(s1) }])
  await reader.end()
  open.delete(reader)
})

it('lets a transaction go on that has begun before', async () => {
  const client = await connect()
  await client.query('begin')
  await client.query(insert, [a])
  await hold()
  await client.query(insert, [b])
  await client.query('commit')
  await owned(s1)
  expect(await usersOn(s0)).toEqual([a, b].toSorted())
})

it('moves a transaction that has read and written nothing yet', async () => {
  const client = await connect()
  await client.query('begin isolation level repeatable read')
  await client.query('set local statement_timeout = 12345')
  await hold()
  const writing = client.query(insert, [a])
  await owned(s1)
  await writing
  const shown = await client.query(
    `select current_setting('statement_timeout') as t, current_setting('transaction_isolation') as i, user_id
     from users where user_id = $1`,
    [a],
  )
  expect(shown.rows).toEqual([{ t: '12345ms', i: 'repeatable read', user_id: a }])
  await client.query('commit')
  expect(await usersOn(s1)).toEqual([a])
})

it('gives up waiting when its client cancels', async () => {
  const raw = await RawClient.open(router.wirePort)
  const { processId, secretKey } = keyOf(raw)
  await hold()
  raw.send((out) => {
    writeQuery(out, `insert into users (user_id) values ('${a}')`)
  })
  await raw.sent()
  // A request that comes before the statement has no effect, so it is made again.
  let isAnswered = false
  const answered = raw.until('Z').then((messages) => {
    isAnswered = true
    return messages
  })
  while (!isAnswered) {
    const canceler = new RawClient(router.wirePort)
    canceler.send((out) => {
      writeCancelRequest(out, processId, secretKey)
    })
    await canceler.closed()
  }
  expect(errorOf(await answered)?.code).toBe('57014')
  await raw[Symbol.asyncDispose]()
  expect(await usersOn(s0)).toEqual([])
})

it('sends nothing by the old map that was still waiting for a connection', async () => {
  const [first, second] = [await connect(), await connect()]
  await first.query('begin')
  await first.query(insert, [a])
  const behind = second.query(insert, [b])
  await hold()
  await first.query('commit')
  await owned(s1)
  await behind
  expect(await usersOn(s0)).toEqual([a])
  expect(await usersOn(s1)).toEqual([b])
})

const fenceSql = `
  create sequence met;
  create function moved() returns trigger language plpgsql as $$
    begin perform nextval('met'); raise 'the rows have moved' using errcode = 'FS001'; end $$;
  create trigger fence before insert on users for each row execute function moved()`

it('goes by the next map where a fence tells of it first', async () => {
  const [simple, extended, transaction] = await Promise.all([connect(), connect(), connect()])
  await router.onShard(s0, fenceSql)
  await transaction.query('begin isolation level serializable')
  await transaction.query("set local work_mem = '5MB'")
  const writing = [
    simple.query(`insert into users (user_id) values ('${a}')`),
    extended.query(insert, [b]),
    // It has the one connection until it ends.
    transaction.query(`${insert} returning current_setting('work_mem')`, [c]).then(async (inserted) => {
      await transaction.query('commit')
      return inserted
    }),
  ]
  await expect
    .poll(async () => Number((await router.rowsIn(s0, 'select last_value from met')).flat()[0]))
    .toBeGreaterThanOrEqual(3)
  await owned(s1)
  const [, , inserted] = await Promise.all(writing)
  expect(inserted?.rows).toEqual([{ current_setting: '5MB' }])
  expect(await usersOn(s0)).toEqual([])
  expect(await usersOn(s1)).toEqual([a, b, c].toSorted())
})

it('says 40001 to a transaction that meets a fence after a write', async () => {
  const client = await connect()
  await router.onShard(s0, fenceSql.replace('before insert', 'before update'))
  await client.query('begin')
  await client.query(insert, [a])
  await expect(client.query('update users set n = 1 where user_id = $1', [a])).rejects.toMatchObject({
    code: '40001',
  })
  await expect(client.query(insert, [b])).rejects.toMatchObject({ code: '25P02' })
  await client.query('rollback')
  expect(await usersOn(s0)).toEqual([])
})
