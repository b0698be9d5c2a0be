// Limits of the Postgres port by login and by address, as drivers see them.
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { query } from '@fleetshard/routing/wire'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  testPassword,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'

const schema = `
  create table users (user_id text primary key, n int default 0);
  grant select, insert, update on users to scram;
`
const [build] = postgresBuilds()
/** Many more than the limit, so that even a machine that takes seconds for them has to refuse some. */
const statements = 300
const perLogin = 10

let server: TestPostgres
let router: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  const connection = await server.connect()
  await query(connection, `create role owner superuser login password '${testPassword}'`)
  await connection.close()
  const text = 'select rolpassword from pg_catalog.pg_authid where rolname = $1 and rolcanlogin'
  router = await startTestRouter(server, {
    shards: 2,
    tables: [testTable('public.users')],
    schema,
    options: {
      wire: {
        host: '127.0.0.1',
        port: 0,
        limits: {
          connectionsMax: 100,
          connectionsPerAddressMax: 100,
          loginTimeoutMs: 10_000,
          messageBytesMax: 2 ** 20,
          failuresPerMinute: 5,
        },
        statementRates: { perLogin, perAddress: 0 },
        authentication: { kind: 'query', text },
        tls: null,
      },
    },
    tcp: true,
  })
})
afterAll(async () => {
  await router[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const connect = async (user: string, password = testPassword): Promise<pg.Client> => {
  const client = new pg.Client({ host: '127.0.0.1', port: router.wirePort, user, password, database: 'app' })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

/** Outcomes of statements that were sent one behind the other. */
async function outcomes(
  client: pg.Client,
  make: (index: number) => pg.QueryConfig,
): Promise<readonly unknown[]> {
  const sent = Array.from({ length: statements }, (_, index) => client.query(make(index)))
  return Promise.all(
    sent.map((one) =>
      one.then(
        () => 'ok',
        (error: unknown) => error,
      ),
    ),
  )
}

const tooMany = {
  code: '53400',
  message: 'too many statements of the user scram',
  hint: `router.wire-statements-per-second is ${String(perLogin)}: send less, or wait`,
}

describe('a login that sends more statements than it may', () => {
  it.each([
    ['the simple protocol', () => ({ text: "select n from users where user_id = 'a'" })],
    ['the extended one', () => ({ text: 'select n from users where user_id = $1', values: ['a'] })],
    ['prepared ones', () => ({ name: 'p', text: 'select n from users where user_id = $1', values: ['a'] })],
  ])('is told so over %s, and can go on later', async (_way, make) => {
    const client = await connect('scram')
    const all = await outcomes(client, make)
    const refused = all.filter((one) => one !== 'ok')
    expect(refused.length).toBeGreaterThan(0)
    for (const error of refused) expect(error).toMatchObject(tooMany)
    await expect
      .poll(() =>
        client.query(make()).then(
          ({ rowCount }) => rowCount,
          () => null,
        ),
      )
      .toBe(0)
    await client.end()
  })

  it('can end its transaction, which has failed', async () => {
    const client = await connect('scram')
    await expect
      .poll(() =>
        client.query('begin').then(
          ({ command }) => command,
          () => null,
        ),
      )
      .toBe('BEGIN')
    const all = await outcomes(client, () => ({ text: "select n from users where user_id = 'a'" }))
    expect(all.find((one) => one !== 'ok')).toMatchObject(tooMany)
    expect((await client.query('rollback')).command).toBe('ROLLBACK')
    await client.end()
  })

  it('does not hold up others of the same address', async () => {
    const [one, other] = [await connect('scram'), await connect('owner')]
    await outcomes(one, () => ({ text: 'select 1' }))
    expect((await other.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    await one.end()
    await other.end()
  })
})

it('an address with too many wrong passwords has to wait, whoever it tries to be', async () => {
  const codes: unknown[] = []
  for (let guess = 0; guess < 40; guess += 1) {
    const error: unknown = await connect(`user-${String(guess)}`, 'wrong').catch((caught: unknown) => caught)
    codes.push((error as { code?: string }).code)
  }
  expect(codes.slice(0, 5)).toEqual(Array.from({ length: 5 }, () => '28P01'))
  expect(codes).toContain('53400')
  expect(new Set(codes)).toEqual(new Set(['28P01', '53400']))
  await expect(connect('owner')).rejects.toMatchObject({
    code: '53400',
    hint: expect.stringContaining('router.wire-failures-per-minute is 5') as string,
  })
})
