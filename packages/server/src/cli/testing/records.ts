// For tests: records as the manager answers them.
import type { Job, Keyspace, Shard, Table } from '@fleetshard/core/contract'

/** An active shard that owns half of the ring. */
export function aShard(fields: Partial<Shard> = {}): Shard {
  return {
    id: 's-1',
    name: 'shard-01',
    keyspace: 'default',
    status: 'active',
    status_reason: null,
    version: 3,
    term: 1,
    vnode_count: 1,
    vnodes: ['9223372036854775807'],
    primary_endpoint: 'postgres://app@db-1:5432/app',
    replicas: [],
    nodes: [],
    created_at: '2026-01-01T00:00:00.000Z',
    epoch: 2,
    hash_range_start: '0',
    hash_range_end: '9223372036854775807',
    ranges: [{ start: '0', end: '9223372036854775807' }],
    ...fields,
  }
}

/** A keyspace of one shard. */
export function aKeyspace(fields: Partial<Keyspace> = {}): Keyspace {
  return {
    name: 'default',
    engine: 'postgres',
    hash: 'murmur3',
    strategy: 'ring',
    default_consistency: 'strong',
    durability: null,
    epoch: 2,
    shard_count: 1,
    table_count: 0,
    version: 5,
    created_at: '2026-01-01T00:00:00.000Z',
    ...fields,
  }
}

/** A sharded table. */
export function aTable(fields: Partial<Table> = {}): Table {
  return {
    keyspace: 'default',
    name: 'public.users',
    kind: 'sharded',
    key_column: 'user_id',
    key_type: 'text',
    home_shard: null,
    ddl: null,
    version: 1,
    created_at: '2026-01-01T00:00:00.000Z',
    ...fields,
  }
}

/** A running job. */
export function aJob(fields: Partial<Job> = {}): Job {
  return {
    id: 'j-1',
    type: 'schema',
    keyspace: 'default',
    status: 'running',
    phase: 'applying',
    progress: 0.5,
    error_code: null,
    error_message: null,
    version: 1,
    created_at: '2026-01-01T00:00:00.000Z',
    started_at: null,
    completed_at: null,
    ...fields,
  }
}
