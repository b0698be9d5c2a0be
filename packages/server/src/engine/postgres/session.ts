// One connection to a shard's server for control work: bounded by a deadline and a signal, with the settings that such
// work needs. Statements of clients never come this way.
import { types, type QueryResultRow } from 'pg'
import { FleetError, isFleetError, type Clock } from '@fleetshard/core'
import {
  connectServer,
  createPreparedStatements,
  query,
  queryPrepared,
  script,
  type PreparedStatements,
  type QueryResult,
  type ServerConnection,
  type ServerConnectOptions,
} from '@fleetshard/routing/wire'
import { callTimeoutMsDefault, type CallBounds, type NodeTarget } from '../shard-engine.ts'
import { describeTarget, hasSqlstate, toNodeError } from './errors.ts'
import { arrayLiteral } from './reshard/sql.ts'

/** What control connections are called in pg_stat_activity. */
export const controlApplicationName = 'fleetshard/control'

/** Where and as whom control work connects, by whatever kind of connection. */
export function controlLogin({
  host,
  port,
  database,
  user,
  password,
  tls,
  tlsContext,
}: NodeTarget): Omit<ServerConnectOptions, 'connectTimeoutMs'> {
  const encryption = tlsContext === undefined ? { tls } : { tls, tlsContext }
  return { host, port, database, user, password, ...encryption, applicationName: controlApplicationName }
}

/** By which the connection's own time limit is behind the session's. */
const connectGraceMs = 1_000

/** Answers are bounded by what is asked: the tables of a database, not their rows. */
const limits = { rowsMax: Infinity, bytesMax: 256 * 1024 * 1024 }

type Scalar = string | number | bigint | boolean | null
/** The value of a parameter. All go as text. */
export type Parameter = Scalar | readonly Scalar[]

/** An open connection. Errors are the server's own, or those of the connection, until they leave `withSession`. */
export interface Session extends AsyncDisposable {
  readonly target: NodeTarget
  /** Milliseconds until the deadline; the server gives up a statement about then, too. */
  remainingMs(): number
  /** @throws PgServerError; FleetError `deadline_exceeded`, `shard_unavailable`; the signal's reason */
  query<Row extends QueryResultRow>(sql: string, parameters?: readonly Parameter[]): Promise<readonly Row[]>
  /**
   * Runs statements in one trip, joined by semicolons; the first that fails ends it, and without a transaction block
   * among them they are one. @returns the rows of the last one @throws as `query`
   */
  script<Row extends QueryResultRow>(statements: readonly string[]): Promise<readonly Row[]>
  /** As `query`, of a statement that is asked often: the server parses it once. */
  queryPrepared<Row extends QueryResultRow>(sql: string): Promise<readonly Row[]>
}

/** What opening a session needs. */
export interface SessionParts {
  readonly clock: Clock
  readonly target: NodeTarget
  readonly bounds: CallBounds
}

/**
 * Connects with `search_path` empty but for pg_catalog, so that no object of the user's can stand in for a
 * built-in one, and with time limits on the server's side: a statement must not outlive a caller that is gone.
 * @throws FleetError as every method of the engine
 */
export async function openSession(parts: SessionParts): Promise<Session> {
  const guard = new Guard(parts)
  const session: Session = {
    target: parts.target,
    remainingMs: () => guard.remainingMs(),
    query: async <Row extends QueryResultRow>(sql: string, parameters: readonly Parameter[] = []) =>
      // Without parameters several statements may be one text.
      rowsOf<Row>(
        await guard.bound((connection) =>
          parameters.length === 0
            ? script(connection, sql, limits)
            : query(connection, sql, parameters.map(textOf), limits),
        ),
      ),
    script: async <Row extends QueryResultRow>(statements: readonly string[]) =>
      rowsOf<Row>(await guard.bound((connection) => script(connection, statements.join(';\n'), limits))),
    queryPrepared: async <Row extends QueryResultRow>(sql: string) =>
      rowsOf<Row>(await guard.boundPrepared((statements) => queryPrepared(statements, sql, limits))),
    [Symbol.asyncDispose]: () => guard.close(),
  }
  try {
    await guard.open()
    await configure(session)
    return session
  } catch (error) {
    await guard.close()
    throw leaving(error, parts)
  }
}

function textOf(value: Parameter): string | null {
  if (value !== null && typeof value === 'object') return arrayLiteral(value.map((item) => textOf(item)))
  return value === null ? null : String(value)
}

interface Column {
  readonly name: string
  readonly parse: (text: string) => unknown
}

/** Of the answers of prepared statements, which are told the same array each time. */
const knownColumns = new WeakMap<QueryResult['fields'], readonly Column[]>()

function columnsOf(fields: QueryResult['fields']): readonly Column[] {
  let columns = knownColumns.get(fields)
  if (columns === undefined) {
    columns = fields.map(({ name, typeOid }) => {
      const parse = types.getTypeParser(typeOid, 'text') as (text: string) => unknown
      return { name, parse }
    })
    knownColumns.set(fields, columns)
  }
  return columns
}

function rowsOf<Row extends QueryResultRow>({ fields, rows }: QueryResult): readonly Row[] {
  const columns = columnsOf(fields)
  return rows.map((values) => {
    const row: QueryResultRow = {}
    columns.forEach(({ name, parse }, index) => {
      const text = values[index] ?? null
      row[name] = text === null ? null : parse(text)
    })
    return row as Row
  })
}

