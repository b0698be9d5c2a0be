import { parseLsn, type NodeId, type NodeRecord, type ShardRecord } from '@fleetshard/core'
import { testSnapshot } from '@fleetshard/routing/testing'
import { expect, test } from 'vitest'
import type { NodeFigures, NodeProbe } from '../../engine/mod.ts'
import { createMetrics, silentLogger } from '../../runtime/mod.ts'
import { manualClock } from '../../runtime/testing/manual-clock.ts'
import { HealthMetrics } from './metrics.ts'
import type { Leading } from './parts.ts'
import type { ProbeResult } from './probes.ts'

const plain = testSnapshot(1, []).shards[0]!
const nodeOf = (id: string, role: NodeRecord['role']): NodeRecord => ({
  ...plain.nodes[0]!,
  id: id as NodeId,
  role,
})
const [primary, replica, stray] = [nodeOf('n1', 'primary'), nodeOf('n2', 'replica'), nodeOf('n3', 'replica')]
const shard: ShardRecord = { ...plain, nodes: [primary, replica, stray] }

const probe = (change: Partial<NodeProbe>): NodeProbe => ({
  inRecovery: true,
  timeline: 1,
  position: null,
  replayed: null,
  receiver: null,
  senders: [],
  lagMs: null,
  ...change,
})
const answered = (node: NodeRecord, change: Partial<NodeProbe>): ProbeResult => ({
  kind: 'answered',
  node,
  probe: probe(change),
})

function setup(figures: () => Promise<NodeFigures>) {
  const clock = manualClock()
  const metrics = createMetrics(false)
  const health = new HealthMetrics(metrics, () => null)
  const parts = {
    clock,
    log: silentLogger,
    target: () => Promise.resolve({}),
    engine: () => ({ figures }),
  }
  const leading = { parts, signal: new AbortController().signal } as unknown as Leading
  const look = async (first: ProbeResult, ...replicas: ProbeResult[]): Promise<string> => {
    health.looked(leading, { shard, primary: first, replicas, agent: null })
    await clock.pass(0)
    return metrics.text()
  }
  return { clock, health, look, metrics }
}

const some: NodeFigures = {
  connections: 3,
  connectionsLimit: 100,
  databaseBytes: 8_192,
  retainedWalBytes: 16,
}
const written = answered(primary, { inRecovery: false, position: parseLsn('0/2000') })
const labels = (node: NodeRecord): string =>
  `keyspace="${shard.keyspace}",shard="${shard.id}",node="${node.id}"`

test('tells of each server whether it answers, and how far a replica is behind', async () => {
  const { look } = setup(() => Promise.resolve(some))
  const text = await look(written, answered(replica, { replayed: parseLsn('0/1F00'), lagMs: 1_500 }), {
    kind: 'missed',
    node: stray,
    reason: 'gone',
  })
  expect(text).toContain(`fleetshard_server_up{${labels(primary)},role="primary"} 1\n`)
  expect(text).toContain(`fleetshard_server_up{${labels(stray)},role="replica"} 0\n`)
  expect(text).toContain(`fleetshard_server_replication_lag_bytes{${labels(replica)}} 256\n`)
  expect(text).toContain(`fleetshard_server_replication_lag_seconds{${labels(replica)}} 1.5\n`)
  expect(text).not.toContain(`lag_bytes{${labels(stray)}`)
  expect(text).not.toContain(`lag_bytes{${labels(primary)}`)
})

test('a replica that lacks nothing is not behind, however old its newest transaction is', async () => {
  const { look } = setup(() => Promise.resolve(some))
  const text = await look(written, answered(replica, { replayed: parseLsn('0/2000'), lagMs: 3_600_000 }))
  expect(text).toContain(`fleetshard_server_replication_lag_seconds{${labels(replica)}} 0\n`)
})

test('asks a server now and then what it bears, sooner after a failure, and forgets what it cannot know', async () => {
  let asked = 0
  let fails = false
  const { clock, look } = setup(() => {
    asked += 1
    return fails ? Promise.reject(new Error('no')) : Promise.resolve(some)
  })
  expect(await look(written)).toContain(`fleetshard_server_database_size_bytes{${labels(primary)}} 8192\n`)
  await look(written)
  expect(asked).toBe(1)
  fails = true
  clock.advance(30_000)
  expect(await look(written)).not.toContain('fleetshard_server_database_size_bytes{')
  fails = false
  clock.advance(5_000)
  expect(await look(written)).toContain(`fleetshard_server_connections{${labels(primary)}} 3\n`)
  expect(asked).toBe(3)
})

test('a server that is in no shard any more leaves nothing', async () => {
  const { health, look, metrics } = setup(() => Promise.resolve(some))
  await look(written, answered(replica, { replayed: parseLsn('0/2000') }))
  health.keepOnly(new Set([replica.id]))
  const text = await metrics.text()
  expect(text).not.toContain('node="n1"')
  expect(text).toContain('node="n2"')
})
