// The static mode as its operators use it: three shards of a primary and a replica each, a topology file, a router,
// and nothing else. Keys are placed by a hash written here anew; rows are looked for in the databases themselves.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openLocalCluster, type LocalCluster } from '../../packages/server/src/local/mod.ts'
import { silentLogger, systemClock } from '../../packages/server/src/runtime/mod.ts'
import { insertUser, postgresPort, temporaryFolder, usersSchema } from './harness/cluster.ts'
import { readText, send, type Executed } from './harness/http.ts'
import { fleetshard, startFleetshard, type Running } from './harness/processes.ts'
import { until } from './harness/until.ts'

const shardCount = 3
const numbers = [0, 1, 2] as const

let cluster: LocalCluster
let folder: string
let topology: string
let router: Running
let url: string

/** FNV-1a, 32 bits, and its remainder: the rule of the static mode. */
function shardOf(key: string): number {
  let hash = 0x811c9dc5n
  for (const byte of Buffer.from(key)) hash = ((hash ^ BigInt(byte)) * 0x01000193n) & 0xffffffffn
  return Number(hash % BigInt(shardCount))
}

const keysOn = (shard: number, prefix: string, count: number): string[] => {
  const keys: string[] = []
  for (let n = 0; keys.length < count; n += 1) {
    if (shardOf(`${prefix}-${String(n)}`) === shard) keys.push(`${prefix}-${String(n)}`)
  }
  return keys
}

const group = (shard: number) => cluster.group(`shard-${String(shard + 1)}`)

/** The file as it describes the servers now; primaries have their passwords in it, replicas refer to files. */
function topologyOf(shards: readonly number[] = numbers): object {
  return {
    keyspace: 'default',
    strategy: 'modulo',
    hash: 'fnv1a',
    tables: [{ name: 'users', kind: 'sharded', key_column: 'user_id', key_type: 'text' }],
    shards: shards.map((shard, index) => {
      const { primary, replicas } = group(shard)
      const { host, port, user, database } = primary.node
      return {
        shard_id: index,
        primary: { host, port, user, password: primary.password, dbname: database },
        replicas: replicas.map(({ node }) => ({
          host: node.host,
          port: node.port,
          user: node.user,
          secret_ref: node.secretRef,
          dbname: node.database,
        })),
      }
    }),
  }
}

/** Replaces the file as careful writers do. */
function writeTopology(content: object): void {
  writeFileSync(`${topology}.new`, JSON.stringify(content, null, 2))
  renameSync(`${topology}.new`, topology)
}

const execute = (body: object) => send<Executed>('POST', `${url}/v1/execute`, body)
const nameOf = (user: string, consistency: 'strong' | 'eventual') =>
  execute({
    shard_key: user,
    query: 'SELECT name FROM users WHERE user_id = $1',
    params: [user],
    consistency,
  })

/** Runs statements in a shard's primary, past the router; as its superuser where that is asked for. */
async function onPrimary(shard: number, sql: string, superuser = false): Promise<Record<string, unknown>[]> {
  const { node, password } = group(shard).primary
  const { host, port, user, database } = node
  const login = superuser ? await cluster.agent.superuser(node.id) : { host, port, user, password }
  const client = new Client({ ...login, database })
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows
  } finally {
    await client.end()
  }
}

function startRouter(...words: readonly string[]): Running {
  return startFleetshard([
    'router',
    '--topology-file',
    topology,
    '--router-http-port=0',
    '--router-wire-port=0',
    '--router-metrics-port=0',
    ...words,
  ])
}

/** A field of the first line with the message in a router's log. */
function logged(process: Running, message: string, field: string): Promise<string> {
  return until(`"${message}" is logged`, () => {
    const line = process
      .output()
      .err.split('\n')
      .find((each) => each.includes(`"msg":"${message}"`))
    return line === undefined ? undefined : String((JSON.parse(line) as Record<string, unknown>)[field])
  })
}