/** So that the server ends a statement soon after its caller is gone; not every platform can. */
const watchClientSql = "set client_connection_check_interval = '1s'"

async function configure(session: Session): Promise<void> {
  const timeoutMs = String(Math.max(1, Math.ceil(session.remainingMs())))
  const settings = [
    'set search_path = pg_catalog',
    `set statement_timeout = ${timeoutMs}`,
    `set idle_in_transaction_session_timeout = ${timeoutMs}`,
  ]
  try {
    await session.script([...settings, watchClientSql])
  } catch (error) {
    if (!hasSqlstate(error, '22023')) throw error
    await session.script(settings)
  }
}

/** Runs `work` on a session and closes it. Errors that leave are FleetErrors. */
export async function withSession<T>(
  parts: SessionParts,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  await using session = await openSession(parts)
  return await inSession(session, parts.bounds, () => work(session))
}

/** Runs `work` on a session that stays open. Errors that leave are as those of `withSession`. */
export async function inSession<T>(
  { target }: Pick<Session, 'target'>,
  bounds: CallBounds,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw leaving(error, { target, bounds })
  }
}

/** What leaves a call: the reason of the signal as it is, all else as errors of the catalogue. */
function leaving(error: unknown, { bounds, target }: Pick<SessionParts, 'bounds' | 'target'>): unknown {
  return bounds.signal?.aborted === true ? bounds.signal.reason : toNodeError(error, target)
}

/**
 * Runs `work` in a transaction of the session; rolls back when it throws.
 * @param begin what begins it, in one trip; `work` gets the rows of the last one
 */
export async function inTransaction<T, Row extends QueryResultRow = QueryResultRow>(
  session: Session,
  work: (rows: readonly Row[]) => Promise<T>,
  begin: readonly string[] = ['begin isolation level read committed read write'],
): Promise<T> {
  try {
    const value = await work(await session.script<Row>(begin))
    await session.query('commit')
    return value
  } catch (error) {
    // The first error tells; where the connection is lost the server rolls back by itself.
    await session.query('rollback').catch(() => undefined)
    throw error
  }
}

/** The connection of one session; its deadline and its signal end it at any point of its life. */
class Guard {
  readonly #clock: Clock
  readonly #target: NodeTarget
  readonly #signal: AbortSignal | undefined
  readonly #deadline: number
  readonly #cancelTimer: () => void
  readonly #end = new AbortController()
  #connection: ServerConnection | null = null
  #prepared: PreparedStatements | null = null
  /** Set by the timer: the clock may still show a moment less when it fires. */
  #over = false
  readonly #onAbort = (): void => {
    this.#abort()
  }

  constructor(parts: SessionParts) {
    const timeoutMs = parts.bounds.timeoutMs ?? callTimeoutMsDefault
    this.#clock = parts.clock
    this.#target = parts.target
    this.#signal = parts.bounds.signal
    this.#deadline = parts.clock.monotonic() + timeoutMs
    this.#cancelTimer = parts.clock.after(timeoutMs, () => {
      this.#over = true
      this.#abort()
    })
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  remainingMs(): number {
    return this.#deadline - this.#clock.monotonic()
  }

  async open(): Promise<void> {
    this.#throwIfOver()
    const options = {
      ...controlLogin(this.#target),
      // Our own timer comes first: it knows what to say.
      connectTimeoutMs: this.remainingMs() + connectGraceMs,
    }
    try {
      this.#connection = await connectServer(options, this.#clock, this.#end.signal)
    } catch (error) {
      this.#throwIfOver()
      throw ownWords(error)
    }
  }

  /** As `bound`, with what the connection keeps prepared. */
  boundPrepared<T>(work: (statements: PreparedStatements) => Promise<T>): Promise<T> {
    return this.bound((connection) => work((this.#prepared ??= createPreparedStatements(connection))))
  }

  /** What comes of it; a failure after abort or deadline is reported as such. */
  async bound<T>(work: (connection: ServerConnection) => Promise<T>): Promise<T> {
    this.#throwIfOver()
    const connection = this.#connection
    if (connection === null) throw new FleetError('internal', 'a session was used before it was open')
    try {
      return await work(connection)
    } catch (error) {
      this.#throwIfOver()
      throw ownWords(error)
    }
  }

  async close(): Promise<void> {
    // Goodbye needs no deadline of its own: the timer still stands.
    await this.#connection?.close()
    this.#cancelTimer()
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#abort()
  }

  #throwIfOver(): void {
    this.#signal?.throwIfAborted()
    if (this.#over || this.remainingMs() <= 0) {
      throw new FleetError('deadline_exceeded', `${describeTarget(this.#target)} did not answer in time`, {
        hint: 'try again; if it stays so, look at the load and the locks of the server',
      })
    }
  }

  #abort(): void {
    this.#end.abort()
    this.#connection?.destroy(new FleetError('canceled', 'the session has ended'))
  }
}

/** What the server itself said, or what the network did, where an error only passes it on. */
function ownWords(error: unknown): unknown {
  const passesOn = isFleetError(error) && error.cause instanceof Error && !isFleetError(error.cause)
  return passesOn ? error.cause : error
}
