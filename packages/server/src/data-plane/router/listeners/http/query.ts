// POST /v1/execute and POST /v1/transaction, straight on node:http: parses the body, hands statements to the
// executor, writes the answer from the bytes that came from the shard.
import type { ServerResponse } from 'node:http'
import {
  FleetError,
  formatSessionToken,
  mergeSessionTokens,
  parseKeyspaceName,
  parseSessionToken,
  parseShardId,
  requireGrant,
  type Clock,
  type Principal,
  type Problem,
  type SessionToken,
  type ShardId,
  type ShardMap,
  type ShardRecord,
} from '@fleetshard/core'
import {
  compileParser,
  ExecuteRequest,
  TransactionRequest,
  type ExecuteOptions,
} from '@fleetshard/core/contract'
import { refuseWriting } from '@fleetshard/routing/execute'
import type {
  Cancellation,
  DeadlineSweeper,
  Executor,
  Idempotency,
  RowsConsumer,
  StatementAnswer,
  Traceparent,
} from '@fleetshard/routing/execute'
import {
  checkStatementText,
  redactStatement,
  type KnownStatement,
  type StatementCache,
} from '@fleetshard/routing/plan'
import { codeOf, inSpan, SPAN_ATTRIBUTES, type KeptSpans, type TraceSpan } from '../../../../runtime/mod.ts'
import { JsonRows, type RowsFormat } from './json-rows.ts'
import type { OpenTransactions } from './open-transactions.ts'
import { StreamRows, type StreamParts } from './stream-rows.ts'

/** What the endpoints stand on. */
export interface QueryParts {
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  readonly executor: Executor
  readonly statements: StatementCache
  readonly transactions: OpenTransactions
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
  /** An open transaction whose begin names no time is rolled back when it gets no request for so long. */
  readonly transactionIdleMs: number
  /** How long the outcome of a write under an idempotency key is remembered. */
  readonly idempotencyExpiryMs: number
  /** Bytes of one statement text; longer ones should be sent as parameters. */
  readonly statementBytesMax: number
}

/** What a request has run, written down as it becomes known, for metrics. */
export interface RunNote {
  map: ShardMap | null
  /** Null as long as no shard has answered. */
  shard: ShardRecord | null
  rows: number
  statements: readonly KnownStatement[]
  /** The part of a statement over all shards that one of them runs. */
  isPart: boolean
  /** Of the request; null where there are no traces. */
  readonly span: TraceSpan | null
  /** What its client wants to be told of them; null for nothing. */
  readonly kept: KeptSpans | null
}

/** One request under way. */
export interface QueryCall {
  readonly principal: Principal
  readonly cancellation: Cancellation
  /** What the client's header grants, from `receivedMs` on; null without one. */
  readonly deadlineMs: number | null
  /** `clock.monotonic()` when the request came. */
  readonly receivedMs: number
  /** Of the header X-FleetShard-Session; null without one. */
  readonly session: string | null
  /** Of the header Idempotency-Key; null without one. */
  readonly idempotencyKey: string | null
  /** The open transaction that the path names; null for none. */
  readonly transactionId: string | null
  readonly ran: RunNote
}

/** An answer ready to be sent: JSON in parts that belong together. */
export interface QueryAnswer {
  readonly status: number
  /** An earlier request did it. */
  readonly replayed?: boolean
  readonly token?: SessionToken | null
  readonly parts: readonly [Buffer, Buffer, Buffer]
}

const parseExecute = compileParser(ExecuteRequest, 'body')
const parseTransaction = compileParser(TransactionRequest, 'body')
const defaultKeyspace = 'default'

/** Answers a body sent to /v1/execute. @throws FleetError */
export async function answerExecute(parts: QueryParts, body: unknown, call: QueryCall): Promise<QueryAnswer> {
  const request = parseExecute(body)
  const options = request.options ?? {}
  const stop = watchDeadline(parts, options, call)
  try {
    const rows = new JsonRows(formatOf(options, parts.limits))
    const answer = await execute(parts, request, { call, rows })
    return executeAnswer(parts, { rows, answer, call })
  } finally {
    stop()
  }
}

