// The replicas of a shard, changed by an operator while the cluster runs: one more, one made anew, one fewer.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Failover, FailoverList, FleetNode, NodeList, Shard, ShardList } from '@fleetshard/core/contract'
import { startCluster, type Cluster } from './harness/cluster.ts'
import { until } from './harness/until.ts'

let cluster: Cluster

beforeAll(async () => {
  cluster = await startCluster({ up: ['--replicas', '1', '--shards', '1'] })
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

async function shard(): Promise<Shard> {
  const [found] = (await cluster.manager<ShardList>('GET', '/api/v1/shards')).body.shards
  if (found === undefined) throw new Error('there is no shard')
  return found
}
const nodesOf = async (): Promise<readonly FleetNode[]> =>
  (await cluster.manager<NodeList>('GET', '/api/v1/nodes')).body.nodes
const replicas = ({ nodes }: Shard): readonly string[] =>
  nodes.filter(({ role }) => role === 'replica').map(({ id }) => id)

async function untilDone(job: Failover): Promise<Failover> {
  let found: Failover | undefined
  await until(`${job.id} has ended`, async () => {
    const { body } = await cluster.manager<FailoverList>('GET', `/api/v1/shards/${job.shard_id}/failovers`)
    found = body.failovers.find(({ id }) => id === job.id)
    return found?.status === 'completed'
  })
  return found ?? job
}

test('a shard gets one more replica, which serves reads once it has everything', async () => {
  const { id } = await shard()
  const { status, body } = await cluster.manager<Failover>('POST', `/api/v1/shards/${id}/nodes`, {
    reason: 'one more',
  })
  expect(status).toBe(202)
  expect(body).toMatchObject({ type: 'rebuild', by: 'operator', reason: 'one more' })
  expect(await untilDone(body)).toMatchObject({ rejoined_by: 'cloned' })
  expect(replicas(await shard())).toHaveLength(2)
  expect(replicas(await shard())).toContain(body.from)
})

test('a replica is made anew; a primary is not', async () => {
  const before = await shard()
  const [replica = ''] = replicas(before)
  const rebuild = (node: string) =>
    cluster.manager<Failover>('POST', `/api/v1/shards/${before.id}/nodes/${node}/rebuild`, {})
  const { status, body } = await rebuild(replica)
  expect(status).toBe(202)
  await untilDone(body)
  expect(replicas(await shard())).toContain(replica)
  const primary = before.nodes.find(({ role }) => role === 'primary')?.id ?? ''
  expect((await rebuild(primary)).body).toMatchObject({ code: 'conflict' })
  expect((await rebuild('nobody')).body).toMatchObject({ code: 'not_found' })
})

test('a replica is taken out, and its server goes with its data', async () => {
  const before = await shard()
  const [replica = ''] = replicas(before)
  const { status, body } = await cluster.manager('DELETE', `/api/v1/shards/${before.id}/nodes/${replica}`)
  expect({ status, body }).toMatchObject({ status: 200, body: { node_id: replica, server_removed: true } })
  expect(replicas(await shard())).toHaveLength(1)
  expect((await nodesOf()).map(({ id }) => id)).not.toContain(replica)
})