beforeAll(async () => {
  folder = temporaryFolder()
  cluster = await openLocalCluster({
    dataDir: join(folder, 'servers'),
    log: silentLogger,
    clock: systemClock,
    shards: shardCount,
    replicas: 1,
    catalog: false,
    portStart: postgresPort(),
    durability: 'throwaway',
    dieWithParent: true,
    settings: { shared_buffers: '16MB' },
  })
  topology = join(folder, 'topology.json')
  for (const shard of numbers) await onPrimary(shard, usersSchema)
  writeTopology(topologyOf())
  router = startRouter('--log-level=debug')
  url = await logged(router, 'router is ready', 'address')
})
afterAll(async () => {
  await (router as Running | undefined)?.[Symbol.asyncDispose]()
  await (cluster as LocalCluster | undefined)?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

test('rows lie where fnv1a % n says, and nowhere else', async () => {
  const users = Array.from({ length: 60 }, (_, n) => `placed-${String(n)}`)
  for (const user of users) {
    const answer = await execute(insertUser(user))
    expect({ status: answer.status, shard: answer.body.shard_id, node: answer.body.node }).toEqual({
      status: 200,
      shard: String(shardOf(user)),
      node: `shard-${String(shardOf(user))}-primary`,
    })
  }
  for (const shard of numbers) {
    const rows = await onPrimary(shard, `SELECT user_id FROM users WHERE user_id LIKE 'placed-%' ORDER BY id`)
    expect(rows.map((row) => row['user_id'])).toEqual(users.filter((user) => shardOf(user) === shard))
  }
})

test('writes and strong reads go to the primary, eventual reads to a replica', async () => {
  const [user = ''] = keysOn(1, 'rules', 1)
  await execute(insertUser(user))
  expect(await nameOf(user, 'strong')).toMatchObject({
    body: { node: 'shard-1-primary', rows: [{ name: `Name of ${user}` }] },
  })
  await until('the replica has the row', async () => (await nameOf(user, 'eventual')).body.row_count === 1)
  expect((await nameOf(user, 'eventual')).body.node).toBe('shard-1-replica-1')
  const update = {
    shard_key: user,
    query: 'UPDATE users SET name = $2 WHERE user_id = $1',
    params: [user, 'Ann'],
  }
  expect(await execute({ ...update, consistency: 'eventual' })).toMatchObject({
    status: 200,
    body: { node: 'shard-1-primary', row_count: 1 },
  })
  expect((await nameOf(user, 'strong')).body.rows).toEqual([{ name: 'Ann' }])
  const removal = { query: 'DELETE FROM users WHERE user_id = $1', params: [user] }
  expect(await execute(removal)).toMatchObject({ body: { row_count: 1, shard_id: '1' } })
})

test('a transaction happens on one shard; several shards are refused', async () => {
  const insert = (user: string) => ({ query: insertUser(user).query, params: insertUser(user).params })
  const together = keysOn(2, 'together', 2)
  const transaction = (users: readonly string[]) =>
    send('POST', `${url}/v1/transaction`, { statements: users.map(insert) })
  expect(await transaction(together)).toMatchObject({ status: 200 })
  const apart = [keysOn(0, 'apart', 1)[0] ?? '', keysOn(1, 'apart', 1)[0] ?? '']
  expect(await transaction(apart)).toMatchObject({ status: 400, body: { code: 'cross_shard' } })
})

test('the map can be asked for, without a password in it', async () => {
  const { body } = await send('GET', `${url}/v1/shard-for-key?key=user-123`)
  expect(body).toMatchObject({ shard_id: String(shardOf('user-123')), vnode: null })
  const text = await readText(`${url}/v1/topology`)
  expect(JSON.parse(text)).toMatchObject({
    keyspaces: [{ keyspace: { name: 'default', strategy: 'modulo' } }],
  })
  for (const shard of numbers) expect(text).not.toContain(group(shard).primary.password)
  const metrics = `http://127.0.0.1:${await logged(router, 'metrics server listens', 'port')}`
  expect((await send('GET', `${metrics}/health`)).body).toMatchObject({
    topology_file: topology,
    topology_problem: null,
  })
  expect(await readText(`${metrics}/metrics`)).toContain('fleetshard_topology_file_refused 0')
  expect(
    await send('POST', `${url}/v1/execute`, { query: 'SELECT 1', options: { keyspace: 'shop' } }),
  ).toMatchObject({
    status: 404,
    body: { code: 'not_found', hint: expect.stringContaining('has the keyspace default') as string },
  })
})

test('reads fall back to the primary when the replicas of the shard are gone', async () => {
  const [user = ''] = keysOn(0, 'fallback', 1)
  await execute(insertUser(user))
  const [replica] = group(0).replicas
  await cluster.agent.stop(String(replica?.node.id), { mode: 'kill' })
  for (let n = 0; n < 5; n += 1) {
    expect(await nameOf(user, 'eventual')).toMatchObject({
      status: 200,
      body: { node: 'shard-0-primary', rows: [{ name: `Name of ${user}` }] },
    })
  }
  await cluster.agent.start(String(replica?.node.id))
  await until('the replica is read again', async () => {
    return (await nameOf(user, 'eventual')).body.node === 'shard-0-replica-1'
  })
})

test('a file that looks for rows where they are not is refused, and statements go on', async () => {
  const [user = ''] = keysOn(2, 'kept', 1)
  await execute(insertUser(user))
  writeTopology(topologyOf([1, 0, 2]))
  const refusal = 'the new version of the topology file is not used; the one before it is still served'
  expect(await logged(router, refusal, 'reason')).toContain('holds the rows of shard')
  expect(await logged(router, refusal, 'hint')).toContain('give the keyspace a new name')
  writeTopology(topologyOf([0, 1]))
  await until('fewer shards are refused', () =>
    router.output().err.includes('on shards 0, 1 instead of 0, 1, 2'),
  )
  expect(await nameOf(user, 'strong')).toMatchObject({ status: 200, body: { shard_id: '2', row_count: 1 } })
  writeTopology(topologyOf())
})

test('a login and its password may change in the file', async () => {
  const [user = '', later = ''] = keysOn(1, 'login', 2)
  const file = topologyOf() as { shards: { primary: object }[] }
  const withPassword = (password: string): object => ({
    ...file,
    shards: file.shards.map((shard, number) =>
      number === 1 ? { ...shard, primary: { ...shard.primary, user: 'rotating', password } } : shard,
    ),
  })
  const rightsOf = `GRANT ALL ON ALL TABLES IN SCHEMA public TO rotating; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO rotating`
  await onPrimary(1, `CREATE ROLE rotating LOGIN PASSWORD 'first'; ${rightsOf}`, true)
  const whoAmI = { shard_key: user, query: 'SELECT current_user::text AS me' }
  writeTopology(withPassword('first'))
  await until('the new login is used', async () => {
    const [row] = (await execute(whoAmI)).body.rows
    return row?.['me'] === 'rotating'
  })
  expect(await execute(insertUser(user))).toMatchObject({ status: 200 })
  await onPrimary(1, `ALTER ROLE rotating PASSWORD 'second'`, true)
  const [changed] = await onPrimary(1, 'SELECT clock_timestamp()::text AS at')
  writeTopology(withPassword('second'))
  await onPrimary(
    1,
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotating'`,
    true,
  )
  const isFresh = {
    shard_key: user,
    query:
      'SELECT backend_start > $1::timestamptz AS fresh FROM pg_stat_activity WHERE pid = pg_backend_pid()',
    params: [changed?.['at']],
  }
  await until('the new password is used', async () => {
    return (await execute(isFresh)).body.rows[0]?.['fresh'] === true
  })
  expect(await execute(insertUser(later))).toMatchObject({ status: 200 })
  writeTopology(topologyOf())
})

test('after a failover by hand the changed file leads writes to the new primary', async () => {
  const [user = '', later = ''] = keysOn(2, 'failover', 2)
  const { primary, replicas } = group(2)
  await execute(insertUser(user))
  const [replica] = replicas
  if (replica === undefined) throw new Error('there is no replica')
  await until('the replica has the row', async () => (await nameOf(user, 'eventual')).body.row_count === 1)
  await cluster.agent.fence(String(primary.node.id))
  await cluster.agent.promote(String(replica.node.id))
  const file = topologyOf() as { shards: { primary: object; replicas: object[] }[] }
  const { host, port, user: login, database, secretRef } = replica.node
  const promoted = { host, port, user: login, dbname: database, secret_ref: secretRef }
  writeTopology({
    ...file,
    shards: file.shards.map((shard, number) =>
      number === 2 ? { ...shard, primary: promoted, replicas: [] } : shard,
    ),
  })
  // The old primary does not run any more.
  await until('the new primary is read', async () => (await nameOf(user, 'strong')).status === 200)
  const answer = await execute(insertUser(later))
  expect(answer.body).toMatchObject({ shard_id: '2', node: 'shard-2-primary' })
  expect((await nameOf(user, 'strong')).body.rows).toEqual([{ name: `Name of ${user}` }])
})

test('a router does not start with a wrong file, or with a catalog beside it', async () => {
  const wrong = join(folder, 'wrong.json')
  writeFileSync(wrong, '{\n  "shards": [{ "shard_id": 1, "primary": {} }]\n}')
  const refused = await fleetshard(['router', '--topology-file', wrong, '--router-http-port=0'])
  expect(refused.code).toBe(2)
  expect(refused.err).toContain('wrong.json, line 2, column 28: shard_id 1')
  const both = await fleetshard([
    'router',
    '--topology-file',
    topology,
    '--catalog-url',
    'postgres://db/catalog',
  ])
  expect(both.code).toBe(2)
  expect(both.err).toContain('both a topology file and a catalog are given')
  const shown = await fleetshard(['topology', 'validate', topology, '-o', 'name'])
  expect(shown).toMatchObject({ code: 0, out: '0\n1\n2\n' })
})

test('no password is in the log, and the router ends cleanly', async () => {
  router.kill('SIGTERM')
  const { code, err } = await router.finished
  expect(code).toBe(0)
  const passwords = (readFileSync(topology, 'utf8').match(/"password": "[^"]+"/g) ?? []).map((text) =>
    text.slice(13, -1),
  )
  expect(passwords.length).toBeGreaterThan(0)
  for (const password of passwords) expect(err).not.toContain(password)
})
