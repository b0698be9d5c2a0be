// What is asked of execution, and how it answers: statements and transactions of clients.
import type { SessionToken, ShardId, ShardMap, ShardRecord } from '@fleetshard/core'
import type { KnownStatement, Literals, RouteTarget } from '../plan/mod.ts'
import type { Cancellation } from './cancellation.ts'
import type { OnlyReading } from './only-reads.ts'
import type { RowsConsumer } from './statement-run.ts'
import type { TransactionOptions } from './transaction.ts'

/** Of the span that waits for the server, to go to it with the text; null or left out where nobody records it. */
export type Traceparent = string | null

/** The key under which a write is done once. */
export interface Idempotency {
  readonly key: string
  /** How long it is remembered. */
  readonly expiryMs: number
}

/** One statement of a client. */
export interface StatementCall extends OnlyReading {
  readonly known: KnownStatement
  readonly params: readonly unknown[]
  readonly consumer: RowsConsumer
  readonly shardKey?: string | number | undefined
  /** The shard itself, instead of a key. */
  readonly shardId?: ShardId | undefined
  /** Where the session sends the call. */
  readonly target?: RouteTarget | undefined
  /** Of a lexed statement: its own text and literals, since `known` has those of another. */
  readonly text?: string | undefined
  readonly literals?: Literals | undefined
  /** One part of a statement over all shards: their rows must be ones that may simply be put together. */
  readonly allShards: boolean
  readonly consistency: 'strong' | 'eventual'
  /** What the session has written; null when its client wants no token. */
  readonly token: SessionToken | null
  /**
   * False: a write that needs no record is not followed by the question where it lies, which costs about a third of its
   * rate. The token then sends reads of the shard to its primary.
   */
  readonly asksPosition?: boolean
  /** With `eventual`: what a replica shows is not older; null when it may be. */
  readonly maxStalenessMs: number | null
  readonly readOnly: boolean
  /** Null without a key. A statement that surely changes nothing needs none. */
  readonly idempotency: Idempotency | null
  /** The keyspace's map as it is now; asked again at every attempt. */
  readonly map: () => ShardMap
  readonly cancellation: Cancellation
  readonly traceparent?: Traceparent
}

/** How a statement was answered. */
export interface StatementAnswer {
  readonly shard: ShardRecord
  readonly node: string
  readonly epoch: number
  readonly rowCount: number
  /** True when it was done by an earlier request under the same key. */
  readonly replayed: boolean
  /** The call's token with what was written now; null when it had none. */
  readonly token: SessionToken | null
}

/** Statements of a client that happen together or not at all. */
export interface TransactionCall {
  readonly statements: readonly Pick<StatementCall, 'known' | 'params' | 'consumer'>[]
  readonly shardKey?: string | number | undefined
  readonly shardId?: ShardId | undefined
  readonly options: TransactionOptions
  /** What the session has written; null when its client wants no token. */
  readonly token: SessionToken | null
  readonly idempotency: Idempotency | null
  readonly map: () => ShardMap
  readonly cancellation: Cancellation
  readonly traceparent?: Traceparent
}

/** A transaction that its client will end by a later request. */
export interface BeginCall extends Pick<
  TransactionCall,
  'shardKey' | 'shardId' | 'options' | 'map' | 'cancellation'
> {
  /** Without a request for so long it is rolled back. */
  readonly idleMs: number
}

/** How a transaction was answered; one row count a statement. */
export interface TransactionAnswer extends Omit<StatementAnswer, 'rowCount'> {
  readonly rowCounts: readonly number[]
}
