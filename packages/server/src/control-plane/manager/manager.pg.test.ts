// The manager on real Postgres servers: shards are databases, the catalog is one as well.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openCatalogStore, type CatalogStore } from '../../catalog/mod.ts'
import { createEngine } from '../../engine/mod.ts'
import { startTestCluster, startTestServer, type TestCluster, type TestServer } from '../../local/testing.ts'
import { silentLogger, systemClock } from '../../runtime/mod.ts'
import { startManager, waitFor, type Reply, type RunningManager } from './testing/managers.ts'

const engine = createEngine('postgres', { clock: systemClock })

let server: TestServer
let catalogServer: TestServer
let store: CatalogStore
let one: RunningManager

beforeAll(async () => {
  ;[server, catalogServer] = await Promise.all([startTestServer(), startTestServer()])
  store = openStore()
  one = await startManager({ store, engine })
  await one.leads()
})
afterAll(async () => {
  await one[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  await Promise.all([server[Symbol.asyncDispose](), catalogServer[Symbol.asyncDispose]()])
})

function openStore(): CatalogStore {
  return openCatalogStore(catalogServer.url, { clock: systemClock, log: silentLogger })
}

const usersDdl = `create table users (
  id bigserial primary key, user_id varchar(255) not null, name text not null);
  create unique index ux_users_user_id on users (user_id)`

function endpoint(
  database: string,
  at: Pick<TestServer, 'host' | 'port' | 'user' | 'password'> = server,
): string {
  return `postgres://${at.user}:${encodeURIComponent(at.password)}@${at.host}:${String(at.port)}/${database}`
}

async function query(database: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = await server.connect({ database })
  try {
    const result = await client.query<Record<string, unknown>>(sql)
    return result.rows
  } finally {
    await client.end()
  }
}

async function addShard(keyspace: string, database: string, more: object = {}): Promise<Reply> {
  return one.send('POST', '/api/v1/shards', {
    name: database,
    keyspace,
    primary_endpoint: endpoint(database),
    ...more,
  })
}

/** A keyspace with shards on fresh databases, whose names are those of the shards. */
async function keyspaceOf(name: string, shards: number): Promise<string[]> {
  expect((await one.send('POST', '/api/v1/keyspaces', { name })).status).toBe(201)
  const databases: string[] = []
  for (let number = 1; number <= shards; number++) {
    const database = await server.createDatabase(`${name}_${String(number)}`)
    expect(await addShard(name, database)).toMatchObject({ status: 201, body: { status: 'active' } })
    databases.push(database)
  }
  return databases
}

async function declareUsers(keyspace: string, databases: readonly string[]): Promise<void> {
  for (const database of databases) await query(database, usersDdl)
  const answer = await one.send('POST', `/api/v1/keyspaces/${keyspace}/tables`, {
    name: 'users',
    key_column: 'user_id',
  })
  expect(answer).toMatchObject({
    status: 201,
    body: { tables: [{ name: 'public.users', key_type: 'text' }] },
  })
}

describe('shards on real databases', () => {
  it('claims the database, and refuses it to a second shard', async () => {
    const [first = ''] = await keyspaceOf('claims', 1)
    const [state] = await query(first, 'select shard, sequence_block from fleetshard.shard_state')
    expect(state).toMatchObject({ shard: first })
    const again = await one.send('POST', '/api/v1/shards', {
      name: 'again',
      keyspace: 'claims',
      primary_endpoint: endpoint(first),
    })
    expect(again).toMatchObject({ status: 422, body: { code: 'node_check_failed' } })
    expect(again.body.detail).toContain(first)
    expect(again.body.detail).not.toContain(server.password)
  })

  it.each([
    ['a closed port', () => `postgres://app:x@127.0.0.1:1/app`],
    ['a wrong password', () => `postgres://${server.user}:wrong@${server.host}:${String(server.port)}/app`],
    ['a missing database', () => endpoint('no_such_database')],
    ['a host that does not exist', () => 'postgres://app:x@no-such-host.invalid/app'],
  ])('refuses %s within the time of a node check', async (_what, primaryEndpoint) => {
    const answer = await one.send('POST', '/api/v1/shards', {
      name: 'bad',
      primary_endpoint: primaryEndpoint(),
    })
    expect(answer).toMatchObject({ status: 422, body: { code: 'node_check_failed' } })
    expect(answer.body.detail).toContain('primary_endpoint')
  })

  it('takes the password of a server from what it knows', async () => {
    await keyspaceOf('known', 1)
    const database = await server.createDatabase()
    const bare = `postgres://${server.user}@${server.host}:${String(server.port)}/${database}`
    const body = { name: 'bare', keyspace: 'known', primary_endpoint: bare }
    expect(await one.send('POST', '/api/v1/shards', body)).toMatchObject({
      status: 201,
      body: { primary_endpoint: bare },
    })
  })

  it('makes stored tables on a new shard, with sequences in its own block', async () => {
    const [first = ''] = await keyspaceOf('stored', 1)
    await query(first, usersDdl)
    const { keyspace } = (await one.catalog.keyspaces.read('stored' as never))!.snapshot
    await one.catalog.tables.create([
      {
        keyspace: keyspace.name,
        name: 'public.users',
        kind: 'sharded',
        keyColumn: 'user_id',
        keyType: 'text',
        homeShard: null,
        ddl: usersDdl,
        version: 1,
        createdAt: new Date(0).toISOString(),
      },
    ])
    const database = await server.createDatabase('stored_2')
    expect(await addShard('stored', database)).toMatchObject({ status: 201, body: { status: 'active' } })
    const [row] = await query(database, "insert into users (user_id, name) values ('u', 'n') returning id")
    expect(BigInt(String(row?.['id']))).toBe(2n ** 40n + 1n)
  })
})

describe('tables that are not alike on all shards', () => {
  it('are not declared, and keep the shard that brings one inactive', async () => {
    const databases = await keyspaceOf('unlike', 2)
    const [first = '', second = ''] = databases
    await query(first, 'create table half (id bigint primary key)')
    await query(second, 'create table half (id bigint primary key, extra text)')
    const url = '/api/v1/keyspaces/unlike/tables'
    const refused = await one.send('POST', url, { name: 'half', key_column: 'id' })
    expect(refused).toMatchObject({ status: 422, body: { code: 'schema_refused' } })
    expect(refused.body.detail).toContain(`column extra is only there on ${second}`)
    await query(second, 'alter table half drop column extra')
    expect((await one.send('POST', url, { name: 'half', key_column: 'id' })).status).toBe(201)
    const third = await server.createDatabase('unlike_3')
    await query(third, 'create table half (id bigint primary key, more int)')
    const parked = await addShard('unlike', third)
    expect(parked.body).toMatchObject({ status: 'inactive' })
    expect(parked.body.status_reason).toContain('column more is only there on unlike_3')
  })
})

describe('dealing the ring anew', () => {
  it('waits for no writer: with a row on its way the shard stays inactive, and gets ranges when it is gone', async () => {
    const databases = await keyspaceOf('deal', 1)
    await declareUsers('deal', databases)
    const [first = ''] = databases
    const writer = await server.connect({ database: first })
    await writer.query("begin; insert into users (user_id, name) values ('u', 'n')")
    const database = await server.createDatabase('deal_2')
    await query(database, usersDdl)
    const parked = await addShard('deal', database)
    expect(parked).toMatchObject({ status: 201, body: { status: 'inactive', vnode_count: 0 } })
    expect(parked.body.status_reason).toContain(first)
    await writer.query('rollback')
    await writer.end()
    const activated = await one.send('PATCH', `/api/v1/shards/${database}`, { status: 'active' })
    expect(activated).toMatchObject({ status: 200, body: { status: 'active', vnode_count: 256 } })
    const [state] = await query(first, 'select epoch_min from fleetshard.shard_state')
    expect(Number(state?.['epoch_min'])).toBe(activated.body.epoch)
  })

  it('ends connections of routers that may hold the older map', async () => {
    const databases = await keyspaceOf('routers', 1)
    await declareUsers('routers', databases)
    const router = await server.connect({ database: databases[0] ?? '' })
    const ended = Promise.withResolvers<undefined>()
    router.on('error', () => {
      ended.resolve(undefined)
    })
    router.on('end', () => {
      ended.resolve(undefined)
    })
    await router.query("set application_name = 'fleetshard/router r1'")
    const database = await server.createDatabase('routers_2')
    await query(database, usersDdl)
    expect((await addShard('routers', database)).body.status).toBe('active')
    await ended.promise
  })

  it('leaves a shard without ranges once rows exist, and never deletes one that holds rows', async () => {
    const databases = await keyspaceOf('filled', 2)
    await declareUsers('filled', databases)
    const [first = '', second = ''] = databases
    await query(second, "insert into users (user_id, name) values ('u', 'n')")
    const third = await server.createDatabase('filled_3')
    await query(third, usersDdl)
    const parked = await addShard('filled', third)
    expect(parked.body).toMatchObject({ status: 'inactive', hash_range_start: null })
    expect(parked.body.status_reason).toContain('public.users')
    expect(await one.send('DELETE', `/api/v1/shards/${second}`)).toMatchObject({ status: 409 })
    expect((await one.send('DELETE', `/api/v1/shards/${first}`)).status).toBe(204)
    const [owner] = (await one.send('GET', '/api/v1/shards?keyspace=filled&status=active')).body.shards
    expect(owner).toMatchObject({ id: second, hash_range_start: '0', hash_range_end: '18446744073709551615' })
    const released = await query(first, 'select shard from fleetshard.shard_state').catch(() => [])
    expect(released).toEqual([])
  })
})

describe('adopting a real database', () => {
  it('suggests shard keys with reasons and declares what passes the rules', async () => {
    const database = await server.createDatabase('legacy')
    await query(
      database,
      `${usersDdl}; create table notes (body text); insert into users (user_id, name) values ('u', 'n')`,
    )
    const answer = await one.send('POST', '/api/v1/keyspaces/legacy/adopt', {
      primary_endpoint: endpoint(database),
    })
    expect(answer).toMatchObject({ status: 201, body: { shard: { id: 'legacy-01', status: 'active' } } })
    const users = answer.body.tables.find(({ name }) => name === 'public.users')
    expect(users).toMatchObject({ kind: 'sharded', key_column: 'user_id' })
    const url = '/api/v1/keyspaces/legacy/tables'
    expect(await one.send('POST', url, { name: 'users', key_column: 'name' })).toMatchObject({
      status: 422,
      body: { code: 'schema_refused' },
    })
    expect((await one.send('POST', url, { name: 'users', key_column: 'user_id' })).status).toBe(201)
    expect((await one.send('POST', url, { name: 'missing', key_column: 'a' })).status).toBe(422)
    const { suggestions } = (await one.send('GET', `${url}/suggestions`)).body
    expect(suggestions.find(({ name }) => name === 'public.users')?.declared).toBe(true)
  })

  it('refuses statements that are no SQL', async () => {
    await keyspaceOf('syntax', 1)
    const body = { name: 'a', key_column: 'b', ddl: 'create tabel a (b text)' }
    expect(await one.send('POST', '/api/v1/keyspaces/syntax/tables', body)).toMatchObject({
      status: 400,
      body: { code: 'sql_syntax' },
    })
  })
})

describe('replicas', () => {
  let cluster: TestCluster
  beforeAll(async () => {
    cluster = await startTestCluster({ shards: 2, replicas: 1, catalog: false })
  })
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]()
  })

  it('must follow the very primary that they are given with', async () => {
    const [a, b] = [cluster.group('shard-1'), cluster.group('shard-2')]
    const url = (one_: typeof a.primary): string =>
      endpoint(one_.node.database, { ...one_.node, password: one_.password })
    const wrong = { name: 'r', primary_endpoint: url(a.primary), replicas: b.replicas.map(url) }
    const refused = await one.send('POST', '/api/v1/shards', wrong)
    expect(refused).toMatchObject({ status: 422, body: { code: 'node_check_failed' } })
    expect(refused.body.detail).toContain('replicas[0]')
    const swapped = { name: 'r', primary_endpoint: url(a.replicas[0]!), replicas: [url(a.primary)] }
    expect((await one.send('POST', '/api/v1/shards', swapped)).status).toBe(422)
    const right = { name: 'r', primary_endpoint: url(a.primary), replicas: a.replicas.map(url) }
    const made = await one.send('POST', '/api/v1/shards', right)
    expect(made).toMatchObject({ status: 201, body: { status: 'active' } })
    expect(made.body.replicas).toHaveLength(1)
  })
})

