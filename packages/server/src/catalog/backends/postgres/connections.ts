// Connections of the Postgres backend: a small pool, a deadline on every use, errors in our terms.
import { FleetError, isFleetError, type Clock } from '@fleetshard/core'
import {
  DatabaseError,
  Pool,
  type PoolClient,
  type PoolConfig,
  type QueryResult,
  type QueryResultRow,
} from 'pg'
import { unavailable, withDeadline } from '../../deadline.ts'
import { installSchema } from './schema.ts'

/** Connections of one process to the catalog, besides the one that listens. */
const poolConnectionsMax = 4
const idleTimeoutMs = 30_000

/** The pool, with the schema installed. */
export interface Connections extends AsyncDisposable {
  /**
   * Runs one statement. `once`: it may have happened when its answer is lost; others are tried again once when
   * a connection turns out to be dead, as all are after a restart of the server.
   * @throws FleetError `catalog_unavailable`, `invalid_config`, and the signal's reason
   */
  query<Row extends QueryResultRow>(statement: Statement, signal?: AbortSignal): Promise<QueryResult<Row>>
}

export interface Statement {
  /** Prepared under this name, once a connection. */
  readonly name: string
  readonly text: string
  readonly values: readonly unknown[]
  readonly once?: boolean
}

export interface ConnectionDeps {
  readonly clock: Clock
  readonly config: PoolConfig
  readonly deadlineMs: number
}

/** Session settings that the functions rely on; sent at connect, so that no default of the server is in the way. */
export function sessionOptions(deadlineMs: number): string {
  const settings = {
    default_transaction_isolation: 'read\\ committed',
    default_transaction_read_only: 'off',
    statement_timeout: String(deadlineMs),
    // Else a client that dies in a transaction would keep its locks until TCP notices.
    idle_in_transaction_session_timeout: String(deadlineMs),
    search_path: 'pg_catalog',
  }
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ')
}

/** No I/O before the first query. */
export function openConnections(deps: ConnectionDeps): Connections {
  const pool = new Pool({
    ...deps.config,
    max: poolConnectionsMax,
    idleTimeoutMillis: idleTimeoutMs,
    connectionTimeoutMillis: deps.deadlineMs,
    options: sessionOptions(deps.deadlineMs),
    allowExitOnIdle: true,
  })
  // A connection that breaks while nobody uses it is replaced when the next one is wanted.
  pool.on('error', () => undefined)
  pool.on('connect', (client) => {
    client.on('error', () => undefined)
  })
  let closed = false
  let installed: Promise<void> | null = null

  async function install(): Promise<void> {
    // With a deadline of its own: it is shared, and must not hang on when those that wait for it gave up.
    installed ??= withDeadline(deps.clock, deps.deadlineMs, undefined, (signal) =>
      usePool(pool, (client) => installSchema(client), signal),
    )
    try {
      await installed
    } catch (error) {
      installed = null
      throw error
    }
  }

  async function run<Row extends QueryResultRow>(
    statement: Statement,
    signal: AbortSignal,
  ): Promise<QueryResult<Row>> {
    await install()
    signal.throwIfAborted()
    const query = { name: statement.name, text: statement.text, values: [...statement.values] }
    const attempt = () => usePool(pool, (client) => client.query<Row>(query), signal)
    try {
      return await attempt()
    } catch (error) {
      if (statement.once === true || signal.aborted || error instanceof DatabaseError) throw error
      return attempt()
    }
  }

  return {
    async query<Row extends QueryResultRow>(statement: Statement, signal?: AbortSignal) {
      if (closed) throw unavailable('the store was closed')
      try {
        return await withDeadline(deps.clock, deps.deadlineMs, signal, (ended) => run<Row>(statement, ended))
      } catch (error) {
        if (signal?.aborted === true) throw error
        throw translateError(error)
      }
    },
    async [Symbol.asyncDispose]() {
      if (closed) return
      closed = true
      await endWithin(deps.clock, pool.end())
    },
  }
}

/** Longest goodbye: a server that hangs does not answer it. */
const goodbyeMaxMs = 1_000

/** Waits for the end of connections, not for ever. Never rejects. */
export async function endWithin(clock: Clock, ending: Promise<void>): Promise<void> {
  await withDeadline(clock, goodbyeMaxMs, undefined, () => ending).catch(() => undefined)
}

/** A connection for one use; one that failed, or whose use was given up, is not used again. */
async function usePool<T>(
  pool: Pool,
  use: (client: PoolClient) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const client = await pool.connect()
  const isAborted = (): boolean => signal?.aborted === true
  if (isAborted()) {
    client.release()
    throw signal?.reason as Error
  }
  let released = false
  const release = (broken: boolean): void => {
    if (!released) client.release(broken)
    released = true
  }
  const onAbort = (): void => {
    release(true)
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const result = await use(client)
    release(isAborted())
    return result
  } catch (error) {
    // An error of the server leaves the connection whole, but for those that end it, which emit 'end' besides.
    release(!(error instanceof DatabaseError) || error.severity === 'FATAL')
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

const insufficientPrivilege = '42501'

/** A failed query as a FleetError. The message of Postgres has no password in it. */
export function translateError(error: unknown): FleetError {
  if (isFleetError(error)) return error
  if (!(error instanceof DatabaseError)) {
    const why = error instanceof Error ? error.message : 'the connection failed'
    return unavailable(`the catalog cannot be reached: ${why}`, error)
  }
  if (error.code !== insufficientPrivilege) {
    return unavailable(`the catalog does not serve: ${error.message}`, error)
  }
  return new FleetError('invalid_config', `the catalog refuses its user: ${error.message}`, {
    hint: 'the user of the catalog needs a database of its own, or the right to create a schema',
    cause: error,
  })
}
