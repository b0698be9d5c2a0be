// Contract of /api/v1/keyspaces.
import { Type, type Static } from 'typebox'
import { DurabilitySchema } from './failovers.ts'
import { Shard } from './shards.ts'
import {
  ConsistencySchema,
  EndpointSchema,
  KeyspaceNameSchema,
  TimeSchema,
  VersionSchema,
  closed,
  nullable,
  oneOf,
} from './schema.ts'
import { TableSuggestion } from './tables.ts'

/** Hashes a keyspace may be created with. */
const KeyspaceHashSchema = oneOf(
  ['murmur3', 'xxhash', 'postgres'],
  'hash of the shard key; cannot be changed later',
)

/** One logical database. */
export const Keyspace = closed({
  name: KeyspaceNameSchema,
  engine: oneOf(['postgres']),
  hash: oneOf(['murmur3', 'xxhash', 'postgres', 'fnv1a']),
  strategy: oneOf(['ring', 'modulo']),
  default_consistency: ConsistencySchema,
  /** Null: each shard by the number of its replicas. */
  durability: nullable(DurabilitySchema),
  epoch: Type.Integer({ minimum: 0, description: 'version of the shard map, +1 at every routing change' }),
  shard_count: Type.Integer({ minimum: 0 }),
  table_count: Type.Integer({ minimum: 0 }),
  version: VersionSchema,
  created_at: TimeSchema,
})
/** One logical database. */
export type Keyspace = Static<typeof Keyspace>

/** Answer of GET /api/v1/keyspaces. */
export const KeyspaceList = closed({ keyspaces: Type.Array(Keyspace) })
/** Answer of GET /api/v1/keyspaces. */
export type KeyspaceList = Static<typeof KeyspaceList>

/** Body of POST /api/v1/keyspaces. */
export const CreateKeyspace = closed({
  name: KeyspaceNameSchema,
  hash: Type.Optional(KeyspaceHashSchema),
  default_consistency: Type.Optional(ConsistencySchema),
  durability: Type.Optional(DurabilitySchema),
})
/** Body of POST /api/v1/keyspaces. */
export type CreateKeyspace = Static<typeof CreateKeyspace>

/** Body of PATCH /api/v1/keyspaces/{name}; at least one field. */
export const PatchKeyspace = closed({
  default_consistency: Type.Optional(ConsistencySchema),
  durability: Type.Optional(DurabilitySchema),
})
/** Body of PATCH /api/v1/keyspaces/{name}. */
export type PatchKeyspace = Static<typeof PatchKeyspace>

/** Body of POST /api/v1/keyspaces/{name}/adopt. */
export const Adopt = closed({
  primary_endpoint: EndpointSchema,
  replicas: Type.Optional(Type.Array(EndpointSchema, { maxItems: 16 })),
  shard_name: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
  hash: Type.Optional(KeyspaceHashSchema),
  vnode_count: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096 })),
})
/** Body of POST /api/v1/keyspaces/{name}/adopt. */
export type Adopt = Static<typeof Adopt>

/** Answer of adopt: the new keyspace, its one shard, and what its tables look like. */
export const Adoption = closed({
  keyspace: Keyspace,
  shard: Shard,
  tables: Type.Array(TableSuggestion),
})
/** Answer of adopt: the new keyspace, its one shard, and what its tables look like. */
export type Adoption = Static<typeof Adoption>
