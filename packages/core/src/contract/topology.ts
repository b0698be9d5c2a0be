// Contract of the manager's /api/v1/topology: a snapshot, and a stream of what changes.
import { Type, type Static } from 'typebox'
import { Keyspace } from './keyspaces.ts'
import { IdSchema, KeyspaceNameSchema, closed, nullable, oneOf } from './schema.ts'
import { shardRecordFields } from './shards.ts'
import { Table } from './tables.ts'

/** A shard without what depends on the tokens of others: a watcher computes ranges from all tokens. */
export const TopologyShard = closed(shardRecordFields)
/** A shard without what depends on the tokens of others: a watcher computes ranges from all tokens. */
export type TopologyShard = Static<typeof TopologyShard>

/** A running router, or a client in direct mode, and the epochs it works with. */
export const TopologyRouter = closed({
  id: IdSchema,
  kind: oneOf(['router', 'direct'], 'direct: a client; host, port and version are those of its router'),
  host: Type.String(),
  http_port: Type.Integer(),
  version: Type.String(),
  acked_epochs: Type.Record(Type.String(), Type.Integer()),
  started_at: Type.String(),
})
/** A running router and the epochs it works with. */
export type TopologyRouter = Static<typeof TopologyRouter>

/** A keyspace with all its shards and tables. */
export const KeyspaceTopology = closed({
  keyspace: Keyspace,
  shards: Type.Array(TopologyShard),
  tables: Type.Array(Table),
})
/** A keyspace with all its shards and tables. */
export type KeyspaceTopology = Static<typeof KeyspaceTopology>

/** Everything at one moment. */
export const Topology = closed({
  keyspaces: Type.Array(KeyspaceTopology),
  routers: Type.Array(TopologyRouter),
  leader: nullable(closed({ id: Type.String(), url: Type.String() })),
  catalog_age_ms: Type.Integer({ minimum: 0, description: 'how long ago the catalog was last heard of' }),
})
/** Everything at one moment. */
export type Topology = Static<typeof Topology>

/** Query of GET /api/v1/topology. */
export const TopologyQuery = closed({
  keyspace: Type.Optional(KeyspaceNameSchema),
  vnodes: Type.Optional(Type.Boolean({ description: 'false leaves out vnodes' })),
})
/** Query of GET /api/v1/topology. */
export type TopologyQuery = Static<typeof TopologyQuery>

/**
 * One message of the stream (`Accept: text/event-stream`); the SSE event has the name of `kind`. The first is a
 * `snapshot`; another one may come at any time and replaces all that was known.
 */
export type TopologyEvent =
  | { readonly kind: 'snapshot'; readonly topology: Topology }
  | KeyspaceEvent
  | { readonly kind: 'router'; readonly router: TopologyRouter }
  | { readonly kind: 'router_removed'; readonly id: string }

/** A change of one keyspace. Of the changes of one commit `keyspace` comes last: it carries the epoch. */
export type KeyspaceEvent =
  | { readonly kind: 'keyspace'; readonly keyspace: Keyspace }
  | { readonly kind: 'keyspace_removed'; readonly keyspace: string }
  | { readonly kind: 'shard'; readonly shard: TopologyShard }
  | { readonly kind: 'shard_removed'; readonly keyspace: string; readonly id: string }
  | { readonly kind: 'table'; readonly table: Table }
  | { readonly kind: 'table_removed'; readonly keyspace: string; readonly name: string }

/** What a router knows at one moment: the maps it works with. */
export const RouterTopology = closed({
  keyspaces: Type.Array(KeyspaceTopology),
  map_age_ms: nullable(Type.Integer({ minimum: 0, description: 'since the catalog confirmed the maps' })),
})
/** What a router knows at one moment: the maps it works with. */
export type RouterTopology = Static<typeof RouterTopology>

/** One message of a router's stream; as `TopologyEvent`. */
export type RouterTopologyEvent =
  | { readonly kind: 'snapshot'; readonly topology: RouterTopology }
  | KeyspaceEvent
