// The router's HTTP contract: bodies of /v1/execute, /v1/transaction and /v1/shard-for-key.
import { Type, type Static } from 'typebox'
import { idempotencyKeyPattern } from '../ids.ts'
import { ProblemBody } from './problem.ts'
import { closed, idPattern, oneOf } from './schema.ts'

/** Strings, numbers, booleans and null go as they are; arrays and objects by the type of the parameter. */
const Params = Type.Array(Type.Unknown(), { maxItems: 65_535, description: 'Values of $1, $2, …' })

const ShardKey = Type.Union([Type.String(), Type.Number()], {
  description: 'The value that decides the shard; a number is its decimal text',
})

const ConsistencyField = oneOf(
  ['strong', 'eventual'],
  'strong reads the primary, eventual a replica; the default is that of the keyspace',
)

/** Body of every error of the statement endpoints. */
export const StatementProblem = Type.Intersect([
  ProblemBody,
  Type.Object({
    outcome: oneOf(
      ['committed', 'aborted', 'unknown'],
      'what became of the statement or transaction; what was refused or never sent is aborted',
    ),
  }),
])
export type StatementProblem = Static<typeof StatementProblem>

/**
 * Where the log of a shard ends is only asked for those who want to know it: a token comes back when the request has
 * sent one, an empty one included.
 */
const SessionTokenField = Type.Union([Type.String(), Type.Null()], {
  description: 'To be sent with later reads; null when nothing was written and the request sent no token',
})

const Replayed = Type.Optional(
  Type.Boolean({ description: 'True when an earlier request did it under the same idempotency key' }),
)

/** `options` of execute and transaction. Every field is optional. */
export const ExecuteOptions = Type.Object(
  {
    keyspace: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
    shard_id: Type.Optional(
      Type.String({
        pattern: idPattern,
        description: 'Run on this shard, without a key; keys in the statement must lie there',
      }),
    ),
    all_shards: Type.Optional(
      Type.Boolean({
        description:
          'With shard_id: one part of a statement over all shards; refused unless their rows may simply be put together',
      }),
    ),
    row_format: Type.Optional(
      oneOf(
        ['object', 'array'],
        'array: rows as arrays in the order of columns; needed where two columns share a name',
      ),
    ),
    int8: Type.Optional(
      oneOf(
        ['string', 'number'],
        'How int8 travels; with number, values of more than 15 characters still are strings',
      ),
    ),
    idempotency_key: Type.Optional(
      Type.String({
        pattern: idempotencyKeyPattern,
        description:
          'The write is done once, however often it is sent with this key; also as header Idempotency-Key',
      }),
    ),
    session_token: Type.Optional(
      Type.String({
        description:
          'Of an earlier answer: eventual reads see what it has seen. Empty to get one from a write; also as header X-FleetShard-Session',
      }),
    ),
    max_staleness_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 86_400_000,
        description:
          'With consistency eventual, which it implies: a replica shows nothing older, or the primary answers',
      }),
    ),
    timeout_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400_000 })),
    max_rows: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000_000 })),
    max_bytes: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_073_741_824 })),
    read_only: Type.Optional(Type.Boolean({ description: 'Refuse the statement if it writes' })),
  },
  { additionalProperties: false },
)
export type ExecuteOptions = Static<typeof ExecuteOptions>

/** Body of POST /v1/execute. */
export const ExecuteRequest = Type.Object(
  {
    shard_key: Type.Optional(ShardKey),
    query: Type.String({ minLength: 1, description: 'One SQL statement, parameters as $1, $2, …' }),
    params: Type.Optional(Params),
    consistency: Type.Optional(ConsistencyField),
    options: Type.Optional(ExecuteOptions),
  },
  { additionalProperties: false },
)
export type ExecuteRequest = Static<typeof ExecuteRequest>

/** One column of a result. `type` is the name of the Postgres type, `oid:N` for one that is not built in. */
export const ResultColumn = Type.Object({ name: Type.String(), type: Type.String() })
export type ResultColumn = Static<typeof ResultColumn>

