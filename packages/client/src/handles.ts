// The public handles: where statements are sent, and how. All of them turn calls into statements for the backend.
import { toFleetShardError } from './errors.ts'
import { toJsonParameters, type Parameter } from './parameters.ts'
import { runTransaction, type Transaction } from './transaction.ts'
import { SqlQuery, templateText, type SqlTag } from './sql-query.ts'
import type {
  Backend,
  CallOptions,
  Result,
  Row,
  RowBatch,
  Statement,
  Target,
  TransactionOptions,
} from './statement.ts'

/** What all handles can do. */
export interface Queryable {
  /**
   * A statement as a template; its values become parameters, never text. Awaited it gives the rows, iterated it
   * streams them, `.result()` has the row count as well.
   */
  readonly sql: SqlTag
  /** Runs a statement with `$1`, `$2`, … and gives its whole result. @throws FleetShardError */
  readonly query: <R = Row>(
    text: string,
    params?: readonly Parameter[],
    options?: CallOptions,
  ) => Promise<Result<R>>
  /**
   * Streams the rows of a statement, which runs when the first one is asked for. Leaving the loop early cancels it and
   * frees its connection; a slow reader holds the server back. @throws FleetShardError
   */
  readonly stream: <R = Row>(
    text: string,
    params?: readonly Parameter[],
    options?: CallOptions,
  ) => AsyncGenerator<R, void, void>
}

/** The shard of a key. */
export interface ShardHandle extends Queryable {
  /** The same handle with other options for its calls. */
  readonly with: (options: CallOptions) => ShardHandle
  /**
   * Runs `work` in one transaction on this shard: commits when it resolves, rolls back when it rejects, and throws
   * again what it threw.
   * @throws FleetShardError; that of a commit has the outcome `unknown` when its answer was lost
   */
  readonly transaction: <T>(work: (tx: Transaction) => Promise<T>, options?: TransactionOptions) => Promise<T>
}

/** One shard by its id, for those who go through all of them. */
export interface NamedShard extends ShardHandle {
  readonly id: string
  readonly name: string
}

/** Runs statements of a handle; what differs between one shard and all of them. */
export interface StatementRunner {
  readonly execute: (statement: Statement) => Promise<Result>
  readonly stream: (statement: Statement) => AsyncGenerator<RowBatch<Row>, void, void>
}

/** What a handle is made of. */
export interface HandleParts {
  readonly runner: StatementRunner
  readonly target: Target
  /** Of every call, unless it says otherwise. */
  readonly options: CallOptions
}

/** A handle's statements. */
export function queryable({ runner, target, options: common }: HandleParts): Queryable {
  const statementOf = (
    text: string,
    params: readonly unknown[],
    own: CallOptions | undefined,
  ): Statement => ({
    text,
    params: toJsonParameters(params),
    target,
    options: own === undefined ? common : { ...common, ...own },
  })
  async function query<R>(
    text: string,
    params: readonly unknown[] = [],
    own?: CallOptions,
  ): Promise<Result<R>> {
    try {
      return (await runner.execute(statementOf(text, params, own))) as Result<R>
    } catch (error) {
      throw toFleetShardError(error)
    }
  }
  async function* stream<R>(
    text: string,
    params: readonly unknown[] = [],
    own?: CallOptions,
  ): AsyncGenerator<R, void, void> {
    try {
      for await (const { rows } of runner.stream(statementOf(text, params, own))) yield* rows as R[]
    } catch (error) {
      throw toFleetShardError(error)
    }
  }
  return {
    query,
    stream,
    sql: (strings, ...values) => new SqlQuery({ query, stream }, templateText(strings), values),
  }
}

/** The handle of one shard. */
export function shardHandle(backend: Backend, target: Target, options: CallOptions): ShardHandle {
  const runner: StatementRunner = {
    execute: (statement) => backend.execute(statement),
    stream: (statement) => backend.stream(statement),
  }
  return {
    ...queryable({ runner, target, options }),
    with: (more) => shardHandle(backend, target, { ...options, ...more }),
    transaction: (work, own) => runTransaction(backend, target, work, own ?? {}),
  }
}
