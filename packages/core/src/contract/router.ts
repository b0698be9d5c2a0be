// The router's HTTP contract: bodies of /v1/execute, /v1/transaction and /v1/shard-for-key.
import { Type, type Static } from 'typebox'
import { oneOf } from './schema.ts'

/** Strings, numbers, booleans and null go as they are; arrays and objects by the type of the parameter. */
const Params = Type.Array(Type.Unknown(), { maxItems: 65_535, description: 'Values of $1, $2, …' })

const ShardKey = Type.Union([Type.String(), Type.Number()], {
  description: 'The value that decides the shard; a number is its decimal text',
})

const ConsistencyField = oneOf(
  ['strong', 'eventual'],
  'strong reads the primary, eventual a replica; the default is that of the keyspace',
)

/** `options` of execute and transaction. Every field is optional. */
export const ExecuteOptions = Type.Object(
  {
    keyspace: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
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

/** Answer of POST /v1/execute. */
export const ExecuteResponse = Type.Object({
  shard_id: Type.String(),
  rows: Rows,
  row_count: Type.Integer(),
  latency_ms: Type.Number({ description: 'From the request read to the answer ready, inside the router' }),
  columns: Type.Array(ResultColumn),
  node: Type.String({ description: 'Id of the server that answered' }),
  epoch: Type.Integer(),
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
})
export type TransactionResponse = Static<typeof TransactionResponse>

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
