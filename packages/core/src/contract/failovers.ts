// Contract of promotions, and of what became of them: POST /api/v1/shards/{id}/promote, GET …/failovers.
import { Type, type Static } from 'typebox'
import {
  EndpointSchema,
  IdSchema,
  KeyspaceNameSchema,
  TimeSchema,
  VersionSchema,
  agentChoice,
  closed,
  nullable,
  oneOf,
} from './schema.ts'

/** What a failover may cost. */
export const DurabilitySchema = oneOf(
  ['protection', 'availability', 'performance'],
  'protection: a failover loses nothing, writes wait for a replica; availability: the same as long as one is there; performance: writes wait for none',
)

/** Body of POST /api/v1/shards/{id}/promote. */
export const PromoteShard = closed({
  node_id: Type.Optional(IdSchema),
  replica_endpoint: Type.Optional(EndpointSchema),
  force: Type.Optional(
    Type.Boolean({ description: 'a failover, also where the old primary cannot be confirmed dead' }),
  ),
  allow_data_loss: Type.Optional(
    Type.Boolean({ description: 'take the named replica although another has more; goes with force' }),
  ),
  reason: Type.Optional(Type.String({ minLength: 1, maxLength: 500 })),
})
/** Body of POST /api/v1/shards/{id}/promote: a switchover, or with `force` a failover. */
export type PromoteShard = Static<typeof PromoteShard>

/** What was found of one replica. */
export const FailoverCandidate = closed({
  node_id: IdSchema,
  timeline: nullable(Type.Integer()),
  position: nullable(Type.String({ description: 'text form of pg_lsn' })),
  revoked: Type.Boolean({ description: 'it receives nothing from the old primary any more' }),
  eligible: Type.Boolean(),
  verdict: Type.String(),
})
/** What was found of one replica. */
export type FailoverCandidate = Static<typeof FailoverCandidate>

/** A failover or switchover, also one that did not happen. */
export const Failover = closed({
  id: IdSchema,
  type: oneOf(
    ['failover', 'switchover', 'rebuild'],
    'rebuild: nobody else leads; `from` is made a replica of `to` again',
  ),
  keyspace: KeyspaceNameSchema,
  shard_id: IdSchema,
  status: oneOf(['pending', 'running', 'completed', 'failed', 'cancelled']),
  phase: Type.String({ description: 'state of the machine' }),
  term: nullable(Type.Integer()),
  from: IdSchema,
  to: nullable(IdSchema),
  by: oneOf(['health', 'operator']),
  forced: Type.Boolean(),
  reason: Type.String(),
  seen: Type.Array(Type.String(), { description: 'what was seen of the primary' }),
  proof: nullable(closed({ kind: oneOf(['death', 'quorum', 'forced']), text: Type.String() })),
  candidates: Type.Array(FailoverCandidate),
  loss_bytes_max: nullable(
    Type.Number({ description: 'acknowledged log that may be lost, as far as was seen' }),
  ),
  timeline: nullable(Type.Integer()),
  verified: nullable(Type.Boolean({ description: 'the quorum has confirmed a write of the new primary' })),
  rejoined_by: nullable(Type.String()),
  waits_for: nullable(Type.String({ description: 'what is in the way; of one that failed, why' })),
  steps: Type.Array(
    closed({ state: Type.String(), at: TimeSchema, ms: Type.Number({ description: 'time in that state' }) }),
  ),
  version: VersionSchema,
  created_at: TimeSchema,
  completed_at: nullable(TimeSchema),
})
/** A failover or switchover, also one that did not happen. */
export type Failover = Static<typeof Failover>

/** Answer of GET /api/v1/shards/{id}/failovers, newest first. */
export const FailoverList = closed({
  shard_id: IdSchema,
  term: Type.Integer(),
  primary: nullable(IdSchema),
  durability: DurabilitySchema,
  quorum: nullable(
    closed({
      members: Type.Array(IdSchema),
      required: Type.Integer(),
      changing: Type.Boolean(),
      degraded_since: nullable(TimeSchema),
    }),
  ),
  limits: Type.Array(Type.String(), {
    description:
      'what cannot be done for the shard, for people: no agent runs a server, or replicas are too few',
  }),
  failovers: Type.Array(Failover),
})
/** Answer of GET /api/v1/shards/{id}/failovers, newest first. */
export type FailoverList = Static<typeof FailoverList>

const ReasonSchema = Type.Optional(Type.String({ minLength: 1, maxLength: 500 }))

/** Body of POST /api/v1/shards/{id}/nodes. */
export const NodeAddition = closed({
  reason: ReasonSchema,
  agent: agentChoice('the agent that runs the replica; that of the primary by default'),
})
/** Body of POST /api/v1/shards/{id}/nodes. */
export type NodeAddition = Static<typeof NodeAddition>

/** Body of POST /api/v1/shards/{id}/nodes/{node}/rebuild. */
export const NodeOrder = closed({ reason: ReasonSchema })
/** Body of POST /api/v1/shards/{id}/nodes/{node}/rebuild. */
export type NodeOrder = Static<typeof NodeOrder>

/** Answer of DELETE /api/v1/shards/{id}/nodes/{node}. */
export const NodeRemoval = closed({
  node_id: IdSchema,
  server_removed: Type.Boolean({ description: 'false: no agent runs it, or commits still count on it' }),
})
/** Answer of DELETE /api/v1/shards/{id}/nodes/{node}. */
export type NodeRemoval = Static<typeof NodeRemoval>
