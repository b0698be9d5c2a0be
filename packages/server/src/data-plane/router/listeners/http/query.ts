// POST /v1/execute and POST /v1/transaction, straight on node:http: parses the body, hands statements to the
// executor, writes the answer from the bytes that came from the shard.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { FleetError, parseKeyspaceName, type Clock, type ShardMap } from '@fleetshard/core'
import {
  compileParser,
  ExecuteRequest,
  TransactionRequest,
  type ExecuteOptions,
} from '@fleetshard/core/contract'
import type { Cancellation, DeadlineSweeper, Executor } from '@fleetshard/routing/execute'
import type { KnownStatement, StatementCache } from '@fleetshard/routing/plan'
import { JsonRows, type RowsFormat } from './json-rows.ts'

/** What the endpoints stand on. */
export interface QueryParts {
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  readonly executor: Executor
  readonly statements: StatementCache
  /** The map of a keyspace. @throws FleetError `not_found` */
  readonly map: (keyspace: string) => ShardMap
  readonly limits: QueryLimits
}

/** Bounds of one request; the composition root takes them from the configuration. */
export interface QueryLimits {
  /** Rows and bytes of a result whose request names no limit, and the most that one may name. */
  readonly resultRowsMax: number
  readonly resultBytesMax: number
  readonly statementTimeoutMs: number
  /** Bytes of one statement text; longer ones should be sent as parameters. */
  readonly statementBytesMax: number
}

/** One request under way. */
export interface QueryCall {
  readonly cancellation: Cancellation
  /** What the client's header grants, from `receivedMs` on; null without one. */
  readonly deadlineMs: number | null
  /** `clock.monotonic()` when the request came. */
  readonly receivedMs: number
}

/** An answer ready to be sent: JSON in parts that belong together. */
export interface QueryAnswer {
  readonly parts: readonly [Buffer, Buffer, Buffer]
}

const parseExecute = compileParser(ExecuteRequest, 'body')
const parseTransaction = compileParser(TransactionRequest, 'body')
const defaultKeyspace = 'default'
const deadlineMsMax = 86_400_000

/** Answers a body sent to /v1/execute. @throws FleetError */
export async function answerExecute(parts: QueryParts, body: unknown, call: QueryCall): Promise<QueryAnswer> {
  const request = parseExecute(body)
  const options = request.options ?? {}
  const keyspace = parseKeyspaceName(options.keyspace ?? defaultKeyspace)
  const stop = watchDeadline(parts, options, call)
  try {
    const map = parts.map(keyspace)
    const known = await knownStatement(parts, request.query, call.cancellation)
    const rows = new JsonRows(formatOf(options, parts.limits))
    const answer = await parts.executor.execute({
      known,
      params: request.params ?? [],
      consumer: rows,
      shardKey: request.shard_key,
      consistency: request.consistency ?? map.snapshot.keyspace.defaultConsistency,
      readOnly: options.read_only ?? false,
      map: () => parts.map(keyspace),
      cancellation: call.cancellation,
    })
    const head = `{"shard_id":${JSON.stringify(answer.shard.id)},"rows":[`
    const tail =
      `],"row_count":${String(answer.rowCount)},"latency_ms":${elapsed(parts, call.receivedMs)},` +
      `"columns":${rows.columns},"node":${JSON.stringify(answer.node)},"epoch":${String(answer.epoch)}}`
    return { parts: [Buffer.from(head), rows.buffer.take(), Buffer.from(tail)] }
  } finally {
    stop()
  }
}

/** Answers a body sent to /v1/transaction. @throws FleetError; then nothing happened unless it says otherwise */
export async function answerTransaction(
  parts: QueryParts,
  body: unknown,
  call: QueryCall,
): Promise<QueryAnswer> {
  const request = parseTransaction(body)
  const options = request.options ?? {}
  const keyspace = parseKeyspaceName(options.keyspace ?? defaultKeyspace)
  const stop = watchDeadline(parts, options, call)
  try {
    const format = formatOf(options, parts.limits)
    const statements = []
    const shared = { bytes: 0 }
    for (const { query, params } of request.statements) {
      const known = await knownStatement(parts, query, call.cancellation)
      statements.push({ known, params: params ?? [], consumer: new JsonRows(format, shared) })
    }
    const answer = await parts.executor.transaction({
      statements,
      shardKey: request.shard_key,
      options: { isolation: request.isolation ?? 'read committed', readOnly: options.read_only ?? false },
      map: () => parts.map(keyspace),
      cancellation: call.cancellation,
    })
    const results = statements.flatMap(({ consumer }, index) => [
      Buffer.from(`${index === 0 ? '' : ','}{"rows":[`),
      consumer.buffer.take(),
      Buffer.from(`],"row_count":${String(answer.rowCounts[index] ?? 0)},"columns":${consumer.columns}}`),
    ])
    const head = `{"shard_id":${JSON.stringify(answer.shard.id)},"results":[`
    const tail =
      `],"latency_ms":${elapsed(parts, call.receivedMs)},` +
      `"node":${JSON.stringify(answer.node)},"epoch":${String(answer.epoch)}}`
    return { parts: [Buffer.from(head), Buffer.concat(results), Buffer.from(tail)] }
  } finally {
    stop()
  }
}