describe('the catalog', () => {
  it('may go and come back: reads go on, changes are refused meanwhile', async () => {
    await keyspaceOf('outage', 1)
    await catalogServer.stop('kill')
    await waitFor(async () => (await one.send('GET', '/ready')).body.status === 'stale')
    expect((await one.send('GET', '/api/v1/shards/outage_1')).status).toBe(200)
    const refused = await one.send('POST', '/api/v1/keyspaces', { name: 'meanwhile' })
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('1')
    await catalogServer.start()
    await waitFor(
      async () => (await one.send('POST', '/api/v1/keyspaces', { name: 'after' })).status === 201,
      30_000,
    )
  })

  it('elects another manager when the leader stops', async () => {
    await waitFor(() => one.manager.isLeader(), 30_000)
    const otherStore = openStore()
    const two = await startManager({ store: otherStore, engine })
    await waitFor(async () => (await two.send('GET', '/ready')).body.leader_url === one.url)
    const database = await server.createDatabase('passed_on')
    const body = { name: database, keyspace: 'after', primary_endpoint: endpoint(database) }
    expect((await two.send('POST', '/api/v1/shards', body)).status).toBe(201)
    await one[Symbol.asyncDispose]()
    await two.leads()
    expect((await two.send('PATCH', `/api/v1/shards/${database}`, { status: 'readonly' })).status).toBe(200)
    one = await startManager({ store, engine })
    await two[Symbol.asyncDispose]()
    await otherStore[Symbol.asyncDispose]()
    await one.leads()
  })
})
