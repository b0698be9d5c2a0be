// What tokens let their owners do with rows, over HTTP and over the Postgres port.
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseKeyspaceName, type Permission, type TokenRecord } from '@fleetshard/core'
import { testTable } from '@fleetshard/routing/testing'
import { postgresBuilds, startTestPostgres, type TestPostgres } from '../../engine/postgres/wire/testing.ts'
import { systemClock } from '../../runtime/mod.ts'
import { createAuthenticator, makeToken, type KnownTokens } from '../../security/mod.ts'
import { routerRoutes, type RouteParts } from './listeners/http/routes.ts'
import { startTestRouter, type TestRouter } from './testing.ts'

const schema = `
  create table users (user_id text primary key, n int default 0);
  create view all_users as select * from users;
  create sequence counter;
  create function sneaky() returns int language sql as 'update users set n = 99 returning n';
  create function quiet() returns int language sql stable as 'select 1';
`
const tables = [testTable('public.users')]
const [build] = postgresBuilds()
/** The keyspace of the test. */
const keyspace = parseKeyspaceName('app')

let server: TestPostgres
let router: TestRouter
let tokens: KnownTokens = new Map()

function made(name: string, ...scopes: string[]): string {
  const { id, token, digest } = makeToken()
  const record: TokenRecord = {
    id,
    digest,
    name,
    scopes,
    createdBy: 'test',
    createdAt: '',
    expiresAt: null,
    version: 1,
  }
  tokens = new Map([...tokens, [id, record]])
  return token
}