const Rows = Type.Union([
  Type.Array(Type.Record(Type.String(), Type.Unknown())),
  Type.Array(Type.Array(Type.Unknown())),
])

/** Result of one statement. `row_count` is the number of rows returned or, for a write, affected. */
export const StatementResult = Type.Object({
  rows: Rows,
  row_count: Type.Integer(),
  columns: Type.Array(ResultColumn),
})
export type StatementResult = Static<typeof StatementResult>

/** A span of the request's own trace, as an answer tells it. */
export const AnsweredSpan = Type.Object({
  span_id: Type.String(),
  parent_span_id: Type.Union([Type.String(), Type.Null()], {
    description: 'Another one of the answer, or the one that the request has named in traceparent',
  }),
  name: Type.String(),
  start_ms: Type.Number({ description: 'Since the request came' }),
  duration_ms: Type.Number(),
  attributes: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
  error: Type.Union([Type.String(), Type.Null()], { description: 'The code with which it failed' }),
})
export type AnsweredSpan = Static<typeof AnsweredSpan>

/** Answer of POST /v1/execute. */
export const ExecuteResponse = Type.Object({
  shard_id: Type.String(),
  rows: Rows,
  row_count: Type.Integer(),
  latency_ms: Type.Number({ description: 'From the request read to the answer ready, inside the router' }),
  columns: Type.Array(ResultColumn),
  node: Type.String({ description: 'Id of the server that answered' }),
  epoch: Type.Integer(),
  session_token: SessionTokenField,
  replayed: Replayed,
  spans: Type.Optional(
    Type.Array(AnsweredSpan, {
      description: 'What the router has done for the request; with the header X-FleetShard-Trace: spans',
    }),
  ),
})
export type ExecuteResponse = Static<typeof ExecuteResponse>

/** Body of POST /v1/transaction: statements on one shard, all or none. */
export const TransactionRequest = Type.Object(
  {
    shard_key: Type.Optional(ShardKey),
    statements: Type.Array(
      Type.Object(
        { query: Type.String({ minLength: 1 }), params: Type.Optional(Params) },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: 1_000 },
    ),
    isolation: Type.Optional(oneOf(['read committed', 'repeatable read', 'serializable'])),
    options: Type.Optional(ExecuteOptions),
  },
  { additionalProperties: false },
)
export type TransactionRequest = Static<typeof TransactionRequest>

/** Answer of POST /v1/transaction, one result a statement. */
export const TransactionResponse = Type.Object({
  shard_id: Type.String(),
  results: Type.Array(StatementResult),
  latency_ms: Type.Number(),
  node: Type.String(),
  epoch: Type.Integer(),
  session_token: SessionTokenField,
  replayed: Replayed,
})
export type TransactionResponse = Static<typeof TransactionResponse>

/** Body of POST /v1/transactions: begins a transaction that later requests use and end. */
export const BeginRequest = closed({
  shard_key: Type.Optional(ShardKey),
  isolation: Type.Optional(oneOf(['read committed', 'repeatable read', 'serializable'])),
  read_only: Type.Optional(Type.Boolean()),
  options: Type.Optional(
    closed({
      keyspace: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
      shard_id: Type.Optional(Type.String({ pattern: idPattern })),
      session_token: Type.Optional(Type.String()),
      idle_timeout_ms: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: 600_000,
          description: 'Rolled back when no request comes for so long; 30 seconds by default',
        }),
      ),
    }),
  ),
})
export type BeginRequest = Static<typeof BeginRequest>

/** Answer of POST /v1/transactions. */
export const BeginResponse = Type.Object({
  transaction_id: Type.String({ description: 'Valid on the router that gave it' }),
  shard_id: Type.String(),
  node: Type.String(),
  epoch: Type.Integer(),
})
export type BeginResponse = Static<typeof BeginResponse>

