// The router's own connection to a Postgres server, as pools, lanes and executors see it. Types only;
// server-connection.ts makes such connections, prepared-statements.ts and query.ts lie on top.
import type { SecureContext } from 'node:tls'
import type { FleetError } from '@fleetshard/core'
import type { FieldDescription, ScramKeys, WireWriter } from '../pgwire/mod.ts'

/** From ReadyForQuery: outside a transaction, inside one, inside one that has failed. */
export type TransactionStatus = 'idle' | 'transaction' | 'failed'

/**
 * Takes the answer of one Sync group (or one simple Query). Spans `buf[start, end)` begin with the message's type
 * byte, its body is at `start + messageHeaderBytes`. **`buf` is reused: it is valid during the call only**; copy what
 * must live longer. Methods must not throw: a throw is a defect and costs the whole connection.
 */
export interface GroupSink {
  /** Every whole message of the group in order, ReadyForQuery and notices included. */
  message(type: number, buf: Buffer, start: number, end: number): void
  /**
   * With this method, a DataRow or CopyData over `pieceThresholdBytes` that is not yet all there is handed over as it
   * comes:
   * the first piece begins with the type byte, `bytesLeft` is 0 for the last. Without it such messages are collected
   * (up to `messageBytesMax`, beyond which the connection is destroyed).
   */
  piece?(buf: Buffer, start: number, end: number, bytesLeft: number): void
  /** Last call, after ReadyForQuery; the server was not lost. An ErrorResponse came through `message`. */
  done(status: TransactionStatus): void
  /**
   * Last call, instead of `done`: the connection is gone. `sent` is false only when the server surely has not begun
   * the group, so that it may be sent elsewhere whatever it does.
   */
  failed(error: FleetError, sent: boolean): void
}

/** Asynchronous NOTIFY from the server. */
export interface ServerNotification {
  readonly processId: number
  readonly channel: string
  readonly payload: string
}

/** Where and as whom to connect, and the bounds of the connection. */
export interface ServerConnectOptions {
  /** Name or address, or the absolute folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  /** Keys in place of a password serve SCRAM only, with the very verifier that they belong to. */
  readonly password: string | ScramKeys | null
  /** Ignored on Unix sockets. `require` encrypts without looking at the certificate. */
  readonly tls: 'disable' | 'require' | 'verify-full'
  /** PEM of the authorities for `verify-full`; the system's when left out. */
  readonly ca?: string
  /** Asked at each connection for what we show and trust, in place of `ca`. */
  readonly tlsContext?: () => SecureContext
  readonly applicationName: string
  /** Settings of the session, sent in the startup message (`default_transaction_read_only: 'on'`). */
  readonly startupSettings?: Readonly<Record<string, string>>
  /** For the whole way to the first ReadyForQuery. */
  readonly connectTimeoutMs: number
  /** Groups in flight that `submit` takes; 4,096 by default. */
  readonly inFlightMax?: number
  /** Bytes not yet taken by the kernel that `submit` and `append` take; 64 MiB by default. */
  readonly outgoingBytesMax?: number
  /** Largest message collected for a sink without `piece`; 64 MiB by default. */
  readonly messageBytesMax?: number
  readonly onNotification?: (notification: ServerNotification) => void
}

/** A pipelined connection to one server. Answers come in the order of the submits. */
export interface ServerConnection {
  readonly processId: number
  /** Needed to cancel; 4 bytes in protocol 3.0, up to 256 later. */
  readonly secretKey: Uint8Array
  /** ParameterStatus values as they stand now: `server_version`, `in_hot_standby`, … */
  readonly parameters: ReadonlyMap<string, string>
  /** Of the last ReadyForQuery. */
  readonly transactionStatus: TransactionStatus
  /** `closing`: takes no more groups and ends when those in flight are done. */
  readonly state: 'open' | 'closing' | 'closed'
  /** Groups submitted and not yet answered. */
  readonly inFlight: number
  /** `clock.monotonic()` when the server could begin with the group at the head; null when it was sent none. */
  readonly headSinceMs: number | null
  /** `clock.monotonic()` when bytes came last: in a sink that of the bytes at hand. */
  readonly receivedMs: number
  /** How long the server has had the group at the head that was answered last, milliseconds. */
  readonly headTookMs: number
  readonly paused: boolean
  /** Bytes of an incomplete incoming message held in memory. */
  readonly incomingBytes: number
  /** Bytes submitted and not yet taken by the kernel. */
  readonly outgoingBytes: number
  /** Resolves, never rejects, when the connection is gone; null after `close`. */
  readonly closed: Promise<FleetError | null>

