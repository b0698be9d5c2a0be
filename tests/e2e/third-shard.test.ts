// Shards are added while the ring is still empty and writers try to be first. Whoever wins, every row lies on the shard
// that owns its key, and none that was acknowledged is lost.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ShardMap } from '@fleetshard/core'
import type { CreatedNode, RouterReady, Shard } from '@fleetshard/core/contract'
import { insertUser, startCluster, type Cluster } from './harness/cluster.ts'
import { keyOn, ownerOf, shardMapOf } from './harness/shard-map.ts'
import { until } from './harness/until.ts'

const writers = 8
const rowsPerWriter = 40

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ up: ['--replicas', '0'] })
  await cluster.makeUsers()
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

/** Writes users until told to stop; the names of those that were acknowledged. */
async function write(name: string, signal: AbortSignal): Promise<readonly string[]> {
  const acknowledged: string[] = []
  for (let number = 0; !signal.aborted || number < rowsPerWriter; number += 1) {
    const user = `${name}-${String(number)}`
    const { status, body } = await cluster.execute(insertUser(user))
    if (status === 200) acknowledged.push(user)
    else expect(body).toMatchObject({ retryable: true })
  }
  return acknowledged
}

/** All users by the shard that they lie on. */
async function usersByShard(map: ShardMap): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>()
  for (const { id } of map.owners) {
    const query = 'SELECT user_id FROM users'
    const { status, body } = await cluster.execute({ shard_key: keyOn(map, id), query })
    expect(status).toBe(200)
    found.set(
      id,
      body.rows.map((row) => String(row['user_id'])),
    )
  }
  return found
}

async function routerKnows(epoch: number): Promise<void> {
  await until('the router has the map', async () => {
    const { body } = await cluster.router<RouterReady>('GET', '/ready')
    return (body.epochs['default'] ?? 0) >= epoch
  })
}

async function emptyTheRing(): Promise<void> {
  const map = await shardMapOf(cluster)
  for (const { id } of map.owners) {
    const emptied = await cluster.execute({ shard_key: keyOn(map, id), query: 'DELETE FROM users' })
    expect(emptied.status).toBe(200)
  }
}

async function freshEndpoint(): Promise<string> {
  const { status, body } = await cluster.manager<CreatedNode>('POST', '/api/v1/nodes', { embedded: true })
  expect(status).toBe(201)
  return body.endpoint
}

/** Every row lies on the shard that owns its key, and all that were acknowledged are there. */
async function expectAllInPlace(acknowledged: readonly string[]): Promise<ReadonlySet<string>> {
  const map = await shardMapOf(cluster)
  await routerKnows(map.epoch)
  const found = await usersByShard(map)
  for (const [shard, users] of found)
    for (const user of users) expect({ user, shard: ownerOf(map, user) }).toEqual({ user, shard })
  const stored = new Set([...found.values()].flat())
  expect(acknowledged.filter((user) => !stored.has(user))).toEqual([])
  return stored
}

/** Inserts a row and deletes it in one transaction, again and again: there is always a writer and never a row. */
async function churn(name: string, signal: AbortSignal): Promise<void> {
  for (let number = 0; !signal.aborted; number += 1) {
    const user = `${name}-${String(number)}`
    const { query, params } = insertUser(user)
    const statements = [
      { query, params },
      { query: 'DELETE FROM users WHERE user_id = $1', params: [user] },
    ]
    const { status, body } = await cluster.router('POST', '/v1/transaction', { shard_key: user, statements })
    if (status !== 200) expect(body).toMatchObject({ retryable: true })
  }
}

test.each(['shard-03', 'shard-04', 'shard-05'])(
  '%s: the ring is dealt anew under writers, who go on without a row in the wrong place',
  async (name) => {
    await emptyTheRing()
    const body = { name, primary_endpoint: await freshEndpoint() }
    const added = new AbortController()
    const none = new AbortController()
    none.abort()
    // The routers’ map is the old one for a moment after the change: just then the first rows come.
    const writing = Promise.all(
      Array.from({ length: writers }, async (_, writer) => {
        await churn(`${name}-churn${String(writer)}`, added.signal)
        return write(`${name}-w${String(writer)}`, none.signal)
      }),
    )
    const created = await until('the shard is added', async () => {
      const answer = await cluster.manager<Shard>('POST', '/api/v1/shards', body)
      // Where the locks can't be had in time nothing is changed, and it may be tried again.
      if (answer.status !== 201) expect(answer.body).toMatchObject({ retryable: true })
      return answer.status === 201 ? answer : undefined
    })
    added.abort()
    const acknowledged = (await writing).flat()
    expect(created.body.status).toBe('active')
    expect(acknowledged.length).toBeGreaterThan(writers)
    const stored = await expectAllInPlace(acknowledged)
    expect([...stored].filter((user) => user.includes('churn'))).toEqual([])
    expect([...stored].some((user) => user.startsWith(name))).toBe(true)
  },
)

test('a shard that comes after the first rows is inactive, and writers don’t notice', async () => {
  await emptyTheRing()
  const stop = new AbortController()
  const endpoint = await freshEndpoint()
  const writing = Promise.all(
    Array.from({ length: writers }, (_, writer) => write(`late-w${String(writer)}`, stop.signal)),
  )
  await until('rows exist', async () => {
    const found = await usersByShard(await shardMapOf(cluster))
    return found.values().some(({ length }) => length > 0)
  })
  const created = await cluster.manager<Shard>('POST', '/api/v1/shards', {
    name: 'shard-late',
    primary_endpoint: endpoint,
  })
  stop.abort()
  const acknowledged = (await writing).flat()
  expect(created).toMatchObject({ status: 201, body: { status: 'inactive', vnode_count: 0 } })
  await expectAllInPlace(acknowledged)
})

test('a shard added to an empty ring without writers owns its share', async () => {
  await emptyTheRing()
  const created = await cluster.manager<Shard>('POST', '/api/v1/shards', {
    name: 'shard-09',
    nodes: 'embedded',
  })
  expect(created.status).toBe(201)
  expect(created.body.status).toBe('active')
  expect(created.body.vnodes).toHaveLength(256)
  const map = await shardMapOf(cluster)
  await routerKnows(map.epoch)
  const user = keyOn(map, created.body.id)
  expect((await cluster.execute(insertUser(user))).body).toMatchObject({ shard_id: created.body.id })
})

test('a shard added later owns nothing, and says why', async () => {
  const created = await cluster.manager<Shard>('POST', '/api/v1/shards', {
    name: 'shard-10',
    nodes: 'embedded',
  })
  expect(created.status).toBe(201)
  expect(created.body).toMatchObject({ status: 'inactive', vnode_count: 0 })
  expect(created.body.status_reason).toBeTruthy()
})
