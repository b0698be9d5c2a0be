// `up` from nothing, then the calls of the reference typed as they are printed there, with endpoints of servers that
// the cluster runs.
import type { CreatedNode, NodeList, Shard, ShardForKeyResponse, ShardList } from '@fleetshard/core/contract'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCluster, type Cluster } from './harness/cluster.ts'
import { readText, send } from './harness/http.ts'
import { until } from './harness/until.ts'

/** What `doctor -o json` prints. */
interface Diagnosis {
  readonly healthy: boolean
  readonly checks: readonly { readonly name: string; readonly status: string }[]
}

let cluster: Cluster

beforeAll(async () => {
  cluster = await startCluster()
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

test('up makes two shards with a replica each that own the whole ring', async () => {
  const { body } = await cluster.manager<ShardList>('GET', '/api/v1/shards')
  expect(body.shards.map((shard) => shard.name)).toEqual(['shard-01', 'shard-02'])
  for (const shard of body.shards) {
    expect(shard.status).toBe('active')
    expect(shard.vnodes).toHaveLength(256)
    expect(shard.replicas).toHaveLength(1)
    expect(shard.primary_endpoint).toMatch(/^postgres:\/\/app@127\.0\.0\.1:\d+\/app$/)
  }
})

test('status says that all is well, in words and as JSON', async () => {
  const words = await cluster.cli('status')
  expect(words).toMatchObject({ code: 0 })
  expect(words.out).toContain('shard-02')
  const json = await cluster.cli('status', '-o', 'json')
  expect(JSON.parse(json.out)).toMatchObject({ healthy: true })
})

test('doctor finds nothing wrong', async () => {
  const found = await cluster.cli('doctor', '-o', 'json')
  const { healthy, checks } = JSON.parse(found.out) as Diagnosis
  expect(checks.filter(({ status }) => status === 'failed')).toEqual([])
  expect(healthy).toBe(true)
  expect(found.code).toBe(0)
  expect(checks.map(({ name }) => name)).toContain('shard-02 replica')
})

test('create, list, get, delete a shard as in the reference', async () => {
  const node = await cluster.manager<CreatedNode>('POST', '/api/v1/nodes', { embedded: true })
  expect(node.status).toBe(201)
  const created = await cluster.manager<Shard>('POST', '/api/v1/shards', {
    name: 'shard-03',
    primary_endpoint: node.body.endpoint,
    replicas: [],
    vnode_count: 256,
  })
  expect(created.status).toBe(201)
  expect(created.body).toMatchObject({ name: 'shard-03', replicas: [], vnode_count: 256, version: 1 })
  const { id } = created.body
  const listed = await cluster.manager<ShardList>('GET', '/api/v1/shards')
  expect(listed.body.shards.map((shard) => shard.id)).toContain(id)
  const got = await cluster.manager('GET', `/api/v1/shards/${id}`)
  expect(got.body).toMatchObject({ id, primary_endpoint: node.body.endpoint })
  expect((await cluster.manager('DELETE', `/api/v1/shards/${id}`)).status).toBe(204)
  expect((await cluster.manager('GET', `/api/v1/shards/${id}`)).status).toBe(404)
})

test('a shard of fresh servers is made by one call', async () => {
  const created = await cluster.manager<Shard>('POST', '/api/v1/shards', {
    name: 'shard-04',
    nodes: 'embedded',
    replica_count: 1,
  })
  expect(created.status).toBe(201)
  expect(created.body.replicas).toHaveLength(1)
  expect((await cluster.manager('DELETE', `/api/v1/shards/${created.body.id}`)).status).toBe(204)
})

test('SELECT version() answers, by curl’s body of the reference', async () => {
  const answer = await cluster.execute({
    shard_key: 'user-123',
    query: 'SELECT version()',
    params: [],
    consistency: 'strong',
  })
  expect(answer.status).toBe(200)
  expect(answer.body.rows[0]?.['version']).toMatch(/^PostgreSQL \d+/)
  const { body } = await cluster.router<ShardForKeyResponse>('GET', '/v1/shard-for-key?key=user-123')
  expect(body.shard_id).toBe(answer.body.shard_id)
  expect(body.replicas).toHaveLength(1)
})

test('an eventual read is answered by a replica, a strong one by the primary', async () => {
  const nodeOf = async (consistency: string): Promise<string> => {
    const query = 'SELECT 1 AS one'
    return (await cluster.execute({ shard_key: 'user-123', query, consistency })).body.node
  }
  const { body } = await cluster.manager<NodeList>('GET', '/api/v1/nodes')
  const role = (id: string): unknown => body.nodes.find((node) => node.id === id)?.role
  expect(role(await nodeOf('eventual'))).toBe('replica')
  expect(role(await nodeOf('strong'))).toBe('primary')
})

test('health and readiness of router and manager', async () => {
  for (const url of [cluster.state.urls.router, cluster.state.urls.manager]) {
    expect((await send('GET', `${url}/health`)).body).toMatchObject({ status: 'ok' })
    expect((await send('GET', `${url}/ready`)).body).toMatchObject({ status: 'ready' })
  }
})

test('metrics of router, manager and worker', async () => {
  const { routerMetrics, managerMetrics, workerMetrics } = cluster.state.urls
  expect(await readText(`${routerMetrics}/metrics`)).toContain('fleetshard_http_requests_total')
  expect(await readText(`${managerMetrics}/metrics`)).toContain('fleetshard_')
  expect(await readText(`${workerMetrics}/metrics`)).toContain('fleetshard_worker_jobs_running')
  for (const url of [routerMetrics, managerMetrics, workerMetrics])
    expect((await send('GET', `${url}/health`)).body).toMatchObject({ status: 'ok' })
})

test('a table created by the command line is there for the next statement', async () => {
  await cluster.makeUsers()
  const written = await cluster.execute({
    shard_key: 'user-7',
    query: 'INSERT INTO users (user_id, name, email) VALUES ($1, $2, $3) RETURNING user_id',
    params: ['user-7', 'Seven', 'seven@example.com'],
  })
  expect(written.body).toMatchObject({ row_count: 1, rows: [{ user_id: 'user-7' }] })
  const read = await until('the replica has the row', async () => {
    const { body } = await cluster.execute({
      query: 'SELECT name FROM users WHERE user_id = $1',
      params: ['user-7'],
      consistency: 'eventual',
    })
    return body.row_count === 1 ? body : undefined
  })
  expect(read.rows).toEqual([{ name: 'Seven' }])
})
