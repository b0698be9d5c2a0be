// Controllers that end at every step of a failover and of a switchover, before and after each effect, one after the
// other, while writers go on: the next one takes the job up where the last one ended, nothing that was acknowledged under
// quorum commit is lost, and no two servers lead. (`npm run faults -- availability/managers-killed` kills processes.)
// The numbers in brackets are those of control-plane/health/SPEC.md.
import { randomUUID } from 'node:crypto'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import {
  parseEpoch,
  parseKeyspaceName,
  parseShardId,
  parseTerm,
  type JobRecord,
  type ShardRecord,
} from '@fleetshard/core'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAgentClient } from '../../packages/server/src/agent-api/mod.ts'
import { createAuditLog } from '../../packages/server/src/audit/mod.ts'
import { startAgentHttp } from '../../packages/server/src/agent/mod.ts'
import {
  createCatalog,
  createCatalogView,
  openCatalogStore,
  type Catalog,
} from '../../packages/server/src/catalog/mod.ts'
import {
  createHealthController,
  failoverJobType,
  newFailoverJob,
} from '../../packages/server/src/control-plane/health/mod.ts'
import { createEngine, createHealthEngine } from '../../packages/server/src/engine/mod.ts'
import { startTestCluster, type TestCluster } from '../../packages/server/src/local/testing.ts'
import { createMetrics, silentLogger, systemClock } from '../../packages/server/src/runtime/mod.ts'

const leaseTtlMs = 10_000
const writersCount = 3
const app = parseKeyspaceName('app')
const shardId = parseShardId('s')

let cluster: TestCluster
let http: Awaited<ReturnType<typeof startAgentHttp>>
let catalog: Catalog
let catalogUrl = ''
let password = ''
const stop = new AbortController()
/** By key, the last version that a primary acknowledged, and the last that was tried. */
const acknowledged = new Map<string, number>()
const tried = new Map<string, number>()
let writing: Promise<unknown> = Promise.resolve()
let watching: Promise<unknown> = Promise.resolve()
const breaches: string[] = []

beforeAll(async () => {
  cluster = await startTestCluster({ shards: 1, replicas: 2 })
  http = await startAgentHttp({ agent: cluster.agent, log: silentLogger, version: 'test', port: 0 })
  const { node, password: secret } = cluster.catalog()
  catalogUrl = `postgres://${node.user}:${secret}@${node.host}:${String(node.port)}/${node.database}`
  const store = openCatalogStore(catalogUrl, { clock: systemClock, log: silentLogger })
  catalog = createCatalog({ store, clock: systemClock, uuid: randomUUID })
  const group = cluster.group('shard-1')
  password = group.primary.password
  await makeShard(group)
  const registration = catalog.agents.register(
    { store, clock: systemClock, log: silentLogger },
    { id: 'local', url: http.url, tokenRef: null, startedAt: new Date().toISOString() },
    60_000,
  )
  void registration.run(stop.signal)
  await query(
    (await shard()).nodes[0]?.id ?? '',
    'create table t (key text primary key, version int not null)',
  )
  writing = Promise.all(Array.from({ length: writersCount }, (_, number) => write(`w${String(number)}`)))
  watching = watch()
})
afterAll(async () => {
  stop.abort()
  await writing
  await watching
  await http[Symbol.asyncDispose]()
  await catalog.store[Symbol.asyncDispose]()
  await cluster[Symbol.asyncDispose]()
})

async function makeShard({ primary, replicas }: ReturnType<TestCluster['group']>): Promise<void> {
  const createdAt = new Date().toISOString()
  await catalog.keyspaces.create({
    name: app,
    engine: 'postgres',
    hash: 'murmur3',
    strategy: 'ring',
    defaultConsistency: 'strong',
    durability: 'protection',
    nextSequenceBlock: 1,
    version: 1,
    createdAt,
  })
  const record: ShardRecord = {
    id: shardId,
    name: 's',
    keyspace: app,
    status: 'active',
    statusReason: null,
    version: 1,
    term: parseTerm(1),
    vnodes: Buffer.alloc(8, 7).toString('base64'),
    nodes: [primary, ...replicas].map(({ node }) => node),
    sequenceBlock: 0,
    createdAt,
  }
  await catalog.changeRouting(app, () => ({ put: [record] }))
  const { id } = await catalog.cluster()
  const target = { ...primary.node, password }
  const claim = { cluster: id, keyspace: app, shard: shardId, term: record.term, epochMin: parseEpoch(1) }
  await createEngine('postgres', { clock: systemClock }).claim(target, { ...claim, sequenceBlock: 0 })
}

