// What a slow statement leaves in the log, by HTTP and on the Postgres port: where it ran and how it reads, and nothing
// of its values.
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { Client } from 'pg'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { testTable } from '@fleetshard/routing/testing'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from './testing.ts'

const secret = 'hunter2'
let server: TestPostgres
let router: TestRouter
let written = ''
const target = new Writable({
  write(chunk, _encoding, done) {
    written += String(chunk)
    done()
  },
})

beforeAll(async () => {
  server = await startTestPostgres(postgresBuilds()[0]!)
  router = await startTestRouter(server, {
    shards: 2,
    tables: [testTable('public.users')],
    schema: 'create table users (user_id text primary key, n int default 0)',
    log: pino({ level: 'info' }, target),
    // Everything is slow.
    options: { slowStatementMs: 0.001 },
  })
})
afterAll(async () => {
  await router[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})
beforeEach(() => {
  written = ''
})

const slow = (): Record<string, unknown>[] =>
  written
    .split('\n')
    .filter((line) => line.includes('"slow_statement"'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)

test('over HTTP, with the trace that its client has begun', async () => {
  const trace = '0af7651916cd43dd8448eb211c80319c'
  const answer = await fetch(`${router.url}/v1/execute`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', traceparent: `00-${trace}-b7ad6b7169203331-01` },
    body: JSON.stringify({
      shard_key: secret,
      query: `insert into users (user_id, n) values ($1, /* ${secret} */ 1) returning '${secret}' as x`,
      params: [secret],
      options: { keyspace: 'app' },
    }),
  })
  const { shard_id: shard } = (await answer.json()) as { shard_id: string }
  expect(slow()).toMatchObject([
    {
      statement: 'insert into users (user_id, n) values ($1, ?) returning ? as x',
      via: 'http',
      keyspace: 'app',
      shard,
      rows: 1,
      trace_id: trace,
    },
  ])
  expect(written).not.toContain(secret)
})

test('on the Postgres port, plain and prepared, with the state of an error', async () => {
  const client = new Client({ host: '127.0.0.1', port: router.wirePort, user: 'app', database: 'app' })
  await client.connect()
  await client.query(`select n from users where user_id = '${secret}'`)
  await client.query('select n from users where user_id = $1 and n <> 77', [secret])
  await expect(
    client.query(`insert into users (user_id, n) values ('${secret}', '${secret}')`),
  ).rejects.toThrow()
  await client.end()
  expect(slow().map(({ statement, via, sqlstate }) => [statement, via, sqlstate])).toEqual([
    ['select n from users where user_id = ?', 'wire', ''],
    ['select n from users where user_id = $1 and n <> ?', 'wire', ''],
    ['insert into users (user_id, n) values (?, …)', 'wire', '22P02'],
  ])
  expect(written).not.toContain(secret)
})
