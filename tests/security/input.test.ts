// Input that is hostile: paths that leave their folder, bodies and heads without end, clients that send nothing, floods
// of half-open connections, guessed cancel keys, SQL in names, hints, settings and headers. Whoever behaves goes on
// being served, and nothing of the program's inside comes out.
import { connect, type Socket } from 'node:net'
import { randomInt } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { inside, startFleet, type Fleet } from './fleet.ts'

let fleet: Fleet
let writer: string

const usersSql = 'create table users (user_id text primary key, n int default 0)'

beforeAll(async () => {
  fleet = await startFleet(['--http-receive-ms=2s', '--router-wire-login-ms=2s'])
  writer = await fleet.made('app', 'write:default')
  const { status } = await fleet.manager(fleet.adminToken, 'POST', '/api/v1/keyspaces/default/tables', {
    tables: [{ name: 'users', kind: 'sharded', key_column: 'user_id' }],
    ddl: usersSql,
    wait_ms: 60_000,
  })
  expect(status).toBe(201)
  const insert = { shard_key: 'u1', query: 'insert into users (user_id) values ($1)', params: ['u1'] }
  expect((await fleet.router(writer, 'POST', '/v1/execute', insert)).status).toBe(200)
})
afterAll(async () => {
  await fleet[Symbol.asyncDispose]()
})

type Base = 'manager' | 'router'
const bases: readonly Base[] = ['manager', 'router']
const portOf = (base: Base): number => Number(new URL(fleet.cluster.state.urls[base]).port)
const wirePort = (): number => fleet.cluster.state.ports['router.wire-port']!

/** Sends bytes; resolves with all that came until the server closed. */
async function raw(port: number, bytes: string | Buffer): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  let answer = ''
  const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
  socket.on('data', (chunk) => (answer += chunk.toString('latin1')))
  socket.on('error', () => undefined)
  socket.on('close', () => {
    resolve(answer)
  })
  return promise
}

async function open(port: number, bytes: string | Buffer): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  socket.write(bytes)
  // Whatever comes back: a socket that is not read does not end.
  socket.resume()
  return socket
}

const closed = (socket: Socket): Promise<void> =>
  socket.destroyed
    ? Promise.resolve()
    : new Promise((resolve) =>
        socket.once('close', () => {
          resolve()
        }),
      )

/** One row is there, and its table: whatever was tried. */
async function expectServed(): Promise<void> {
  const read = { shard_key: 'u1', query: 'select user_id from users where user_id = $1', params: ['u1'] }
  expect(await fleet.router(writer, 'POST', '/v1/execute', read)).toMatchObject({
    status: 200,
    body: { rows: [{ user_id: 'u1' }] },
  })
  expect((await fleet.manager(fleet.adminToken, 'GET', '/api/v1/shards')).status).toBe(200)
}

function wireClient(more: Record<string, unknown> = {}): pg.Client {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: wirePort(),
    user: 'token',
    password: writer,
    database: 'default',
    ...more,
  })
  client.on('error', () => undefined)
  return client
}

describe('paths', () => {
  const paths = [
    '/docs/static/../../../../../../etc/passwd',
    '/docs/static/..%2f..%2f..%2f..%2fetc%2fpasswd',
    '/docs/static/%2e%2e/%2e%2e/%2e%2e/package.json',
    '/docs/static/....//....//etc/passwd',
    '/docs/static/%00',
    '/docs/static/..%5c..%5cpackage.json',
    '//etc/passwd',
    '/v1/../../etc/passwd',
    '/api/v1/shards/..%2f..%2ftokens',
    '/%c0%ae%c0%ae/etc/passwd',
  ]
  it.each(paths)('%s leads nowhere', async (path) => {
    for (const base of bases) {
      // Past fetch, which tidies paths up.
      const answer = await raw(
        portOf(base),
        `GET ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${fleet.adminToken}\r\nconnection: close\r\n\r\n`,
      )
      expect(answer.slice(0, 12), base).toMatch(/^HTTP\/1\.1 4\d\d$/)
      expect(answer).not.toMatch(/root:|"dependencies"|"tokens"/)
      expect(answer).not.toMatch(inside)
    }
  })
})

