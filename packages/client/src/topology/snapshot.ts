// The router's topology as snapshots that shard maps are built from. Outside data: everything is checked.
import {
  packTokens,
  parseEpoch,
  parseJobId,
  parseKeyspaceName,
  parseNodeId,
  parseShardId,
  parseTerm,
  unpackTokens,
  type KeyspaceSnapshot,
  type NodeRecord,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import {
  arrayAt,
  numberAt,
  objectOf,
  oneOfAt,
  textAt,
  textOrNullAt,
  type JsonObject,
} from '../json-reader.ts'

/** A client never hands out sequence blocks; the topology does not tell them. */
const noBlock = 0

/** One keyspace of `GET /v1/topology`. @throws FleetError `server_unreachable` */
export function snapshotOf(keyspaceTopology: unknown): KeyspaceSnapshot {
  const topology = objectOf(keyspaceTopology, 'keyspace')
  return {
    ...headOf(topology['keyspace']),
    shards: arrayAt(topology, 'shards').map(shardOf),
    tables: arrayAt(topology, 'tables').map(tableOf),
  }
}

/** The keyspace itself with its epoch, as the event `keyspace` has it too. */
export function headOf(value: unknown): Pick<KeyspaceSnapshot, 'keyspace' | 'epoch'> {
  const keyspace = objectOf(value, 'keyspace')
  return {
    keyspace: {
      name: parseKeyspaceName(textAt(keyspace, 'name')),
      engine: oneOfAt(keyspace, 'engine', ['postgres']),
      hash: oneOfAt(keyspace, 'hash', ['murmur3', 'xxhash', 'postgres', 'fnv1a']),
      strategy: oneOfAt(keyspace, 'strategy', ['ring', 'modulo']),
      defaultConsistency: oneOfAt(keyspace, 'default_consistency', ['strong', 'eventual']),
      ...((keyspace['durability'] ?? null) === null
        ? {}
        : { durability: oneOfAt(keyspace, 'durability', ['protection', 'availability', 'performance']) }),
      nextSequenceBlock: noBlock,
      version: numberAt(keyspace, 'version'),
      createdAt: textAt(keyspace, 'created_at'),
    },
    epoch: parseEpoch(numberAt(keyspace, 'epoch')),
  }
}

/** One shard. */
export function shardOf(value: unknown): ShardRecord {
  const shard = objectOf(value, 'shard')
  return {
    id: parseShardId(textAt(shard, 'id')),
    name: textAt(shard, 'name'),
    keyspace: parseKeyspaceName(textAt(shard, 'keyspace')),
    status: oneOfAt(shard, 'status', ['active', 'migrating', 'readonly', 'inactive']),
    statusReason: textOrNullAt(shard, 'status_reason'),
    version: numberAt(shard, 'version'),
    term: parseTerm(numberAt(shard, 'term')),
    vnodes: packTokens(arrayAt(shard, 'vnodes').map(tokenOf)),
    nodes: arrayAt(shard, 'nodes').map((node) => nodeOf(objectOf(node, 'node'))),
    sequenceBlock: noBlock,
    ...('leftovers_job_id' in shard
      ? { leftovers: { job: parseJobId(textAt(shard, 'leftovers_job_id')) } }
      : {}),
    createdAt: textAt(shard, 'created_at'),
  }
}

/** A snapshot in the form that `snapshotOf` reads. */
export function topologyOf({ keyspace, epoch, shards, tables }: KeyspaceSnapshot): unknown {
  return {
    keyspace: {
      name: keyspace.name,
      engine: keyspace.engine,
      hash: keyspace.hash,
      strategy: keyspace.strategy,
      default_consistency: keyspace.defaultConsistency,
      durability: keyspace.durability ?? null,
      version: keyspace.version,
      created_at: keyspace.createdAt,
      epoch,
    },
    shards: shards.map((shard) => ({
      id: shard.id,
      name: shard.name,
      keyspace: shard.keyspace,
      status: shard.status,
      status_reason: shard.statusReason,
      version: shard.version,
      term: shard.term,
      vnodes: unpackTokens(shard.vnodes).map(String),
      nodes: shard.nodes.map(({ secretRef: _secret, ...node }) => node),
      created_at: shard.createdAt,
    })),
    tables: tables.map((table) => ({
      keyspace: table.keyspace,
      name: table.name,
      kind: table.kind,
      key_column: table.keyColumn,
      key_type: table.keyType,
      home_shard: table.homeShard,
      version: table.version,
      created_at: table.createdAt,
    })),
  }
}

const tokenOf = (token: unknown): bigint => BigInt(textAt({ token }, 'token'))

/** Where its password lies is the client's own affair: the topology tells no secrets, and no place of them. */
function nodeOf(node: JsonObject): NodeRecord {
  const id = textAt(node, 'id')
  return {
    id: parseNodeId(id),
    role: oneOfAt(node, 'role', ['primary', 'replica', 'standby']),
    host: textAt(node, 'host'),
    port: numberAt(node, 'port'),
    database: textAt(node, 'database'),
    user: textAt(node, 'user'),
    secretRef: `client:${id}`,
    tls: oneOfAt(node, 'tls', ['disable', 'require', 'verify-full']),
    region: textOrNullAt(node, 'region'),
    zone: textOrNullAt(node, 'zone'),
    agent: textOrNullAt(node, 'agent'),
  }
}

const keyTypes = ['text', 'int2', 'int4', 'int8', 'uuid', 'bytea'] as const

/** One declared table. */
export function tableOf(value: unknown): TableRecord {
  const table = objectOf(value, 'table')
  const home = textOrNullAt(table, 'home_shard')
  return {
    keyspace: parseKeyspaceName(textAt(table, 'keyspace')),
    name: textAt(table, 'name'),
    kind: oneOfAt(table, 'kind', ['sharded', 'reference', 'global']),
    keyColumn: textOrNullAt(table, 'key_column'),
    keyType: textOrNullAt(table, 'key_type') === null ? null : oneOfAt(table, 'key_type', keyTypes),
    homeShard: home === null ? null : parseShardId(home),
    ddl: null,
    version: numberAt(table, 'version'),
    createdAt: textAt(table, 'created_at'),
  }
}