/** Body of POST /v1/transactions/{id}/execute. Keys in the statement must lie on the shard of the transaction. */
export const HeldExecuteRequest = closed({
  query: Type.String({ minLength: 1, description: 'One SQL statement, parameters as $1, $2, …' }),
  params: Type.Optional(Params),
  options: Type.Optional(ExecuteOptions),
})
export type HeldExecuteRequest = Static<typeof HeldExecuteRequest>

/** Body of POST /v1/transactions/{id}/commit and …/rollback: none, or an empty object. */
export const EndRequest = Type.Union([Type.Undefined(), closed({})])

/** Answer of POST /v1/transactions/{id}/commit and …/rollback. */
export const EndResponse = Type.Object({
  shard_id: Type.String(),
  node: Type.String(),
  epoch: Type.Integer(),
  session_token: Type.Optional(SessionTokenField),
})
export type EndResponse = Static<typeof EndResponse>

/** Query string of GET /v1/shard-for-key. */
export const ShardForKeyQuery = Type.Object(
  {
    key: Type.String(),
    keyspace: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
    table: Type.Optional(Type.String({ description: 'Read the key by the type of this table’s key column' })),
  },
  { additionalProperties: false },
)
export type ShardForKeyQuery = Static<typeof ShardForKeyQuery>

/** Answer of GET /v1/shard-for-key. 64-bit values are decimal strings. */
export const ShardForKeyResponse = Type.Object({
  shard_id: Type.String(),
  shard_name: Type.String(),
  hash: Type.String(),
  vnode: Type.Union([Type.String(), Type.Null()], { description: 'The token that owns the hash' }),
  epoch: Type.Integer(),
  primary_endpoint: Type.Union([Type.String(), Type.Null()]),
  replicas: Type.Array(Type.String()),
})
export type ShardForKeyResponse = Static<typeof ShardForKeyResponse>

/** Body of POST /v1/route: a statement to be planned and not run. */
export const RouteRequest = Type.Object(
  {
    shard_key: Type.Optional(ShardKey),
    query: Type.String({ minLength: 1, description: 'One SQL statement, parameters as $1, $2, …' }),
    params: Type.Optional(Params),
    options: Type.Optional(
      Type.Object(
        { keyspace: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })) },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)
export type RouteRequest = Static<typeof RouteRequest>

/** Answer of POST /v1/route. */
export const RouteResponse = Type.Object({
  plan: oneOf(
    ['single', 'any', 'home', 'several', 'unkeyed', 'session', 'refused'],
    'single: one shard; any: all shards give the same answer; home: the shard of a global table; several: its keys lie apart; unkeyed: only the caller can say where; session: it concerns a session, not rows',
  ),
  shard_id: Type.Union([Type.String(), Type.Null()], {
    description:
      'The shard that would run it; null where the parameters that decide are not given, or none may',
  }),
  shard_ids: Type.Array(Type.String(), {
    description: 'All shards that it concerns, as far as they are known',
  }),
  reason: Type.String(),
  hint: Type.Union([Type.String(), Type.Null()], { description: 'What would make it concern one shard' }),
  keys: Type.Array(
    Type.Object({
      table: Type.String(),
      column: Type.String(),
      values: Type.Array(Type.String(), { description: 'As the statement has them: $1, ’a’, 42' }),
      inserted: Type.Boolean({ description: 'True for a key of new rows' }),
    }),
  ),
  epoch: Type.Integer(),
})
export type RouteResponse = Static<typeof RouteResponse>

/** Answer of the router's GET /ready; HTTP 503 unless `ready` or `stale`. */
export const RouterReady = Type.Object({
  status: oneOf(
    ['ready', 'stale', 'starting', 'stopping'],
    'stale: the catalog does not answer; statements are served by the map as it was',
  ),
  id: Type.String(),
  epochs: Type.Record(Type.String(), Type.Integer()),
  map_age_ms: Type.Union([Type.Integer(), Type.Null()], {
    description: 'since the catalog confirmed the map; null before there is one',
  }),
})
export type RouterReady = Static<typeof RouterReady>
