// Small queries over a connection: one statement with parameters and all rows at once, or a plain command. For the
// router's own checks; traffic takes the prepared statements or the groups themselves.
import { FleetError } from '@fleetshard/core'
import {
  backendCode,
  DataRowReader,
  decodeCommandTag,
  decodeRowDescription,
  decodeServerError,
  frontendCode,
  writeCopyDone,
  writeExtendedGroup,
  writeQuery,
  type FieldDescription,
  type ParameterValue,
} from '../pgwire/mod.ts'
import { sqlError } from './errors.ts'
import type {
  PreparedStatements,
  QueryLimits,
  QueryResult,
  ServerConnection,
  StatementSink,
} from './types.ts'

/** Rows of a small query when nobody says otherwise. */
export const queryRowsMaxDefault = 10_000
/** Bytes of the rows of a small query when nobody says otherwise. */
export const queryBytesMaxDefault = 16 * 1024 * 1024

/**
 * Runs one statement through the unnamed prepared statement. Values come as text.
 * @throws FleetError `sql_error`, `shard_unavailable`, `result_too_large`, `overloaded`; the signal's reason
 */
export function query(
  connection: ServerConnection,
  text: string,
  params: readonly ParameterValue[] = [],
  limits: QueryLimits = {},
): Promise<QueryResult> {
  return collect(limits, (sink) => {
    connection.submitWith((out) => {
      const parse = { text, paramTypes: [] }
      writeExtendedGroup(out, { statement: '', parse, params, resultFormat: 0, describe: true })
    }, sink)
  })
}

/**
 * Runs a string of statements by the simple protocol: one implicit transaction where it begins none itself.
 * @returns what the last one answered
 * @throws as `query`
 */
export function script(
  connection: ServerConnection,
  text: string,
  limits: QueryLimits = {},
): Promise<QueryResult> {
  return collect(limits, (sink) => {
    connection.submitWith((out) => {
      writeQuery(out, text)
    }, sink)
  })
}

/**
 * Runs a statement without parameters that the connection keeps prepared. Values come as text.
 * @returns `fields` is the very same array as long as the statement stays as it is
 * @throws as `query`
 */
export function queryPrepared(
  statements: PreparedStatements,
  text: string,
  limits: QueryLimits = {},
): Promise<QueryResult> {
  return collect(limits, (sink) => {
    statements.execute({ text, params: [] }, sink)
  })
}

/** As `script`, but rows are dropped. @throws as `query` */
export async function exec(connection: ServerConnection, text: string, signal?: AbortSignal): Promise<void> {
  await script(connection, text, { rowsMax: 0, ...(signal === undefined ? {} : { signal }) })
}

/**
 * COPY FROM STDIN with all its data at once.
 * @param text the COPY
 * @throws as `query`
 */
export async function copyIn(connection: ServerConnection, text: string, data: Uint8Array): Promise<void> {
  await collect({ rowsMax: 0 }, (sink) => {
    connection.submitWith((out) => {
      writeQuery(out, text)
      // Where the COPY is refused, the server passes over these.
      const offset = out.begin(frontendCode.copyData)
      out.raw(data)
      out.end(offset)
      writeCopyDone(out)
    }, sink)
  })
}

async function collect(limits: QueryLimits, submit: (sink: Collector) => void): Promise<QueryResult> {
  const { signal } = limits
  signal?.throwIfAborted()
  const collector = new Collector(limits)
  submit(collector)
  const onAbort = (): void => {
    collector.abandon(signal?.reason as Error)
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    return await collector.result
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

/** Gathers the answer of one group; of several statements that of the last one. */
class Collector implements StatementSink {
  readonly #outcome = Promise.withResolvers<QueryResult>()
  readonly #row = new DataRowReader()
  readonly #rowsMax: number
  readonly #bytesMax: number
  #fields: readonly FieldDescription[] = []
  #rows: (string | null)[][] = []
  #bytes = 0
  #tag = ''
  /** True from a statement's end to the next one's answer. */
  #isComplete = false
  #error: FleetError | null = null

  constructor(limits: QueryLimits) {
    this.#rowsMax = limits.rowsMax ?? queryRowsMaxDefault
    this.#bytesMax = limits.bytesMax ?? queryBytesMaxDefault
  }

  get result(): Promise<QueryResult> {
    return this.#outcome.promise
  }

  /** Rejects now; what still comes is dropped. */
  abandon(reason: Error): void {
    this.#rows = []
    this.#outcome.reject(reason)
  }

  fields(fields: readonly FieldDescription[]): void {
    this.#fields = fields
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    if (type === backendCode.dataRow) this.#addRow(buf, start, end)
    else if (type === backendCode.rowDescription) {
      this.#fields = decodeRowDescription(buf, start, end)
      this.#begin()
    } else if (type === backendCode.commandComplete) {
      if (this.#isComplete) {
        this.#fields = []
        this.#begin()
      }
      this.#tag = decodeCommandTag(buf, start, end)
      this.#isComplete = true
    } else if (type === backendCode.errorResponse)
      this.#error ??= sqlError(decodeServerError(buf, start, end))
  }

  #begin(): void {
    this.#rows = []
    this.#bytes = 0
    this.#isComplete = false
  }

  done(): void {
    if (this.#error !== null) this.#outcome.reject(this.#error)
    else this.#outcome.resolve({ fields: this.#fields, rows: this.#rows, tag: this.#tag })
  }

  failed(error: FleetError): void {
    this.#outcome.reject(error)
  }

  #addRow(buf: Buffer, start: number, end: number): void {
    if (this.#rowsMax === 0 || this.#error !== null) return
    this.#bytes += end - start
    if (this.#rows.length >= this.#rowsMax || this.#bytes > this.#bytesMax) {
      this.#tooLarge()
      return
    }
    this.#row.open(buf, start, end)
    const values: (string | null)[] = []
    while (this.#row.next()) values.push(this.#row.text())
    this.#rows.push(values)
  }

  #tooLarge(): void {
    this.#rows = []
    this.#error ??= new FleetError(
      'result_too_large',
      `the result has more than ${String(this.#rowsMax)} rows or ${String(this.#bytesMax)} bytes`,
    )
  }
}
