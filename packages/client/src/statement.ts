// What the two modes have in common: a statement as the public calls hand it over, and the port that runs it.
import type { ShardMap } from '@fleetshard/core'
import type { JsonParameter } from './parameters.ts'

/**
 * `strong`: the primary. `eventual`: a replica, the primary where there is none. `maxStalenessMs`: a replica that is
 * not further behind than that. `session`: a replica that has replayed what the token stands for; null stands for
 * nothing.
 */
export type Consistency =
  | 'strong'
  | 'eventual'
  | { readonly maxStalenessMs: number }
  | { readonly session: string | null }

/** How one call is run. */
export interface CallOptions {
  /** That of the connection by default, else that of the keyspace. */
  readonly consistency?: Consistency
  /** Gives the call up. The statement is cancelled in Postgres; the error says what is known of its outcome. */
  readonly signal?: AbortSignal
  /** 30,000 by default. */
  readonly timeoutMs?: number
  /** Makes a repetition of a write harmless: the same key answers with the outcome of the first run. */
  readonly idempotencyKey?: string
  /** True: Postgres holds the statement to reading, so that it may be sent again after a fault. */
  readonly readOnly?: boolean
}

/** Where a statement runs. */
export type Target =
  | { readonly kind: 'key'; readonly key: string | number }
  /** `part`: it is one part of a statement over all shards, and must be one whose rows may be put together. */
  | { readonly kind: 'shard'; readonly id: string; readonly part: boolean }
  /** Decided by what the statement says. */
  | { readonly kind: 'planned' }

/** A statement with all that was decided about its call. */
export interface Statement {
  readonly text: string
  readonly params: readonly JsonParameter[]
  readonly target: Target
  readonly options: CallOptions
}

/** A row: values by the names of the columns. */
export type Row = Record<string, unknown>

/** One column of a result. `type` is the name of the Postgres type, `oid:N` for one that is not built in. */
export interface Column {
  readonly name: string
  readonly type: string
}

/** The result of one statement on one shard. */
export interface Result<R = Row> {
  readonly rows: R[]
  /** Rows returned or, for a write, affected. */
  readonly rowCount: number
  /** True when an earlier call under the same idempotency key did it. */
  readonly replayed: boolean
  readonly columns: readonly Column[]
  readonly shardId: string
  /** Id of the server that answered. */
  readonly node: string
  /** Epoch of the shard map that it was placed by. */
  readonly epoch: number
}

/** How a transaction is run. */
export interface TransactionOptions {
  /** `read committed` by default. */
  readonly isolation?: 'read committed' | 'repeatable read' | 'serializable'
  readonly readOnly?: boolean
  /** Gives the transaction up: the statement under way is cancelled and all is rolled back. */
  readonly signal?: AbortSignal
  /** Of each statement, begin and commit; 30,000 by default. */
  readonly timeoutMs?: number
  /** A transaction that does nothing for so long is rolled back; 30,000 by default. */
  readonly idleTimeoutMs?: number
}

/** One piece of a stream: rows that came together; none in a piece that only tells the columns. */
export interface RowBatch<R> {
  readonly epoch: number
  readonly columns: readonly Column[]
  readonly rows: readonly R[]
}

/** A transaction that is open on one shard. */
export interface OpenTransaction {
  execute(statement: Pick<Statement, 'text' | 'params'>, options: CallOptions): Promise<Result>
  /** @throws FleetShardError; its outcome says whether it is committed */
  commit(): Promise<void>
  /** Never rejects: a transaction that cannot be rolled back ends by itself. */
  rollback(): Promise<void>
}

/** What a mode does. All errors are FleetError or FleetShardError. */
export interface Backend extends AsyncDisposable {
  execute(statement: Statement): Promise<Result>
  /** Runs when it is first asked for rows; a return in the middle cancels the statement. */
  stream(statement: Statement): AsyncGenerator<RowBatch<Row>, void, void>
  begin(target: Target, options: TransactionOptions): Promise<OpenTransaction>
  /** The shard map as it is now. */
  map(): ShardMap
  /** Milliseconds since it was last known to be that of the fleet. */
  mapAgeMs(): number
  /** Waits for a map newer than that one, some time. */
  newerMap(map: ShardMap): Promise<void>
}