const reader = made('reader', 'read:app')
const writer = made('writer', 'write:app')
const stranger = made('stranger', 'write:other')
const viewer = made('viewer', 'viewer')
const operator = made('operator', 'operator')
const admin = made('admin', 'admin')

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  router = await startTestRouter(server, {
    shards: 2,
    tables,
    schema,
    authenticator: createAuthenticator({
      clock: systemClock,
      isRequired: true,
      onlyOwnHost: false,
      adminToken: null,
      tokens: () => tokens,
      jwt: null,
      failuresPerMinute: 0,
      requestsPerSecond: 0,
    }),
  })
})
afterAll(async () => {
  await router[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

async function send(token: string | null, method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(router.url + path, {
    method,
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) }
}

const execute = (token: string | null, query: string, more: Record<string, unknown> = {}): Promise<Answer> =>
  send(token, 'POST', '/v1/execute', { query, shard_key: 'u1', options: { keyspace }, ...more })

const codeOf = ({ status, body }: Answer): unknown => (status < 300 ? 'ok' : body['code'])

const ALLOWED: Readonly<Record<string, readonly Permission[]>> = {
  viewer: ['open', 'place'],
  operator: ['open', 'place'],
  reader: ['open', 'place', 'query'],
  writer: ['open', 'place', 'query', 'login'],
  admin: ['open', 'place', 'query', 'login'],
  nobody: ['open'],
}

describe('the matrix', () => {
  it.each(Object.entries({ viewer, operator, reader, writer, admin, nobody: null }))(
    'of %s is what the table says, for every route',
    async (who, token) => {
      const routes = routerRoutes({} as RouteParts)
      expect(routes.length).toBeGreaterThan(11)
      for (const { method, url, permission } of routes) {
        const path = url.replaceAll(/:\w+/g, 'none')
        const { status, body } = await send(token, method, path, method === 'POST' ? {} : undefined)
        const refusal = token === null ? 401 : 403
        const isAllowed = ALLOWED[who]!.includes(permission)
        // Of another keyspace, which only the request itself names.
        const isOther = isAllowed && body['code'] === 'forbidden'
        const seen = [401, 403].includes(status) && !isOther ? status : 'let in'
        expect(seen, `${method} ${url}`).toBe(isAllowed ? 'let in' : refusal)
      }
    },
  )

  it('is asked before the body is read, on the hot endpoints too', async () => {
    const body = 'x'.repeat(1_000_000)
    for (const path of ['/v1/execute', '/v1/execute/', '/v1/transaction', '/v1/route']) {
      const response = await fetch(router.url + path, { method: 'POST', body })
      expect(response.status).toBe(401)
      expect(response.headers.get('www-authenticate')).toContain('Bearer')
      await response.text()
    }
  })
})

describe('a grant', () => {
  it('is for one keyspace', async () => {
    expect(codeOf(await execute(stranger, 'select 1'))).toBe('forbidden')
    expect(codeOf(await execute(viewer, 'select 1'))).toBe('forbidden')
    expect(codeOf(await send(stranger, 'GET', '/v1/shard-for-key?key=a&keyspace=app'))).toBe('forbidden')
    expect(codeOf(await send(stranger, 'GET', '/v1/topology?keyspace=app'))).toBe('forbidden')
    expect((await send(stranger, 'GET', '/v1/topology')).body['keyspaces']).toEqual([])
    const shown = (await send(reader, 'GET', '/v1/topology')).body['keyspaces'] as {
      keyspace: { name: string }
    }[]
    expect(shown.map((one) => one.keyspace.name)).toEqual(['app'])
    const route = { query: 'select 1', options: { keyspace } }
    expect(codeOf(await send(stranger, 'POST', '/v1/route', route))).toBe('forbidden')
    expect(codeOf(await send(reader, 'POST', '/v1/route', route))).toBe('ok')
  })

  it('to write is needed for the logins of direct clients', async () => {
    const body = { client_id: 'c1', keyspace: 'app', acked_epoch: 1 }
    expect(codeOf(await send(reader, 'POST', '/v1/topology/sessions', body))).toBe('forbidden')
    expect(codeOf(await send(stranger, 'POST', '/v1/topology/sessions', body))).toBe('forbidden')
    expect(codeOf(await send(writer, 'POST', '/v1/topology/sessions', body))).not.toBe('forbidden')
  })

  const reads = [
    'select * from users',
    'select count(*), max(n) from users',
    'select now(), random(), current_setting($$server_version$$)',
    'with a as (select n from users) select * from a',
    'explain select * from users',
    'select relname from pg_catalog.pg_class limit 1',
    'show server_version',
  ]
  const more = [
    "insert into users values ('u1')",
    'update users set n = 1',
    'delete from users',
    'truncate users',
    "with a as (insert into users values ('u1') returning n) select * from a",
    'select * from users for update',
    'explain analyze delete from users',
    'select sneaky()',
    'explain analyze select sneaky()',
    'select quiet()',
    'select * from all_users',
    "select nextval('counter')",
    "select setval('counter', 5)",
    "select set_config('default_transaction_read_only', 'off', false)",
    'select pg_advisory_xact_lock(1)',
    "select pg_read_file('postgresql.conf')",
    'select rolpassword from pg_authid',
    'select passwd from pg_catalog.pg_shadow',
    'select pg_terminate_backend(1)',
    "select query_to_xml('select sneaky()', true, true, '')",
    'create table t (n int)',
    'create temp table t (n int)',
    'drop table users',
    'do $$ begin delete from users; end $$',
    'vacuum users',
    'refresh materialized view users',
    'notify a',
    'lock table users',
    'set role postgres',
  ]
  /** What the surface itself refuses, whoever asks. */
  const refusedAnyway = new Set(['statement_refused', 'invalid_request'])

  it.each(reads)('to read lets pass over HTTP: %s', async (query) => {
    expect(codeOf(await execute(reader, query))).toBe('ok')
  })

  it.each(more)('to read refuses over HTTP: %s', async (query) => {
    const answer = await execute(reader, query)
    expect(answer.body).toMatchObject({ code: 'forbidden', sqlstate: '42501', outcome: 'aborted' })
  })

  it('to read is held in transactions, of one request and of several, with keys and streams', async () => {
    const options = { keyspace }
    const together = { shard_key: 'u1', statements: [{ query: "insert into users values ('u1')" }], options }
    expect(codeOf(await send(reader, 'POST', '/v1/transaction', together))).toBe('forbidden')
    const tricky = {
      ...together,
      statements: [{ query: 'set local transaction_read_only = off' }, { query: 'select sneaky()' }],
    }
    expect(codeOf(await send(reader, 'POST', '/v1/transaction', tricky))).toBe('forbidden')
    const hidden = { ...together, statements: [{ query: 'select 1' }, { query: 'select sneaky()' }] }
    expect(codeOf(await send(reader, 'POST', '/v1/transaction', hidden))).toBe('forbidden')
    const keyed = { options: { keyspace, idempotency_key: 'k' } }
    expect(codeOf(await execute(reader, "insert into users values ('u1')", keyed))).toBe('forbidden')
    expect(codeOf(await execute(reader, 'select sneaky()', keyed))).toBe('forbidden')
    const begun = await send(reader, 'POST', '/v1/transactions', { shard_key: 'u1', options })
    const path = `/v1/transactions/${String(begun.body['transaction_id'])}/execute`
    expect(codeOf(await send(reader, 'POST', path, { query: 'select sneaky()' }))).toBe('forbidden')
    expect(await router.rowsIn(router.snapshot().shards[0]!.id, 'select count(*) from users')).toEqual([
      ['0'],
    ])
  })

  it('to write writes', async () => {
    expect(codeOf(await execute(writer, "insert into users (user_id) values ('u1')"))).toBe('ok')
    expect(codeOf(await execute(admin, "delete from users where user_id = 'u1'"))).toBe('ok')
  })

  it('does not reach the open transaction of another', async () => {
    const begun = await send(writer, 'POST', '/v1/transactions', { shard_key: 'u1', options: { keyspace } })
    const path = `/v1/transactions/${String(begun.body['transaction_id'])}`
    for (const [word, body] of [
      ['execute', { query: 'select 1' }],
      ['commit', undefined],
      ['rollback', undefined],
    ] as const)
      expect(codeOf(await send(admin, 'POST', `${path}/${word}`, body))).toBe('transaction_not_found')
    expect(codeOf(await send(writer, 'POST', `${path}/rollback`))).toBe('ok')
  })

  describe('over the Postgres port', () => {
    const connect = async (password: string, database = 'app', user = 'token'): Promise<pg.Client> => {
      const client = new pg.Client({ host: '127.0.0.1', port: router.wirePort, user, password, database })
      client.on('error', () => undefined)
      await client.connect()
      return client
    }
    const sqlstateOf = async (work: Promise<unknown>): Promise<string> =>
      work.then(
        () => 'ok',
        (error: unknown) => String((error as { code?: unknown }).code),
      )

    it('comes with the token as password; others are refused', async () => {
      const client = await connect(writer)
      await client.query("insert into users (user_id) values ('w1')")
      await client.query("delete from users where user_id = 'w1'")
      await client.end()
      expect(await sqlstateOf(connect('nonsense'))).toBe('28P01')
      expect(await sqlstateOf(connect(`${reader}x`))).toBe('28P01')
      expect(await sqlstateOf(connect(stranger))).toBe('42501')
      expect(await sqlstateOf(connect(viewer))).toBe('42501')
    })

    it('shows the router itself to those who may see it', async () => {
      expect(await sqlstateOf(connect(reader, 'fleetshard'))).toBe('42501')
      const client = await connect(viewer, 'fleetshard')
      expect((await client.query('show clients')).rows).toEqual([])
      await client.end()
    })

    it.each(['simple', 'extended', 'prepared'] as const)(
      'to read is held in the %s protocol',
      async (way) => {
        const client = await connect(reader)
        const run = (text: string): Promise<unknown> =>
          way === 'simple'
            ? client.query(text)
            : client.query({ text, values: [], ...(way === 'prepared' ? { name: text.slice(0, 60) } : {}) })
        await client.query("set fleetshard.shard_key = 'u1'")
        for (const text of reads) expect(await sqlstateOf(run(text)), text).toBe('ok')
        for (const text of more) {
          const code = await sqlstateOf(run(text))
          expect(code === '42501' || refusedAnyway.has(code) || code === '0A000', `${text}: ${code}`).toBe(
            true,
          )
        }
        await client.end()
      },
    )

    it('to read is held in transactions, cursors, COPY and several statements at once', async () => {
      const client = await connect(reader)
      await client.query("set fleetshard.shard_key = 'u1'")
      for (const text of [
        "select 1; insert into users values ('u1')",
        'begin read write; delete from users',
        'set session characteristics as transaction read write; delete from users',
        'declare c cursor with hold for select sneaky()',
        'copy users to stdout',
        "copy (select sneaky()) to program 'id'",
        'call sneaky()',
        'listen a',
        'set session authorization postgres',
      ]) {
        expect(['42501', '0A000', 'F0000', '25P02'], text).toContain(await sqlstateOf(client.query(text)))
        await client.query('rollback')
      }
      // The router keeps what is prepared so, and looks at it when it is executed.
      await client.query('prepare p as delete from users')
      expect(await sqlstateOf(client.query('execute p'))).toBe('42501')
      await client.query('begin')
      expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
      await client.query('commit')
      await client.end()
    })
  })
})

it('a token that is revoked is refused from then on, over both ways', async () => {
  const token = made('short', 'write:app')
  expect(codeOf(await execute(token, 'select 1'))).toBe('ok')
  tokens = new Map([...tokens].filter(([, { name }]) => name !== 'short'))
  expect(codeOf(await execute(token, 'select 1'))).toBe('unauthenticated')
  const client = new pg.Client({
    host: '127.0.0.1',
    port: router.wirePort,
    user: 'token',
    password: token,
    database: 'app',
  })
  await expect(client.connect()).rejects.toMatchObject({ code: '28P01' })
})