describe('sizes', () => {
  it('of bodies are bounded, told or not', async () => {
    const large = { shard_key: 'a', query: `select '${'x'.repeat(11 * 2 ** 20)}'` }
    // Or the connection is cut off while the client still writes.
    const statusOf = (work: Promise<{ status: number }>): Promise<number> =>
      work.then(
        ({ status }) => status,
        () => 413,
      )
    expect(await statusOf(fleet.router(writer, 'POST', '/v1/execute', large))).toBe(413)
    expect(await statusOf(fleet.manager(fleet.adminToken, 'POST', '/api/v1/keyspaces', large))).toBe(413)
    for (const [base, path] of [
      ['router', '/v1/execute'],
      ['manager', '/api/v1/keyspaces'],
    ] as const) {
      const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${fleet.adminToken}\r\ncontent-type: application/json\r\n`
      const told = await raw(portOf(base), `${head}content-length: 99999999999\r\n\r\n{`)
      expect(told, base).toMatch(/^HTTP\/1\.1 4/)
    }
    await expectServed()
  })

  it('of heads, and the number of their fields, are bounded', async () => {
    for (const base of bases) {
      expect(await raw(portOf(base), `GET /ready HTTP/1.1\r\nx: ${'a'.repeat(100_000)}\r\n\r\n`)).toMatch(
        /^HTTP\/1\.1 431/,
      )
      expect(await raw(portOf(base), `GET /${'a'.repeat(100_000)} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 4/)
    }
  })

  it('of JSON by depth do not fell the process', async () => {
    const deep = `{"query": ${'['.repeat(200_000)}${']'.repeat(200_000)}}`
    for (const status of [
      (await fleet.router(writer, 'POST', '/v1/execute', deep)).status,
      (await fleet.manager(fleet.adminToken, 'POST', '/api/v1/keyspaces', deep)).status,
    ])
      expect(status).toBeGreaterThanOrEqual(400)
    await expectServed()
  })

  it('of tokens are bounded', async () => {
    for (const length of [9_000, 12_000])
      expect(
        (await fleet.router('x'.repeat(length), 'POST', '/v1/execute', { query: 'select 1' })).status,
      ).toBe(401)
  })
})

describe('requests that are not what they seem', () => {
  it('smuggle nothing: two lengths, two codings, a body behind a GET', async () => {
    const smuggled = 'DELETE /api/v1/keyspaces/default HTTP/1.1\r\nhost: a\r\n\r\n'
    for (const head of [
      `content-length: 5\r\ncontent-length: ${String(smuggled.length)}\r\n`,
      `content-length: ${String(smuggled.length)}\r\ntransfer-encoding: chunked\r\n`,
      'transfer-encoding: xchunked\r\n',
      'content-length: -1\r\n',
      'content-length: +5\r\n',
    ])
      for (const base of bases)
        expect(
          await raw(portOf(base), `POST /v1/execute HTTP/1.1\r\nhost: a\r\n${head}\r\n${smuggled}`),
        ).toMatch(/^HTTP\/1\.1 4/)
    await expectServed()
  })

  it('put nothing into the answer or the log by line breaks', async () => {
    const { headers } = await fleet.cluster.manager(
      'POST',
      '/api/v1/keyspaces',
      { name: 'x y' },
      {
        authorization: `Bearer ${fleet.adminToken}`,
        'x-fleetshard-reason': 'a%0d%0aset-cookie: x=1%00%1b[31m',
        traceparent: '00-"};drop-0-0',
      },
    )
    expect(headers.get('set-cookie')).toBeNull()
  })
})

