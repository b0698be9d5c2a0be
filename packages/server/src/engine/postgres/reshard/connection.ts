// Long-lived connections of a reshard job: pipelined, without a deadline of their own, closed by the job's signal.
import { FleetError, toFleetError, type Clock } from '@fleetshard/core'
import { connectServer, copyIn, exec, query, type ServerConnection } from '@fleetshard/routing/wire'
import type { NodeTarget } from '../../shard-engine.ts'
import { describeTarget } from '../errors.ts'
import { controlLogin } from '../session.ts'

const connectTimeoutMs = 10_000
/** A row may be as large as Postgres lets it be. */
const messageBytesMax = 0x3fffffff
/** SQLSTATE of a file that cannot grow. */
const diskFull = '53100'

/** A connection for statements of the job. */
export class JobConnection implements AsyncDisposable {
  readonly wire: ServerConnection
  readonly #target: NodeTarget
  readonly #unfollow: () => void

  private constructor(wire: ServerConnection, target: NodeTarget, signal: AbortSignal) {
    this.wire = wire
    this.#target = target
    const onAbort = (): void => {
      wire.destroy(new FleetError('canceled', 'the job was let go', { cause: signal.reason }))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    this.#unfollow = () => {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** @throws FleetError `shard_unavailable`, the signal's reason */
  static async open(target: NodeTarget, clock: Clock, signal: AbortSignal): Promise<JobConnection> {
    const wire = await connectServer(
      {
        ...controlLogin(target),
        startupSettings: {
          search_path: 'pg_catalog',
          DateStyle: 'ISO, MDY',
          IntervalStyle: 'postgres',
          extra_float_digits: '3',
          bytea_output: 'hex',
          TimeZone: 'UTC',
          statement_timeout: '0',
          default_transaction_isolation: 'read committed',
          // What a target has acknowledged need not come again: it must be durable there, whatever its default.
          synchronous_commit: 'on',
        },
        connectTimeoutMs,
        messageBytesMax,
      },
      clock,
      signal,
    )
    return new JobConnection(wire, target, signal)
  }

  /** One statement; values as text. @throws FleetError `sql_error`, `shard_unavailable` */
  async rows(
    text: string,
    params: readonly (string | null)[] = [],
    rowsMax?: number,
  ): Promise<readonly (readonly (string | null)[])[]> {
    const limits = rowsMax === undefined ? {} : { rowsMax, bytesMax: Infinity }
    try {
      return (await query(this.wire, text, params, limits)).rows
    } catch (error) {
      throw this.told(toFleetError(error))
    }
  }

  /** A COPY FROM STDIN with its data. @throws as `rows` */
  async copyIn({ text, data }: { readonly text: string; readonly data: Uint8Array }): Promise<void> {
    try {
      await copyIn(this.wire, text, data)
    } catch (error) {
      throw this.told(toFleetError(error))
    }
  }

  /** An error of the server's; a full disk is told with the server that has it, since a job writes to several. */
  told(error: FleetError): FleetError {
    if (error.sqlstate !== diskFull) return error
    const hint = 'free disk space on the server, or cancel the job'
    const message = `${describeTarget(this.#target)}: ${error.message}`
    return new FleetError('shard_unavailable', message, { hint, sqlstate: diskFull, cause: error })
  }

  /** One value, or null. */
  async value(text: string, params: readonly (string | null)[] = []): Promise<string | null> {
    return (await this.rows(text, params))[0]?.[0] ?? null
  }

  /** Commands by the simple protocol. */
  run(text: string): Promise<void> {
    return exec(this.wire, text)
  }

  /** @throws FleetError when the transaction had failed, which COMMIT alone would answer without an error */
  async commit(): Promise<void> {
    const { tag } = await query(this.wire, 'commit')
    if (tag !== 'COMMIT') throw new FleetError('shard_unavailable', 'a transaction was rolled back')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unfollow()
    this.wire.destroy(new FleetError('canceled', 'the connection is not needed any more'))
    await this.wire.closed
  }
}