async function shard(): Promise<ShardRecord> {
  const stored = await catalog.shards.get(app, shardId)
  if (stored === null) throw new Error('the shard is gone')
  return stored.record
}

const primaryOf = ({ nodes }: ShardRecord): string => nodes.find(({ role }) => role === 'primary')?.id ?? ''

async function connectTo(id: string): Promise<Client> {
  const { host, port, database, user } = cluster.agent.get(id)
  const client = new Client({ host, port, database, user, password, connectionTimeoutMillis: 2_000 })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

async function query(id: string, text: string): Promise<Record<string, unknown>[]> {
  const client = await connectTo(id)
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}

/** As a router that holds nothing back: to whoever the map names, whose database must know the term. */
async function write(name: string): Promise<void> {
  for (let count = 0; !stop.signal.aborted; count += 1) {
    const key = `${name}-${String(count % 50)}`
    const version = (tried.get(key) ?? 0) + 1
    let client: Client | null = null
    try {
      const { nodes, term } = await shard()
      const primary = nodes.find(({ role }) => role === 'primary')
      client = await connectTo(primary?.id ?? '')
      const { rows } = await client.query<{ term: string }>('select term from fleetshard.shard_state')
      if (Number(rows[0]?.term) > term) continue
      tried.set(key, version)
      await client.query(
        'insert into t (key, version) values ($1, $2) on conflict (key) do update set version = $2',
        [key, version],
      )
      acknowledged.set(key, version)
    } catch {
      await systemClock.sleep(20)
    } finally {
      await client?.end().catch(() => undefined)
    }
  }
}

/** At no moment do two servers take writes [1, 2]. */
async function watch(): Promise<void> {
  while (!stop.signal.aborted) {
    const leading = await Promise.all(
      (await shard()).nodes.map(async ({ id }) => {
        const rows = await query(id, 'select pg_is_in_recovery() as replica').catch(() => [])
        return rows[0]?.['replica'] === false ? [id] : []
      }),
    )
    if (leading.flat().length > 1) breaches.push(leading.flat().join(' and '))
    await systemClock.sleep(20)
  }
}

/** Runs a controller until it has ended at a checkpoint that none has (where it says) or the condition holds (null). */
async function runController(
  passed: readonly string[],
  isOver: () => Promise<boolean>,
): Promise<string | null> {
  const deps = { clock: systemClock, log: silentLogger }
  await using store = openCatalogStore(catalogUrl, deps)
  await using view = createCatalogView({ ...deps, store })
  const end = new AbortController()
  let died: string | null = null
  const controller = createHealthController({
    metrics: createMetrics(false),
    ...deps,
    catalog: createCatalog({ store, clock: systemClock, uuid: randomUUID }),
    audit: createAuditLog({ store, clock: systemClock, recordsMax: 1_000 }),
    view,
    engine: (name) => createHealthEngine(name, deps),
    target: ({ host, port, database, user, tls }) =>
      Promise.resolve({ host, port, database, user, tls, password }),
    agent: ({ url }) => Promise.resolve(createAgentClient({ url, token: http.token })),
    checkpoint(name) {
      if (died === null && passed.includes(name)) return undefined
      died ??= name
      end.abort(new Error(`ended at ${name}`))
      return Promise.reject(new Error(`ended at ${name}`))
    },
    options: {
      id: randomUUID(),
      probeMs: 200,
      probeTimeoutMs: 2_000,
      lagBytesMax: 0,
      degradeMs: 60_000,
      leaseTtlMs,
    },
  })
  const running = [view.run(end.signal), controller.run(end.signal)]
  while (!end.signal.aborted && !(await isOver())) await systemClock.sleep(20)
  end.abort(new Error('over'))
  await Promise.allSettled(running)
  return died
}

async function carryOn(isOver: () => Promise<boolean>, passed: string[] = []): Promise<readonly string[]> {
  while (!(await isOver())) {
    const died = await runController(passed, isOver)
    if (died !== null) passed.push(died)
  }
  return passed
}

const failovers = async (): Promise<readonly JobRecord[]> =>
  (await catalog.jobs.list({ type: failoverJobType })).map(({ record }) => record)

async function holdsAtTheEnd(): Promise<void> {
  const before = [...acknowledged.values()].reduce((sum, version) => sum + version, 0)
  await expect
    .poll(() => [...acknowledged.values()].reduce((sum, version) => sum + version, 0), { timeout: 30_000 })
    .toBeGreaterThan(before + 20)
  const last = new Map(acknowledged)
  const rows = await query(primaryOf(await shard()), 'select key, version from t')
  const found = new Map(rows.map((row) => [String(row['key']), Number(row['version'])]))
  expect([...last].filter(([key, version]) => (found.get(key) ?? 0) < version)).toEqual([])
  expect(breaches).toEqual([])
}

test('a quorum is in force, wherever the controller is killed that brings it there [4, 10]', async () => {
  const passed = await carryOn(async () => {
    const sets = (await catalog.quorums.get(app, shardId))?.record.sets
    return sets?.length === 1 && sets[0]?.required === 1
  })
  expect(passed).toEqual(
    ['quorum joint', 'quorum set', 'quorum settled'].flatMap((name) => [`before ${name}`, `after ${name}`]),
  )
  const primary = primaryOf(await shard())
  const [row] = await query(primary, 'show synchronous_standby_names')
  expect(row?.['synchronous_standby_names']).toMatch(/^ANY 1 \(/)
}, 300_000)

test('a failover is carried on, wherever a controller is killed [1, 2, 3, 5, 7, 9, 10]', async () => {
  const before = await shard()
  const old = primaryOf(before)
  const control = join(cluster.dataDir, 'servers', old, 'data', 'global', 'pg_control')
  renameSync(control, `${control}.gone`)
  await cluster.agent.stop(old, { mode: 'kill' })
  const passed = await carryOn(async () => (await failovers()).at(-1)?.status === 'completed')
  for (const name of ['declare', 'fence', 'promote', 'assert term', 'map', 'rejoin']) {
    expect(passed).toContain(`before ${name}`)
    expect(passed).toContain(`after ${name}`)
  }
  expect(passed).toContain('before welcome back')
  const after = await shard()
  expect(after.term).toBe(before.term + 1)
  expect(primaryOf(after)).not.toBe(old)
  expect(after.nodes.find(({ id }) => id === old)?.role).toBe('replica')
  expect(after.hold).toBeUndefined()
  await holdsAtTheEnd()
}, 600_000)

test('a switchover is carried on, wherever a controller is killed', async () => {
  const before = await shard()
  const old = primaryOf(before)
  await catalog.jobs.create(
    newFailoverJob({
      id: 'asked-for',
      keyspace: app,
      kind: 'switchover',
      shard: shardId,
      from: before.nodes.find(({ id }) => id === old)?.id ?? before.nodes[0]!.id,
      by: 'operator',
      reason: 'a test',
      now: new Date().toISOString(),
      state: 'requested',
    }),
  )
  const ended = async (): Promise<boolean> =>
    (await failovers()).some(({ id, completedAt }) => id === 'asked-for' && completedAt !== null)
  await carryOn(ended)
  const job = (await failovers()).find(({ id }) => id === 'asked-for')
  expect(job).toMatchObject({ status: 'completed', state: 'healthy', detail: { lossBytesMax: 0 } })
  const after = await shard()
  expect(after.term).toBe(before.term + 1)
  expect(primaryOf(after)).not.toBe(old)
  expect(after.nodes.find(({ id }) => id === old)?.role).toBe('replica')
  await holdsAtTheEnd()
}, 600_000)
