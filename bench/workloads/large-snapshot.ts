// A keyspace with many shards and random tokens, for workloads that need a large map.
import { randomBytes } from 'node:crypto'
import { packTokens, parseKeyspaceName, parseNodeId, type KeyspaceSnapshot } from '@fleetshard/core'
import { testShard, testSnapshot } from '@fleetshard/core/testing'

/** A snapshot with that many active shards of that many vnodes. */
export function largeSnapshot(shardCount: number, vnodeCount: number): KeyspaceSnapshot {
  const keyspace = parseKeyspaceName('large')
  const shards = Array.from({ length: shardCount }, (_, index) =>
    testShard(`shard-${String(index)}`, {
      keyspace,
      vnodes: packTokens(Array.from({ length: vnodeCount }, () => randomBytes(8).readBigUInt64BE())),
      nodes: [
        {
          id: parseNodeId(`node-${String(index)}`),
          role: 'primary',
          host: '127.0.0.1',
          port: 5432,
          database: 'app',
          user: 'app',
          secretRef: null,
          tls: 'disable',
          region: null,
          zone: null,
          agent: null,
        },
      ],
      sequenceBlock: index,
    }),
  )
  return testSnapshot({ keyspace: { name: keyspace, nextSequenceBlock: shardCount }, shards })
}