/**
 * Answers a body sent to /v1/execute by a stream of lines. The usual time of a statement ends with its first line;
 * after that only a deadline that the client has named counts, and how fast it reads.
 * @throws FleetError; then nothing has gone out
 */
export async function streamExecute(
  parts: QueryParts,
  body: unknown,
  { call, response, onWaiting, onLateError }: StreamCall,
): Promise<void> {
  const request = parseExecute(body)
  const options = request.options ?? {}
  const stop = watchDeadline(parts, options, call)
  const isBounded = options.timeout_ms !== undefined || call.deadlineMs !== null
  const rows = new StreamRows({
    response,
    format: {
      int8: options.int8 ?? 'string',
      rowsMax: options.max_rows ?? Infinity,
      bytesMax: options.max_bytes ?? Infinity,
    },
    onWaiting,
    onFirstLine: isBounded ? () => undefined : stop,
  })
  try {
    const answer = await execute(parts, request, { call, rows })
    const { rowCount } = answer
    rows.end({
      rowCount,
      latencyMs: elapsed(parts, call.receivedMs),
      more: endFields(answer) + spansField(call),
    })
  } catch (error) {
    if (!rows.isFinal) throw error
    rows.fail(onLateError(error))
  } finally {
    stop()
  }
}

/** What a stream needs beside its call. */
export interface StreamCall extends Pick<StreamParts, 'response' | 'onWaiting'> {
  readonly call: QueryCall
  /** The body of an error that comes after the first line. */
  readonly onLateError: (error: unknown) => Problem
}

/** Runs the one statement of a request. */
async function execute(
  parts: QueryParts,
  request: ExecuteRequest,
  { call, rows }: { call: QueryCall; rows: RowsConsumer },
): Promise<StatementAnswer> {
  const options = request.options ?? {}
  const keyspace = parseKeyspaceName(options.keyspace ?? defaultKeyspace)
  const onlyReads = requireGrant(call.principal, keyspace) === 'read'
  const map = parts.map(keyspace)
  const { ran } = call
  const { query } = request
  const known =
    ran.span === null
      ? await knownOf(parts, query, call.cancellation)
      : await inSpan(ran.span, 'plan', async () => knownOf(parts, query, call.cancellation))
  if (onlyReads) refuseWriting(known.facts)
  ran.map = map
  ran.statements = [known]
  ran.isPart = isPart(options)
  const asked = {
    known,
    onlyReads,
    params: request.params ?? [],
    consumer: rows,
    shardKey: request.shard_key,
    shardId: shardIdOf(options),
    allShards: ran.isPart,
    consistency: consistencyOf(request, map),
    token: tokenOf(options, call),
    maxStalenessMs: options.max_staleness_ms ?? null,
    readOnly: options.read_only ?? false,
    idempotency: idempotencyOf(parts, options, call),
    map: () => parts.map(keyspace),
    cancellation: call.cancellation,
  }
  const answer =
    ran.span === null
      ? await parts.executor.execute(asked)
      : await onShard(ran.span, keyspace, known.text, (traceparent) =>
          parts.executor.execute({ ...asked, traceparent }),
        )
  ran.shard = answer.shard
  ran.rows = answer.rowCount
  return answer
}

/** Runs on a shard what is a span of its own: waits and retries are inside. */
export async function onShard<T extends Pick<StatementAnswer, 'shard' | 'node'>>(
  parent: TraceSpan,
  keyspace: string,
  text: string,
  run: (traceparent: Traceparent) => Promise<T>,
): Promise<T> {
  const { system, keyspace: ofKeyspace, statement, shard, node } = SPAN_ATTRIBUTES
  const attributes = { [system]: 'postgresql', [ofKeyspace]: keyspace, [statement]: redactStatement(text) }
  const span = parent.child('shard', { kind: 'client', attributes })
  try {
    const answer = await run(span.isRecorded ? span.traceparent : null)
    span.set({ [shard]: answer.shard.id, [node]: answer.node })
    return answer
  } catch (error) {
    span.fail(codeOf(error))
    throw error
  } finally {
    span.end()
  }
}

