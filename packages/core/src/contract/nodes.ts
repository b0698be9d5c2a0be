// Contract of /api/v1/nodes.
import { Type, type Static } from 'typebox'
import { IdSchema, KeyspaceNameSchema, agentChoice, closed, nullable, oneOf } from './schema.ts'

/** One database server of a shard. */
export const ShardNode = closed({
  id: IdSchema,
  role: oneOf(['primary', 'replica', 'standby']),
  endpoint: Type.String({ description: 'postgres:// URL without the password' }),
  host: Type.String({ description: 'host name, address, or folder of a Unix socket' }),
  port: Type.Integer(),
  database: Type.String(),
  user: Type.String(),
  tls: oneOf(['disable', 'require', 'verify-full']),
  region: nullable(Type.String()),
  zone: nullable(Type.String()),
  agent: nullable(Type.String({ description: 'id of the agent that supervises the server' })),
})
/** One database server of a shard. */
export type ShardNode = Static<typeof ShardNode>

/** One database server with the shard it belongs to; both null for an embedded server that no shard uses yet. */
export const FleetNode = closed({
  ...ShardNode.properties,
  shard_id: nullable(IdSchema),
  keyspace: nullable(KeyspaceNameSchema),
})
/** One database server with the shard it belongs to; both null for an embedded server that no shard uses yet. */
export type FleetNode = Static<typeof FleetNode>

/** Answer of GET /api/v1/nodes. */
export const NodeList = closed({
  nodes: Type.Array(FleetNode),
  agents_unreachable: Type.Array(IdSchema, { description: 'agents whose unassigned servers are not listed' }),
})
/** Answer of GET /api/v1/nodes. */
export type NodeList = Static<typeof NodeList>

/** Query of GET /api/v1/nodes. */
export const NodeListQuery = closed({
  keyspace: Type.Optional(KeyspaceNameSchema),
  shard_id: Type.Optional(IdSchema),
})
/** Query of GET /api/v1/nodes. */
export type NodeListQuery = Static<typeof NodeListQuery>

/** Body of POST /api/v1/nodes: starts a fresh embedded server, with replicas if asked for. */
export const CreateNode = closed({
  embedded: Type.Literal(true),
  replicas: Type.Optional(Type.Integer({ minimum: 0, maximum: 5 })),
  database: Type.Optional(Type.String({ pattern: '^[a-z_][a-z0-9_]{0,62}$' })),
  agent: agentChoice('the agent that runs the servers; any by default'),
})
/** Body of POST /api/v1/nodes: starts a fresh embedded server, with replicas if asked for. */
export type CreateNode = Static<typeof CreateNode>

/** Answer of POST /api/v1/nodes: what to type into POST /api/v1/shards. */
export const CreatedNode = closed({
  id: IdSchema,
  endpoint: Type.String({ description: 'for primary_endpoint; the password is known to the manager' }),
  replicas: Type.Array(Type.String({ description: 'for replicas' })),
  nodes: Type.Array(FleetNode),
})
/** Answer of POST /api/v1/nodes: what to type into POST /api/v1/shards. */
export type CreatedNode = Static<typeof CreatedNode>
