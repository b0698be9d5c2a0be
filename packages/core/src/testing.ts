// For tests of every package: catalog records with everything that placement does not look at filled in.
import { parseEpoch, parseKeyspaceName, parseShardId, parseTerm, type ShardId } from './ids.ts'
import type { KeyspaceRecord, KeyspaceSnapshot, ShardRecord, TableRecord } from './model.ts'

const keyspace = parseKeyspaceName('default')
const createdAt = '2024-05-01T00:00:00.000Z'

/** A shard of the test keyspace. */
export function testShard(id: ShardId | string, fields: Partial<ShardRecord> = {}): ShardRecord {
  return {
    id: parseShardId(id),
    name: id,
    keyspace,
    status: 'active',
    statusReason: null,
    version: 1,
    term: parseTerm(1),
    vnodes: '',
    nodes: [],
    sequenceBlock: 0,
    createdAt,
    ...fields,
  }
}

/** A sharded table, or one of another kind. */
export function testTable(name: string, fields: Partial<TableRecord> = {}): TableRecord {
  const sharded = { kind: 'sharded', keyColumn: 'id', keyType: 'text', homeShard: null } as const
  return { keyspace, name, ...sharded, ddl: null, version: 1, createdAt, ...fields }
}

/** What a test snapshot is made from. */
export interface SnapshotParts {
  readonly keyspace?: Partial<KeyspaceRecord>
  readonly epoch?: number
  readonly shards?: readonly ShardRecord[]
  readonly tables?: readonly TableRecord[]
}

/** A keyspace at one epoch: murmur3 on a ring, epoch 1, if nothing else is said. */
export function testSnapshot(parts: SnapshotParts = {}): KeyspaceSnapshot {
  return {
    keyspace: {
      name: keyspace,
      engine: 'postgres',
      hash: 'murmur3',
      strategy: 'ring',
      defaultConsistency: 'strong',
      nextSequenceBlock: 1,
      version: 1,
      createdAt,
      ...parts.keyspace,
    },
    epoch: parseEpoch(parts.epoch ?? 1),
    shards: parts.shards ?? [],
    tables: parts.tables ?? [],
  }
}