  /**
   * Sends one group: any messages that make the server answer with exactly one ReadyForQuery. `bytes` are copied and
   * free for reuse at once. Written to the socket at the end of this turn of the event loop, together with what else
   * was submitted. On a connection that is gone the sink fails at once, with `sent` false.
   * @throws FleetError `overloaded` (a bound is reached; nothing was taken)
   */
  submit(bytes: Uint8Array, sink: GroupSink): void
  /**
   * As `submit`, but `encode` writes straight into the outgoing buffer.
   * @throws what `encode` throws; nothing was taken then
   */
  submitWith(encode: (out: WireWriter) => void, sink: GroupSink): void
  /** As `submitWith`, but written at once, with what was submitted before: for a connection that one client uses. */
  submitNow(encode: (out: WireWriter) => void, sink: GroupSink): void
  /**
   * Sends more bytes of the group submitted last (CopyData, the rest of a group that was begun with Flush).
   * @returns false when the kernel lags: wait for `drained` before sending more
   * @throws FleetError `internal` when that group is already answered, `overloaded`
   */
  append(bytes: Uint8Array): boolean
  /** Resolves when all outgoing bytes have been taken by the kernel, or the connection is gone. */
  drained(): Promise<void>
  /**
   * Stops reading from the server (after what one read has brought); the server then stops sending. The loss of a
   * connection that is paused is noticed at `resume`.
   */
  pause(): void
  resume(): void
  /**
   * Asks the server to cancel whatever this connection runs, over a new connection with the same TLS mode. Resolves
   * when the server has taken the request (not: has acted on it).
   * @throws FleetError `shard_unavailable`, `deadline_exceeded`
   */
  cancel(options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<void>
  /** Takes no more groups, waits for those in flight, says Terminate; resolves when closed. Idempotent. */
  close(): Promise<void>
  /** Ends the connection now; groups in flight fail with `reason`. Idempotent. */
  destroy(reason: FleetError): void
}

/** One execution of a statement by a prepared statement that is made when needed. */
export interface StatementRequest {
  readonly text: string
  /** Type OIDs of the parameters, 0 or left out: Postgres decides. Part of the statement's identity. */
  readonly paramTypes?: readonly number[]
  /** Strings go in text format, bytes in binary format. */
  readonly params: readonly (string | null | Uint8Array)[]
  /** Format of all result columns; `text` by default. */
  readonly resultFormat?: 'text' | 'binary'
  /**
   * False: errors of a stale prepared statement are passed on. Otherwise the group is sent again with a fresh Parse,
   * once, when it failed before its execution began and outside a transaction; it then comes after what was submitted
   * meanwhile.
   */
  readonly retryStale?: boolean
  /**
   * The same statement with a comment, to be sent in place of the text: parsed for this execution only, without a name,
   * so that nothing of it is kept here or by the server.
   */
  readonly sentOnce?: string
}

/** Takes the answer of one execution; never sees the helper's own Parse, Describe and Close answers. */
export interface StatementSink extends GroupSink {
  /** Before the first row of a statement that returns rows; not called for others. May be the very same array again. */
  fields(fields: readonly FieldDescription[]): void
}

/** What Postgres knows about a statement. */
export interface StatementDescription {
  readonly paramTypes: readonly number[]
  /** Null when the statement returns no rows. */
  readonly fields: readonly FieldDescription[] | null
}

/** The prepared statements of one connection: Parse at first use, kept by LRU. */
export interface PreparedStatements {
  /** Sends one execution as a group of its own. @throws as `ServerConnection.submit` */
  execute(request: StatementRequest, sink: StatementSink): void
  /** What is known without asking: null before the first answer. */
  known(text: string, paramTypes?: readonly number[]): StatementDescription | null
  /** Prepares if needed and tells. @throws FleetError `sql_error`, `shard_unavailable`, `overloaded` */
  describe(text: string, paramTypes?: readonly number[]): Promise<StatementDescription>
  /** To be called when the server has dropped them all (DISCARD ALL, DEALLOCATE ALL). */
  clear(): void
  /**
   * To be called when the schema has changed: the next use of each parses anew. A statement keeps the parameter types
   * that it was parsed with, and Postgres does not say when a column has got another type since.
   */
  renew(): void
  /** Statements held by the server under this helper. */
  readonly size: number
}

/** Result of a small query; all values in text format. */
export interface QueryResult {
  readonly fields: readonly FieldDescription[]
  readonly rows: readonly (readonly (string | null)[])[]
  /** Command tag, `SELECT 1`. */
  readonly tag: string
}

/** Bounds of one small query; 10,000 rows and 16 MiB by default. */
export interface QueryLimits {
  readonly rowsMax?: number
  readonly bytesMax?: number
  /** An abort rejects at once; the statement itself goes on and its answer is dropped. */
  readonly signal?: AbortSignal
}
