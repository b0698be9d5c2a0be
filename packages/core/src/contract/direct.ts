// Contract of /v1/topology/sessions: how direct clients take part like routers.
import { Type, type Static } from 'typebox'
import { IdSchema, KeyspaceNameSchema, closed, nullable } from './schema.ts'

/** Body of POST /v1/topology/sessions: begins a session, and renews it when it is sent again. */
export const DirectSessionRequest = closed({
  client_id: IdSchema,
  keyspace: KeyspaceNameSchema,
  acked_epoch: Type.Integer({ minimum: 0, description: 'epoch of the shard map that the client works with' }),
})
/** Body of POST /v1/topology/sessions: begins a session, and renews it when it is sent again. */
export type DirectSessionRequest = Static<typeof DirectSessionRequest>

/** Path of DELETE /v1/topology/sessions/{client_id}. */
export const DirectSessionPath = closed({ client_id: IdSchema })

/** A login to one server. */
export const DirectLogin = closed({
  node_id: IdSchema,
  user: Type.String(),
  password: nullable(Type.String({ description: 'null for none' })),
})
/** A login to one server. */
export type DirectLogin = Static<typeof DirectLogin>

/** Answer of POST /v1/topology/sessions. */
export const DirectSession = closed({
  client_id: IdSchema,
  cluster: nullable(Type.String({ description: 'what the databases of the shards say they belong to' })),
  ttl_ms: Type.Integer({ description: 'the session ends unless it is renewed within this time' }),
  logins: Type.Array(DirectLogin),
})
/** Answer of POST /v1/topology/sessions. */
export type DirectSession = Static<typeof DirectSession>
