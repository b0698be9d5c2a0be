// Snapshots and statements for tests of planning and execution.
import {
  addShard,
  buildRing,
  buildShardMap,
  firstShard,
  parseEpoch,
  parseKeyspaceName,
  parseShardId,
  parseTerm,
  type KeyspaceSnapshot,
  type ShardMap,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'

const keyspace = parseKeyspaceName('app')
const createdAt = '2026-01-01T00:00:00.000Z'

/** A declared table. */
export function testTable(name: string, fields: Partial<TableRecord> = {}): TableRecord {
  return {
    keyspace,
    name,
    kind: 'sharded',
    keyColumn: 'user_id',
    keyType: 'text',
    homeShard: null,
    ddl: null,
    version: 1,
    createdAt,
    ...fields,
  }
}

/** A keyspace with that many active shards, named `s0`, `s1`, …, without nodes. */
export function testSnapshot(
  shardCount: number,
  tables: readonly TableRecord[],
  vnodeCount = 16,
): KeyspaceSnapshot {
  const shards: ShardRecord[] = []
  for (let index = 0; index < shardCount; index += 1) {
    const id = parseShardId(`s${String(index)}`)
    const change =
      index === 0 ? firstShard({ id, vnodeCount }) : addShard(buildRing(shards), { id, vnodeCount })
    shards.push({
      id,
      name: id,
      keyspace,
      status: 'active',
      statusReason: null,
      version: 1,
      term: parseTerm(1),
      vnodes: change.vnodes.get(id) ?? '',
      nodes: [],
      sequenceBlock: index,
      createdAt,
    })
  }
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
    epoch: parseEpoch(7),
    shards,
    tables,
  }
}

/** The map of such a keyspace. */
export const testMap = (shardCount: number, tables: readonly TableRecord[]): ShardMap =>
  buildShardMap(testSnapshot(shardCount, tables))
