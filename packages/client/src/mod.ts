// The client of FleetShard: `connect` to a keyspace, over HTTP or straight to its shards, with the same behaviour.
export { connect } from './connect.ts'
export { FleetShardError, isFleetShardError, type ErrorFacts, type FleetShardErrorCode } from './errors.ts'
export type { Outcome } from '@fleetshard/core'
export type { FleetShard, ShardPlace } from './fleet-shard.ts'
export type { AllShards } from './all-shards.ts'
export type { NamedShard, Queryable, ShardHandle } from './handles.ts'
export type {
  ConnectOptions,
  Credentials,
  NodeAddress,
  NodeLogin,
  PoolOptions,
  TlsOptions,
  TokenOption,
} from './options.ts'
export type { Parameter, ShardKey } from './parameters.ts'
export type { SqlQuery, SqlTag } from './sql-query.ts'
export type { CallOptions, Column, Consistency, Result, Row, TransactionOptions } from './statement.ts'
export type { InnerOptions, Transaction } from './transaction.ts'
