// A keyspace with many shards and random tokens, for workloads that need a large map.
import { randomBytes } from 'node:crypto'
import {
  packTokens,
  parseEpoch,
  parseKeyspaceName,
  parseNodeId,
  parseShardId,
  parseTerm,
  type KeyspaceSnapshot,
  type ShardRecord,
} from '@fleetshard/core'

/** A snapshot with that many active shards of that many vnodes. */
export function largeSnapshot(shardCount: number, vnodeCount: number): KeyspaceSnapshot {
  const keyspace = parseKeyspaceName('large')
  const createdAt = new Date(0).toISOString()
  const shards = Array.from({ length: shardCount }, (_, index): ShardRecord => {
    const id = parseShardId(`shard-${String(index)}`)
    return {
      id,
      name: id,
      keyspace,
      status: 'active',
      statusReason: null,
      version: 1,
      term: parseTerm(1),
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
      createdAt,
    }
  })
  return {
    keyspace: {
      name: keyspace,
      engine: 'postgres',
      hash: 'murmur3',
      strategy: 'ring',
      defaultConsistency: 'strong',
      nextSequenceBlock: shardCount,
      version: 1,
      createdAt,
    },
    epoch: parseEpoch(1),
    shards,
    tables: [],
  }
}