/** Milliseconds with three decimals. */
const elapsed = (parts: QueryParts, receivedMs: number): string =>
  (parts.clock.monotonic() - receivedMs).toFixed(3)

/** What is known of a statement, analysed at first sight. @throws FleetError of its text */
export function knownStatement(
  parts: QueryParts,
  text: string,
  cancellation: Cancellation,
): KnownStatement | Promise<KnownStatement> {
  return parts.statements.get(text) ?? load(parts, text, cancellation)
}

function load(parts: QueryParts, text: string, cancellation: Cancellation): Promise<KnownStatement> {
  if (text.length > parts.limits.statementBytesMax) {
    throw new FleetError(
      'request_too_large',
      `the query text is longer than ${String(parts.limits.statementBytesMax)} characters`,
      {
        hint: 'send the values as params, or several smaller statements',
      },
    )
  }
  if (text.includes('\0') || !text.isWellFormed()) {
    throw new FleetError('invalid_request', 'the query holds a NUL character or half of a surrogate pair', {
      hint: 'send text, and bytes as a parameter of type bytea',
    })
  }
  return cancellation.until(parts.statements.load(text))
}

function formatOf(options: ExecuteOptions, limits: QueryLimits): RowsFormat {
  return {
    rowFormat: options.row_format ?? 'object',
    int8: options.int8 ?? 'string',
    rowsMax: Math.min(options.max_rows ?? limits.resultRowsMax, limits.resultRowsMax),
    bytesMax: Math.min(options.max_bytes ?? limits.resultBytesMax, limits.resultBytesMax),
  }
}

function watchDeadline(parts: QueryParts, options: ExecuteOptions, call: QueryCall): () => void {
  const wanted = Math.min(options.timeout_ms ?? Infinity, call.deadlineMs ?? Infinity)
  const timeoutMs = wanted === Infinity ? parts.limits.statementTimeoutMs : wanted
  return parts.sweeper.watch(call.receivedMs + timeoutMs, () => {
    call.cancellation.cancel(
      new FleetError('deadline_exceeded', `the statement was not done after ${String(timeoutMs)} ms`, {
        hint: 'give it more time with options.timeout_ms',
      }),
    )
  })
}

/** Milliseconds of X-FleetShard-Deadline-Ms, null without one. @throws FleetError `invalid_request` */
export function deadlineOf(request: IncomingMessage): number | null {
  const header = request.headers['x-fleetshard-deadline-ms']
  if (header === undefined) return null
  const value = typeof header === 'string' && /^\d{1,9}$/.test(header) ? Number(header) : 0
  if (value >= 1 && value <= deadlineMsMax) return value
  throw new FleetError(
    'invalid_request',
    'the header X-FleetShard-Deadline-Ms is not a number of milliseconds',
    {
      hint: `send a whole number from 1 to ${String(deadlineMsMax)}`,
    },
  )
}

/** Bytes below which the parts of an answer are sent as one piece. */
const onePieceBytesMax = 64 * 1024

/** Sends an answer. */
export function sendAnswer(response: ServerResponse, { parts }: QueryAnswer): void {
  const bytes = parts[0].length + parts[1].length + parts[2].length
  response.writeHead(200, { 'content-type': 'application/json; charset=utf-8', 'content-length': bytes })
  if (bytes <= onePieceBytesMax) {
    // Head and body go to the kernel in one write when the body is a string. As latin1 each byte stays one byte,
    // whatever it is: a body longer than its content-length would run into the next answer.
    response.end(parts.map((part) => part.toString('latin1')).join(''), 'latin1')
    return
  }
  response.cork()
  response.write(parts[0])
  response.write(parts[1])
  response.end(parts[2])
  response.uncork()
}
