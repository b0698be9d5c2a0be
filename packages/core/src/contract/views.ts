// Records as the contract shows them: snake_case, decimal tokens, endpoints without passwords. Manager and router
// answer with the same shapes.
import { formatEndpoint } from '../endpoint.ts'
import type { KeyspaceSnapshot, NodeRecord, ShardRecord, TableRecord } from '../model.ts'
import { countTokens, unpackTokens } from '../ring/tokens.ts'
import type { Keyspace } from './keyspaces.ts'
import type { ShardNode } from './nodes.ts'
import type { Table } from './tables.ts'
import type { TopologyShard } from './topology.ts'

/** One keyspace. */
export function keyspaceView({ keyspace, epoch, shards, tables }: KeyspaceSnapshot): Keyspace {
  return {
    name: keyspace.name,
    engine: keyspace.engine,
    hash: keyspace.hash,
    strategy: keyspace.strategy,
    default_consistency: keyspace.defaultConsistency,
    durability: keyspace.durability ?? null,
    epoch,
    shard_count: shards.length,
    table_count: tables.length,
    version: keyspace.version,
    created_at: keyspace.createdAt,
  }
}

/** A shard by its own record; `withVnodes` false leaves the tokens out. */
export function topologyShardView(shard: ShardRecord, withVnodes: boolean): TopologyShard {
  const nodes = shard.nodes.map(nodeView)
  const primary = nodes.find(({ role }) => role === 'primary')
  return {
    id: shard.id,
    name: shard.name,
    keyspace: shard.keyspace,
    status: shard.status,
    status_reason: shard.statusReason,
    version: shard.version,
    term: shard.term,
    vnode_count: countTokens(shard.vnodes),
    ...(withVnodes ? { vnodes: unpackTokens(shard.vnodes).map(String) } : {}),
    primary_endpoint: primary?.endpoint ?? null,
    replicas: nodes.filter(({ role }) => role !== 'primary').map(({ endpoint }) => endpoint),
    nodes,
    ...(shard.leftovers === undefined ? {} : { leftovers_job_id: shard.leftovers.job }),
    created_at: shard.createdAt,
  }
}

/** One server of a shard. */
export function nodeView(node: NodeRecord): ShardNode {
  const { id, role, host, port, database, user, tls, region, zone, agent } = node
  return { id, role, endpoint: formatEndpoint(node), host, port, database, user, tls, region, zone, agent }
}

/** One declared table. */
export function tableView(table: TableRecord): Table {
  return {
    keyspace: table.keyspace,
    name: table.name,
    kind: table.kind,
    key_column: table.keyColumn,
    key_type: table.keyType,
    home_shard: table.homeShard,
    ddl: table.ddl,
    version: table.version,
    created_at: table.createdAt,
  }
}
