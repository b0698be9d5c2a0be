// One short-lived connection to a shard's server for control work: bounded by a deadline and a signal, with the
// settings that such work needs. Statements of clients never come this way.
import { Socket } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { Client, type QueryResult, type QueryResultRow } from 'pg'
import { FleetError, type Clock } from '@fleetshard/core'
import { callTimeoutMsDefault, type CallBounds, type NodeTarget } from '../shard-engine.ts'
import { describeTarget, hasSqlstate, toNodeError } from './errors.ts'

/** What control connections are called in pg_stat_activity. */
export const controlApplicationName = 'fleetshard/control'

/** An open connection. Errors are the driver's own until they leave `withSession`. */
export interface Session extends AsyncDisposable {
  readonly target: NodeTarget
  /** Milliseconds until the deadline; the server gives up a statement about then, too. */
  remainingMs(): number
  /** @throws the driver's error; FleetError `deadline_exceeded`; the signal's reason */
  query<Row extends QueryResultRow>(sql: string, parameters?: readonly unknown[]): Promise<readonly Row[]>
  /**
   * Runs statements in one trip, joined by semicolons; the first that fails ends it, and without a transaction block
   * among them they are one. @returns the rows of the last one @throws as `query`
   */
  script<Row extends QueryResultRow>(statements: readonly string[]): Promise<readonly Row[]>
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
  const client = new Client(clientConfig(parts.target, guard.socket))
  client.on('error', () => undefined) // a lost connection is reported by the statement that meets it
  const session: Session = {
    target: parts.target,
    remainingMs: () => guard.remainingMs(),
    query: async <Row extends QueryResultRow>(sql: string, parameters?: readonly unknown[]) => {
      guard.throwIfOver()
      const result = await guard.bound(
        client.query<Row>(sql, parameters === undefined ? [] : [...parameters]),
      )
      return result.rows
    },
    script: async <Row extends QueryResultRow>(statements: readonly string[]) => {
      guard.throwIfOver()
      // The driver's types know one result only; for several statements it gives a list of them.
      const results: unknown = await guard.bound(client.query(statements.join(';\n')))
      const last: unknown = Array.isArray(results) ? results.at(-1) : results
      return (last as QueryResult<Row>).rows
    },
    [Symbol.asyncDispose]: () => guard.close(client),
  }
  try {
    guard.throwIfOver()
    await guard.bound(client.connect())
    await configure(session)
    return session
  } catch (error) {
    await guard.close(client)
    throw leaving(error, parts)
  }
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

function clientConfig(target: NodeTarget, socket: Socket): ConstructorParameters<typeof Client>[0] {
  return {
    host: target.host,
    port: target.port,
    database: target.database,
    user: target.user,
    // A function: an empty value would make the driver look for one in the environment and in files.
    password: () => target.password ?? '',
    ssl: tlsOptions(target),
    application_name: controlApplicationName,
    stream: () => socket,
    keepAlive: true,
  }
}

function tlsOptions({ tls, host, tlsContext }: NodeTarget): false | ConnectionOptions {
  if (tls === 'disable') return false
  return {
    // The driver names the host for certificates only where it is no address.
    host,
    rejectUnauthorized: tls === 'verify-full',
    ...(tlsContext === undefined ? {} : { secureContext: tlsContext() }),
  }
}

/** Deadline and signal of one session: both end it by closing the socket, at any point of its life. */
class Guard {
  readonly socket = new Socket()
  readonly #clock: Clock
  readonly #target: NodeTarget
  readonly #signal: AbortSignal | undefined
  readonly #deadline: number
  readonly #cancelTimer: () => void
  /** Set by the timer: the clock may still show a moment less when it fires. */
  #over = false
  readonly #onAbort = (): void => {
    this.socket.destroy()
  }

  constructor(parts: SessionParts) {
    const timeoutMs = parts.bounds.timeoutMs ?? callTimeoutMsDefault
    this.#clock = parts.clock
    this.#target = parts.target
    this.#signal = parts.bounds.signal
    this.#deadline = parts.clock.monotonic() + timeoutMs
    this.#cancelTimer = parts.clock.after(timeoutMs, () => {
      this.#over = true
      this.socket.destroy()
    })
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  remainingMs(): number {
    return this.#deadline - this.#clock.monotonic()
  }

  throwIfOver(): void {
    this.#signal?.throwIfAborted()
    if (this.#over || this.remainingMs() <= 0) {
      throw new FleetError('deadline_exceeded', `${describeTarget(this.#target)} did not answer in time`, {
        hint: 'try again; if it stays so, look at the load and the locks of the server',
      })
    }
  }

  /** The promise, but a failure after abort or deadline is reported as such. */
  async bound<T>(promise: Promise<T>): Promise<T> {
    try {
      return await promise
    } catch (error) {
      this.throwIfOver()
      throw error
    }
  }

  async close(client: Client): Promise<void> {
    // Goodbye needs no deadline of its own: the timer still stands, and a destroyed socket ends at once.
    await (this.socket.destroyed ? Promise.resolve() : client.end().catch(() => undefined))
    this.#cancelTimer()
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.socket.destroy()
  }
}
