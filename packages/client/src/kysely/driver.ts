// What Kysely calls a driver, over the handles of the client. A transaction of Kysely begins and ends by calls, one of
// the client is a function: the function waits here until Kysely says how it ends.
import { FleetError } from '@fleetshard/core'
import type { CompiledQuery, DatabaseConnection, Driver, QueryResult, TransactionSettings } from 'kysely'
import { toFleetShardError } from '../errors.ts'
import type { Queryable, ShardHandle } from '../handles.ts'
import type { Parameter } from '../parameters.ts'
import type { Result, TransactionOptions } from '../statement.ts'
import type { Transaction } from '../transaction.ts'

/** Where the statements go. Only the handles of one shard have transactions. */
export type KyselyTarget = Queryable & Partial<Pick<ShardHandle, 'transaction'>>

/** Rows of one piece of a stream, unless Kysely names another number. */
const chunkRowsDefault = 100

/** Hands out connections, each of which is in one transaction at most. */
export class ClientDriver implements Driver {
  readonly #target: KyselyTarget

  constructor(target: KyselyTarget) {
    this.#target = target
  }

  init(): Promise<void> {
    return Promise.resolve()
  }

  acquireConnection(): Promise<DatabaseConnection> {
    return Promise.resolve(new ClientConnection(this.#target))
  }

  async beginTransaction(connection: DatabaseConnection, settings: TransactionSettings): Promise<void> {
    await own(connection).begin(optionsOf(settings))
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await own(connection).commit()
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await own(connection).rollback()
  }

  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    await own(connection).rollback()
  }

  destroy(): Promise<void> {
    return Promise.resolve()
  }
}

/** A transaction of the client, held open. */
interface Held {
  readonly tx: Transaction
  /** Lets its function return, or fail. */
  readonly end: (how: 'commit' | 'rollback') => void
  /** Settles with the transaction. */
  readonly ended: Promise<void>
}

class ClientConnection implements DatabaseConnection {
  readonly #target: KyselyTarget
  #held: Held | null = null

  constructor(target: KyselyTarget) {
    this.#target = target
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const result = await (this.#held?.tx ?? this.#target).query<R>(query.sql, parametersOf(query))
    return { rows: result.rows, ...affectedBy(query, result) }
  }

  async *streamQuery<R>(query: CompiledQuery, chunkSize?: number): AsyncIterableIterator<QueryResult<R>> {
    if (this.#held !== null) {
      yield await this.executeQuery<R>(query)
      return
    }
    const rowsMax = chunkSize ?? chunkRowsDefault
    let rows: R[] = []
    for await (const row of this.#target.stream<R>(query.sql, parametersOf(query))) {
      rows.push(row)
      if (rows.length < rowsMax) continue
      yield { rows }
      rows = []
    }
    if (rows.length > 0) yield { rows }
  }

  async begin(options: TransactionOptions): Promise<void> {
    const { transaction } = this.#target
    if (transaction === undefined) throw toFleetShardError(unplaced())
    this.#held = await new Promise<Held>((resolve, reject) => {
      const ended = transaction(
        (tx) =>
          new Promise<void>((commit, rollback) => {
            resolve({
              tx,
              end: (how) => {
                if (how === 'commit') commit()
                else rollback(new RolledBack())
              },
              // By the time that anybody may end it, the call has returned.
              get ended() {
                return ended
              },
            })
          }),
        options,
      )
      // Before the function runs this says why there is no transaction; later whoever ends it looks.
      ended.catch(reject)
    })
  }

  async commit(): Promise<void> {
    await this.#end('commit')
  }

  /** Nothing to do where no transaction is open: after a commit that failed Kysely asks for this as well. */
  async rollback(): Promise<void> {
    try {
      await this.#end('rollback')
    } catch (error) {
      if (!(error instanceof RolledBack)) throw error
    }
  }

  async #end(how: 'commit' | 'rollback'): Promise<void> {
    const held = this.#held
    if (held === null) return
    this.#held = null
    held.end(how)
    await held.ended
  }
}

/** What the function of a transaction fails with when Kysely rolls it back; the client throws it again. */
class RolledBack extends Error {
  override readonly name = 'RolledBack'
}

function own(connection: DatabaseConnection): ClientConnection {
  if (connection instanceof ClientConnection) return connection
  throw toFleetShardError(new FleetError('invalid_request', 'the connection is not one of this driver'))
}

/** Checked one by one when they are sent. */
const parametersOf = ({ parameters }: CompiledQuery): readonly Parameter[] =>
  parameters as readonly Parameter[]

const writes: ReadonlySet<string> = new Set([
  'InsertQueryNode',
  'UpdateQueryNode',
  'DeleteQueryNode',
  'MergeQueryNode',
])

/** Kysely wants the count of writes alone; of raw SQL, what returns no columns counts as one. */
function affectedBy(
  { query }: CompiledQuery,
  { rowCount, columns }: Result<unknown>,
): Pick<QueryResult<unknown>, 'numAffectedRows'> {
  const isWrite = writes.has(query.kind) || (query.kind === 'RawNode' && columns.length === 0)
  return isWrite ? { numAffectedRows: BigInt(rowCount) } : {}
}

function optionsOf({ accessMode, isolationLevel }: TransactionSettings): TransactionOptions {
  return {
    ...(accessMode === 'read only' ? { readOnly: true } : {}),
    ...(isolationLevel === undefined ? {} : { isolation: isolationOf(isolationLevel) }),
  }
}

type KyselyIsolation = NonNullable<TransactionSettings['isolationLevel']>
type Isolation = NonNullable<TransactionOptions['isolation']>

function isolationOf(level: KyselyIsolation): Isolation {
  switch (level) {
    case 'repeatable read':
    case 'serializable':
      return level
    case 'read committed':
    // Postgres has no dirty reads and takes this for `read committed`.
    case 'read uncommitted':
      return 'read committed'
    case 'snapshot':
      throw toFleetShardError(
        new FleetError('invalid_request', 'Postgres has no isolation level snapshot', {
          hint: "use 'repeatable read', which is what it is there",
        }),
      )
  }
}

const unplaced = (): FleetError =>
  new FleetError('invalid_request', 'a transaction runs on one shard, and none was named', {
    hint: 'kyselyFor(db.shard(key)) has transactions',
  })