describe('slow and silent clients', () => {
  it('hold nobody up over HTTP, and are cut off', async () => {
    const halves = [
      'POST /v1/execute HTTP/1.1\r\nhost: a\r\n',
      'POST /v1/execute HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{',
      'GET /api/v1/shards HTTP/1.1\r\nho',
      '',
    ]
    const sockets = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        open(portOf(index % 2 === 0 ? 'router' : 'manager'), halves[index % 4]!),
      ),
    )
    await expectServed()
    // The silent ones may keep their sockets, as connections kept alive do; those inside a request may not.
    await Promise.all(sockets.filter((_, index) => index % 4 !== 3).map(closed))
    for (const socket of sockets) socket.destroy()
    await expectServed()
  })

  it('hold nobody up on the Postgres port, and are cut off', async () => {
    const startup = Buffer.alloc(8)
    startup.writeInt32BE(100, 0)
    startup.writeInt32BE(196_608, 4)
    const starts = [
      Buffer.alloc(0),
      startup,
      Buffer.from([0, 0, 0]),
      Buffer.from([0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]),
    ]
    const sockets = await Promise.all(
      Array.from({ length: 300 }, (_, index) => open(wirePort(), starts[index % 4]!)),
    )
    const client = wireClient()
    await client.connect()
    expect((await client.query("select user_id from users where user_id = 'u1'")).rows).toHaveLength(1)
    await client.end()
    await Promise.all(sockets.map(closed))
    await expectServed()
  })

  it('of startup packets that are nonsense are told so and cut off', async () => {
    const sized = (bytes: number): Buffer => {
      const head = Buffer.alloc(8)
      head.writeInt32BE(bytes, 0)
      head.writeInt32BE(196_608, 4)
      return head
    }
    for (const bytes of [
      sized(0),
      sized(4),
      sized(2 ** 31 - 1),
      sized(-1),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.alloc(20_000, 0xff),
    ])
      expect(await raw(wirePort(), bytes)).not.toMatch(inside)
    await expectServed()
  })
})

describe('cancel requests', () => {
  it('with guessed keys cancel nothing', async () => {
    const client = wireClient()
    await client.connect()
    await client.query("set fleetshard.shard_key = 'u1'")
    const working = client.query('select pg_sleep(1), 7 as seven')
    const { processID } = client as unknown as { processID: number }
    const guess = (): Buffer => {
      const bytes = Buffer.alloc(16)
      bytes.writeInt32BE(16, 0)
      bytes.writeInt32BE(80_877_102, 4)
      bytes.writeInt32BE(processID, 8)
      bytes.writeInt32BE(randomInt(2 ** 31), 12)
      return bytes
    }
    for (let round = 0; round < 10; round += 1)
      await Promise.all(Array.from({ length: 30 }, () => raw(wirePort(), guess())))
    expect((await working).rows).toMatchObject([{ seven: 7 }])
    await client.end()
  })
})