/** The answer to one statement. */
export function executeAnswer(
  parts: QueryParts,
  { rows, answer, call }: { rows: JsonRows; answer: StatementAnswer; call: QueryCall },
): QueryAnswer {
  const head = `{"shard_id":${JSON.stringify(answer.shard.id)},"rows":[`
  const tail =
    `],"row_count":${String(answer.rowCount)},"latency_ms":${elapsed(parts, call.receivedMs)},` +
    `"columns":${rows.columns},"node":${JSON.stringify(answer.node)},"epoch":${String(answer.epoch)}${endFields(answer)}${spansField(call)}}`
  return {
    status: 200,
    replayed: answer.replayed,
    token: answer.token,
    parts: [Buffer.from(head), rows.buffer.take(), Buffer.from(tail)],
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
  const onlyReads = requireGrant(call.principal, keyspace) === 'read'
  const stop = watchDeadline(parts, options, call)
  try {
    const format = formatOf(options, parts.limits)
    const statements = []
    const shared = { bytes: 0 }
    for (const { query, params } of request.statements) {
      const known = await knownOf(parts, query, call.cancellation)
      if (onlyReads) refuseWriting(known.facts)
      statements.push({ known, params: params ?? [], consumer: new JsonRows(format, shared) })
    }
    call.ran.map = parts.map(keyspace)
    call.ran.statements = statements.map(({ known }) => known)
    const asked = {
      statements,
      shardKey: request.shard_key,
      shardId: shardIdOf(options),
      options: {
        isolation: request.isolation ?? 'read committed',
        readOnly: onlyReads || (options.read_only ?? false),
        onlyReads,
      },
      token: tokenOf(options, call),
      idempotency: idempotencyOf(parts, options, call),
      map: () => parts.map(keyspace),
      cancellation: call.cancellation,
    } as const
    const { span } = call.ran
    const answer =
      span === null
        ? await parts.executor.transaction(asked)
        : await onShard(span, keyspace, 'transaction', (traceparent) =>
            parts.executor.transaction({ ...asked, traceparent }),
          )
    call.ran.shard = answer.shard
    call.ran.rows = answer.rowCounts.reduce((sum, count) => sum + count, 0)
    const results = statements.flatMap(({ consumer }, index) => [
      Buffer.from(`${index === 0 ? '' : ','}{"rows":[`),
      consumer.buffer.take(),
      Buffer.from(`],"row_count":${String(answer.rowCounts[index] ?? 0)},"columns":${consumer.columns}}`),
    ])
    const head = `{"shard_id":${JSON.stringify(answer.shard.id)},"results":[`
    const tail =
      `],"latency_ms":${elapsed(parts, call.receivedMs)},` +
      `"node":${JSON.stringify(answer.node)},"epoch":${String(answer.epoch)}${endFields(answer)}}`
    return {
      status: 200,
      replayed: answer.replayed,
      token: answer.token,
      parts: [Buffer.from(head), Buffer.concat(results), Buffer.from(tail)],
    }
  } finally {
    stop()
  }
}

/** Fields of every answer, with a comma in front. */
function endFields({ replayed, token }: Pick<StatementAnswer, 'replayed' | 'token'>): string {
  const text = tokenText(token)
  const field = text === null ? ',"session_token":null' : `,"session_token":${JSON.stringify(text)}`
  return replayed ? `${field},"replayed":true` : field
}

/** The spans of the request for a client that has asked, with a comma in front. */
const spansField = ({ ran: { kept } }: QueryCall): string =>
  kept === null ? '' : `,"spans":${JSON.stringify(kept.told())}`

/** A token as answers have it; null when there is nothing to say. */
export function tokenText(token: SessionToken | null): string | null {
  const text = token === null ? '' : formatSessionToken(token)
  return text === '' ? null : text
}

/** The token of header and options; null without any. @throws FleetError `invalid_request` */
export function tokenOf(
  { session_token: option }: Pick<ExecuteOptions, 'session_token'>,
  { session: header }: Pick<QueryCall, 'session'>,
): SessionToken | null {
  if (header === null) return option === undefined ? null : parseSessionToken(option)
  return mergeSessionTokens(parseSessionToken(option ?? ''), parseSessionToken(header))
}

/** @throws FleetError `invalid_request` */
function consistencyOf({ consistency, options }: ExecuteRequest, map: ShardMap): 'strong' | 'eventual' {
  if (options?.max_staleness_ms === undefined) return consistency ?? map.snapshot.keyspace.defaultConsistency
  if (consistency !== 'strong') return 'eventual'
  throw new FleetError('invalid_request', 'options.max_staleness_ms is given with consistency strong', {
    hint: 'leave out one of them: a strong read is never stale',
  })
}

/** The key of header or options. @throws FleetError `invalid_request` */
function idempotencyOf(
  { limits }: QueryParts,
  { idempotency_key: option }: ExecuteOptions,
  { idempotencyKey: header }: QueryCall,
): Idempotency | null {
  const key = option ?? header
  if (key === null) return null
  if (header !== null && header !== key) {
    throw new FleetError('invalid_request', 'Idempotency-Key and options.idempotency_key differ', {
      hint: 'send one of them',
    })
  }
  return { key, expiryMs: limits.idempotencyExpiryMs }
}

/** True for a part of a statement over all shards. @throws FleetError `invalid_request` when it names no shard */
function isPart({ all_shards: isOne = false, shard_id: id }: ExecuteOptions): boolean {
  if (!isOne || id !== undefined) return isOne
  throw new FleetError('invalid_request', 'options.all_shards needs options.shard_id', {
    hint: 'send the statement once for each shard, with its shard_id',
  })
}

/** The shard that the options name. */
export const shardIdOf = ({ shard_id: id }: Pick<ExecuteOptions, 'shard_id'>): ShardId | undefined =>
  id === undefined ? undefined : parseShardId(id)

/** Milliseconds with three decimals. */
const elapsed = (parts: QueryParts, receivedMs: number): string =>
  (parts.clock.monotonic() - receivedMs).toFixed(3)

/** The statement of a text; at once when it is known. @throws FleetError when it is none, or too long */
export const knownOf = (
  parts: Pick<QueryParts, 'statements' | 'limits'>,
  text: string,
  cancellation: Cancellation,
): KnownStatement | Promise<KnownStatement> => parts.statements.get(text) ?? load(parts, text, cancellation)

function load(
  parts: Pick<QueryParts, 'statements' | 'limits'>,
  text: string,
  cancellation: Cancellation,
): Promise<KnownStatement> {
  checkStatementText(text, parts.limits.statementBytesMax)
  return cancellation.until(parts.statements.load(text))
}

/** How the rows are written, within the limits. */
export function formatOf(options: ExecuteOptions, limits: QueryLimits): RowsFormat {
  return {
    rowFormat: options.row_format ?? 'object',
    separator: 'comma',
    int8: options.int8 ?? 'string',
    rowsMax: Math.min(options.max_rows ?? limits.resultRowsMax, limits.resultRowsMax),
    bytesMax: Math.min(options.max_bytes ?? limits.resultBytesMax, limits.resultBytesMax),
  }
}

/** Gives the call up at its deadline. @returns ends the watch */
export function watchDeadline(
  parts: QueryParts,
  options: Pick<ExecuteOptions, 'timeout_ms'>,
  call: QueryCall,
): () => void {
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

/** Bytes below which the parts of an answer are sent as one piece. */
const onePieceBytesMax = 64 * 1024

/** Sends an answer. */
export function sendAnswer(response: ServerResponse, { status, replayed, token, parts }: QueryAnswer): void {
  if (replayed === true) response.setHeader('idempotency-replayed', 'true')
  const session = tokenText(token ?? null)
  if (session !== null) response.setHeader('x-fleetshard-session', session)
  const bytes = parts[0].length + parts[1].length + parts[2].length
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'x-content-type-options': 'nosniff',
    'content-length': bytes,
  })
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
