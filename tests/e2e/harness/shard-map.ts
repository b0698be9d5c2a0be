// The shard map as the manager publishes it, built by core: the yardstick for where rows must lie.
import {
  buildShardMap,
  packTokens,
  parseEpoch,
  parseKey,
  parseKeyspaceName,
  parseShardId,
  parseTerm,
  type ShardMap,
} from '@fleetshard/core'
import type { Topology } from '@fleetshard/core/contract'
import type { Cluster } from './cluster.ts'

/** The map of keyspace `default`. */
export async function shardMapOf(cluster: Pick<Cluster, 'manager'>): Promise<ShardMap> {
  const { body } = await cluster.manager<Topology>('GET', '/api/v1/topology')
  const found = body.keyspaces.find(({ keyspace }) => keyspace.name === 'default')
  if (found === undefined) throw new Error('there is no keyspace default')
  const name = parseKeyspaceName('default')
  return buildShardMap({
    keyspace: {
      name,
      engine: 'postgres',
      hash: found.keyspace.hash,
      strategy: found.keyspace.strategy,
      defaultConsistency: found.keyspace.default_consistency,
      nextSequenceBlock: 0,
      version: found.keyspace.version,
      createdAt: found.keyspace.created_at,
    },
    epoch: parseEpoch(found.keyspace.epoch),
    tables: [],
    shards: found.shards.map((shard) => ({
      id: parseShardId(shard.id),
      name: shard.name,
      keyspace: name,
      status: shard.status,
      statusReason: null,
      version: shard.version,
      term: parseTerm(shard.term),
      vnodes: packTokens((shard.vnodes ?? []).map(BigInt)),
      nodes: [],
      sequenceBlock: 0,
      createdAt: shard.created_at,
    })),
  })
}

/** Id of the shard that owns the text key. */
export function ownerOf(map: ShardMap, key: string): string {
  return map.locate(parseKey(key, 'text'), 'text').shard.id
}

/** A key that lies on the shard. */
export function keyOn(map: ShardMap, shard: string, prefix = 'key'): string {
  for (let number = 0; ; number += 1) {
    const key = `${prefix}-${String(number)}`
    if (ownerOf(map, key) === shard) return key
  }
}
