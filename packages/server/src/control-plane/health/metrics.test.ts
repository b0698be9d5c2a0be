import { parseLsn, type NodeId, type NodeRecord, type ShardRecord } from '@fleetshard/core'
import { testSnapshot } from '@fleetshard/routing/testing'
import { expect, test } from 'vitest'
import type { NodeFigures, NodeProbe } from '../../engine/mod.ts'
import { createMetrics } from '../../runtime/mod.ts'
import { HealthMetrics } from './metrics.ts'
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
const answered = (
  node: NodeRecord,
  change: Partial<NodeProbe>,
  figures: NodeFigures | null = null,
): ProbeResult => ({ kind: 'answered', node, probe: probe(change), figures })

function setup() {
  const metrics = createMetrics(false)
  const health = new HealthMetrics(metrics, () => null)
  const look = (first: ProbeResult, ...replicas: ProbeResult[]): Promise<string> => {
    health.looked({ shard, primary: first, replicas, agent: null })
    return metrics.text()
  }
  return { health, look, metrics }
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
  const { look } = setup()
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
  const { look } = setup()
  const text = await look(written, answered(replica, { replayed: parseLsn('0/2000'), lagMs: 3_600_000 }))
  expect(text).toContain(`fleetshard_server_replication_lag_seconds{${labels(replica)}} 0\n`)
})

test('tells what a server bears, and forgets what it cannot know', async () => {
  const { look } = setup()
  const [size, connections] = ['database_size_bytes', 'connections'].map(
    (name) => `fleetshard_server_${name}{`,
  )
  const position = { inRecovery: false, position: parseLsn('0/2000') }
  expect(await look(written)).not.toContain(size)
  const text = await look(answered(primary, position, some))
  expect(text).toContain(`${size}${labels(primary)}} 8192\n`)
  expect(text).toContain(`${connections}${labels(primary)}} 3\n`)
  expect(await look({ kind: 'missed', node: primary, reason: 'gone' })).not.toContain(size)
})

test('a server that is in no shard any more leaves nothing', async () => {
  const { health, look, metrics } = setup()
  await look(written, answered(replica, { replayed: parseLsn('0/2000') }))
  health.keepOnly(new Set([replica.id]))
  const text = await metrics.text()
  expect(text).not.toContain('node="n1"')
  expect(text).toContain('node="n2"')
})