describe('SQL', () => {
  const evil = `x'; drop table users; --`

  it('in names of the API is data, or refused', async () => {
    const { adminToken } = fleet
    for (const [method, path, body] of [
      ['POST', '/api/v1/keyspaces', { name: evil }],
      ['GET', `/api/v1/keyspaces/${encodeURIComponent(evil)}`, undefined],
      ['DELETE', `/api/v1/shards/${encodeURIComponent(evil)}`, undefined],
      [
        'POST',
        '/api/v1/keyspaces/default/tables',
        { tables: [{ name: evil, kind: 'sharded', key_column: evil }] },
      ],
      ['DELETE', `/api/v1/keyspaces/default/tables/${encodeURIComponent(evil)}`, undefined],
      ['POST', '/api/v1/tokens', { name: evil, scopes: ['viewer'] }],
      ['GET', `/api/v1/jobs?type=${encodeURIComponent(evil)}&status=${encodeURIComponent(evil)}`, undefined],
    ] as const) {
      const answer = await fleet.manager(adminToken, method, path, body)
      expect(answer.status, path).toBeGreaterThanOrEqual(400)
      expect(answer.status, path).toBeLessThan(500)
      expect(JSON.stringify(answer.body)).not.toMatch(inside)
    }
    await expectServed()
  })

  it('in keys, parameters and options stays where it is', async () => {
    const select = 'select user_id from users where user_id = $1'
    const found = await fleet.router(writer, 'POST', '/v1/execute', {
      shard_key: evil,
      query: select,
      params: [evil],
    })
    expect(found).toMatchObject({ status: 200, body: { rows: [] } })
    for (const options of [
      { keyspace: evil },
      { shard_id: evil },
      { session_token: evil },
      { idempotency_key: `${evil}\n` },
      { all_shards: evil },
    ]) {
      const answer = await fleet.router(writer, 'POST', '/v1/execute', {
        shard_key: 'u1',
        query: select,
        params: ['u1'],
        options,
      })
      expect(answer.status, JSON.stringify(options)).toBeGreaterThanOrEqual(400)
      expect(answer.status).toBeLessThan(500)
    }
    const keyed = {
      shard_key: 'u1',
      query: 'update users set n = 1 where user_id = $1',
      params: ['u1'],
      options: { idempotency_key: evil },
    }
    expect((await fleet.router(writer, 'POST', '/v1/execute', keyed)).status).toBe(200)
    await expectServed()
  })

  it('in hints reaches no other shard and no other statement', async () => {
    const client = wireClient()
    await client.connect()
    for (const hint of [
      `/* fleetshard: shard='${evil}' */`,
      `/* fleetshard: shard_key='a' */ /* fleetshard: shard='nowhere' */`,
      `/* fleetshard: */ /*; drop table users; */`,
      `/* fleetshard: shard_key=" */ ; drop table users; /* " */`,
    ])
      await client.query(`${hint} select user_id from users where user_id = 'u1'`).catch(() => undefined)
    await client.end()
    await expectServed()
  })

  it('in settings of a session is a value, or refused', async () => {
    for (const options of [
      `-c search_path=public;drop table users`,
      `-c "fleetshard.shard=${evil}"`,
      `-c role=postgres`,
      `-c session_authorization=postgres`,
      `-c application_name=${evil.replaceAll(' ', '\\ ')}`,
      `-c x'y=1`,
    ]) {
      const client = wireClient({ options })
      await client.connect().then(
        () => client.query('select 1').catch(() => undefined),
        () => undefined,
      )
      await client.end()
    }
    const client = wireClient()
    await client.connect()
    for (const name of ['fleetshard.shard', 'fleetshard.shard_key', 'application_name', 'search_path'])
      await client.query(`set ${name} = '${evil.replaceAll("'", "''")}'`).then(
        () => client.query('select 1').catch(() => undefined),
        () => undefined,
      )
    await client.end()
    await expectServed()
  })
})

it('answers carry what keeps browsers from misusing them, and nothing of the inside', async () => {
  for (const [base, path] of [
    ['manager', '/api/v1/shards'],
    ['manager', '/health'],
    ['manager', '/nowhere'],
    ['router', '/v1/topology'],
    ['router', '/nowhere'],
  ] as const) {
    const { headers } = await fleet[base](fleet.adminToken, 'GET', path)
    expect(headers.get('x-content-type-options'), path).toBe('nosniff')
    expect(headers.get('x-frame-options'), path).toBe('SAMEORIGIN')
    expect(headers.get('content-security-policy'), path).toContain("frame-ancestors 'none'")
    expect(headers.get('access-control-allow-origin'), path).toBeNull()
    expect(headers.get('x-powered-by')).toBeNull()
    expect(headers.get('server')).toBeNull()
  }
  const executed = await fleet.router(writer, 'POST', '/v1/execute', { query: 'select 1', shard_key: 'a' })
  expect(executed.headers.get('x-content-type-options')).toBe('nosniff')
})
