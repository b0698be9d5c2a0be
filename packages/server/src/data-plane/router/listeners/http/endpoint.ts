// The hot endpoints on node:http: reads the body within bounds, notices clients that hang up, answers or says the
// problem. Counts what is in flight, so that a stop can wait for it.
import { isUtf8 } from 'node:buffer'
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  FleetError,
  outcomeOf,
  requirePermission,
  toFleetError,
  toProblem,
  type Problem,
} from '@fleetshard/core'
import { KeptSpans, type Logger, type TraceSpan, type Tracing } from '../../../../runtime/mod.ts'
import { headersOf, traceIdOf, type Gate } from '../../../../runtime/http/mod.ts'
import { Cancellation } from '@fleetshard/routing/execute'
import {
  answerExecute,
  answerTransaction,
  sendAnswer,
  streamExecute,
  type QueryAnswer,
  type QueryCall,
  type QueryParts,
  type RunNote,
} from './query.ts'
import { deadlineOf, idempotencyKeyOf, sessionOf, wantsSpans } from './request-headers.ts'
import { linesType } from './stream-rows.ts'
import { answerBegin, answerCommit, answerHeldExecute, answerRollback } from './transactions.ts'

/** Bounds of the endpoint as a whole. */
export interface EndpointLimits {
  /** Bytes of one request body. */
  readonly requestBytesMax: number
  /** For one request to arrive. */
  readonly receiveMsMax: number
  /** Bytes of all bodies being read or worked on. */
  readonly requestBytesTotalMax: number
  /** Bytes of all answers not yet taken by their clients. */
  readonly answerBytesTotalMax: number
  /** A client that takes nothing of its answer for so long is dropped. */
  readonly slowReaderMs: number
}

type Answerer = (parts: QueryParts, body: unknown, call: QueryCall) => Promise<QueryAnswer>

/** The endpoints and who answers them; `:id` stands for the id of an open transaction. */
const ANSWERERS = {
  '/v1/execute': answerExecute,
  '/v1/transaction': answerTransaction,
  '/v1/transactions': answerBegin,
  '/v1/transactions/:id/execute': answerHeldExecute,
  '/v1/transactions/:id/commit': answerCommit,
  '/v1/transactions/:id/rollback': answerRollback,
} as const satisfies Record<string, Answerer>

/** The endpoints by their patterns. */
export type StatementRoute = keyof typeof ANSWERERS

/** All of them, for metrics. */
export const STATEMENT_ROUTES = Object.keys(ANSWERERS) as readonly StatementRoute[]

/** What was answered, for metrics. `code` is `ok` or the error's. */
export interface Answered {
  readonly route: StatementRoute
  readonly status: number
  readonly code: string
  readonly elapsedMs: number
  readonly ran: RunNote
  /** The header, as it came. */
  readonly traceparent: string | readonly string[] | undefined
  /** Why it failed; null for success. */
  readonly error: FleetError | null
}

/** What the endpoint stands on. */
export interface EndpointParts {
  readonly log: Logger
  /** Null where there are no traces. */
  readonly tracing: Tracing | null
  readonly query: QueryParts
  readonly limits: EndpointLimits
  readonly onAnswer: (answered: Answered) => void
  readonly gate: Gate
}

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly route: StatementRoute
  readonly receivedMs: number
  readonly cancellation: Cancellation
  readonly ran: RunNote
}

/** The ends of a transaction say all by their paths. */
const mayBeEmpty = (route: StatementRoute): boolean =>
  route === '/v1/transactions/:id/commit' || route === '/v1/transactions/:id/rollback'

const wantsLines = ({ headers }: IncomingMessage): boolean =>
  headers.accept !== undefined && headers.accept.includes(linesType)

const problemType = 'application/problem+json; charset=utf-8'

/** What a path names: an endpoint, and a transaction where it is about one. */
export interface Target {
  readonly route: StatementRoute
  readonly transactionId: string | null
  /** Set when somebody else has read and parsed the body. */
  readonly parsed?: { readonly body: unknown }
}

const executeTarget: Target = { route: '/v1/execute', transactionId: null }

/** The endpoint that a path names, whatever query string it has; null for others. */
function targetOf(url: string): Target | null {
  if (url === '/v1/execute') return executeTarget
  const path = (url.split('?', 1)[0] ?? '').replace(/\/$/, '')
  if (!path.startsWith('/v1/')) return null
  const [, , , transactionId = null, ...rest] = path.split('/')
  const pattern = transactionId === null ? path : ['/v1/transactions/:id', ...rest].join('/')
  const route = STATEMENT_ROUTES.find((known) => known === pattern)
  if (route === undefined || (transactionId !== null && !path.startsWith('/v1/transactions/'))) return null
  return { route, transactionId }
}

function beginSpans(
  { tracing, query: { clock } }: EndpointParts,
  request: IncomingMessage,
  route: StatementRoute,
  startMs: number,
): Pick<RunNote, 'span' | 'kept'> {
  const kept = wantsSpans(request) ? new KeptSpans(clock) : null
  if (tracing === null && kept === null) return nothingTraced
  const { traceparent } = request.headers
  const parent = typeof traceparent === 'string' ? traceparent : null
  const attributes = { 'http.request.method': 'POST', 'http.route': route }
  const options = { kind: 'server', parent, startMs, attributes } as const
  const name = `POST ${route}`
  const span = kept === null ? tracing?.begin(name, options) : kept.begin(tracing, name, options)
  return { span: span ?? null, kept }
}

const nothingTraced: Pick<RunNote, 'span' | 'kept'> = { span: null, kept: null }

function endSpan(span: TraceSpan, status: number, error: FleetError | null): void {
  span.set({ 'http.response.status_code': status })
  if (error !== null) span.fail(error.code)
  span.end()
}

/** Serves statements and transactions. */
export class QueryEndpoint {
  readonly #parts: EndpointParts
  readonly #open = new Set<Exchange>()
  readonly #idle = new Set<() => void>()
  #bodyBytes = 0
  #answerBytes = 0
  #draining = false

  constructor(parts: EndpointParts) {
    this.#parts = parts
  }

  /** Exchanges whose answer is not yet sent. */
  get inFlight(): number {
    return this.#open.size
  }

  /** Takes the request if it is for one of the hot endpoints. */
  take(request: IncomingMessage, response: ServerResponse): boolean {
    if (request.method !== 'POST') return false
    const target = targetOf(request.url ?? '')
    if (target === null) return false
    void this.serve(request, response, target)
    return true
  }

  /** Answers one request. */
  async serve(
    request: IncomingMessage,
    response: ServerResponse,
    { route, transactionId, parsed }: Target,
  ): Promise<void> {
    const cancellation = new Cancellation()
    const receivedMs = this.#parts.query.clock.monotonic()
    const spans = beginSpans(this.#parts, request, route, receivedMs)
    const ran: RunNote = { map: null, shard: null, rows: 0, statements: [], isPart: false, ...spans }
    const exchange: Exchange = { request, response, route, receivedMs, cancellation, ran }
    this.#open.add(exchange)
    response.on('close', () => {
      if (!response.writableFinished) {
        cancellation.cancel(new FleetError('canceled', 'the client closed its connection before the answer'))
      }
    })
    let bodyBytes = 0
    try {
      // Before the body is read: whoever may not ask is not listened to.
      const asking = this.#parts.gate.enter(request)
      const principal = asking instanceof Promise ? await asking : asking
      requirePermission(principal, 'query')
      this.#refuseNew(transactionId)
      const body =
        parsed === undefined ? await this.#readJson(exchange, (bytes) => (bodyBytes += bytes)) : parsed.body
      const call = {
        principal,
        cancellation,
        deadlineMs: deadlineOf(request),
        idempotencyKey: idempotencyKeyOf(request),
        session: sessionOf(request),
        receivedMs,
        transactionId,
        ran,
      }
      if (route === '/v1/execute' && wantsLines(request)) await this.#stream(exchange, body, call)
      else this.#succeed(exchange, await ANSWERERS[route](this.#parts.query, body, call))
    } catch (error) {
      this.#fail(exchange, error)
    } finally {
      this.#bodyBytes -= bodyBytes
      this.#open.delete(exchange)
      if (this.#open.size === 0) for (const resolve of this.#idle) resolve()
    }
  }

  /** Refuses new work, and resolves when all requests are answered and the open transactions have been ended. */
  async drain(): Promise<void> {
    this.#draining = true
    await this.#answered()
    await this.#parts.query.transactions.drained()
    await this.#answered()
  }

  async #answered(): Promise<void> {
    if (this.#open.size === 0) return
    await new Promise<void>((resolve) => {
      this.#idle.add(resolve)
    })
    this.#idle.clear()
  }

  /** Gives up what is still in flight. */
  abort(): void {
    for (const { cancellation } of this.#open)
      cancellation.cancel(new FleetError('shutting_down', 'the router is shutting down'))
    this.#parts.query.transactions.giveUp()
  }

  /** A transaction that was begun may go on to its end. */
  #refuseNew(transactionId: string | null): void {
    if (this.#draining && transactionId === null)
      throw new FleetError('shutting_down', 'the router is shutting down', { hint: 'try again' })
    if (this.#answerBytes > this.#parts.limits.answerBytesTotalMax) {
      throw new FleetError('overloaded', 'too many answers wait for clients that read slowly', {
        hint: 'try again',
      })
    }
  }

  async #readJson(exchange: Exchange, count: (bytes: number) => void): Promise<unknown> {
    const { request } = exchange
    const type = request.headers['content-type']
    if (type !== undefined && !/^application\/([\w.-]+\+)?json\b/i.test(type)) {
      throw new FleetError(
        'unsupported_media_type',
        `the body has the content type ${JSON.stringify(type.slice(0, 80))}`,
        {
          hint: 'send content-type: application/json',
        },
      )
    }
    const bytes = await this.#readBody(request, count)
    if (bytes.length === 0 && mayBeEmpty(exchange.route)) return undefined
    // Decoded leniently, other text would be stored than was sent.
    if (!isUtf8(bytes)) {
      throw new FleetError('malformed_json', 'the body is not valid UTF-8', { hint: 'send JSON in UTF-8' })
    }
    try {
      return JSON.parse(bytes.toString('utf8')) as unknown
    } catch (cause) {
      throw new FleetError('malformed_json', 'the body is not valid JSON', {
        hint: 'send valid JSON with content-type application/json',
        cause,
      })
    }
  }

  #readBody(request: IncomingMessage, count: (bytes: number) => void): Promise<Buffer> {
    const { requestBytesMax, requestBytesTotalMax } = this.#parts.limits
    const tooLarge = (): FleetError =>
      new FleetError('request_too_large', `the body is larger than ${String(requestBytesMax)} bytes`, {
        hint: 'send less at once, or raise router.request-bytes-max',
      })
    if (Number(request.headers['content-length'] ?? 0) > requestBytesMax) return Promise.reject(tooLarge())
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = []
      let length = 0
      let refused = false
      const refuse = (error: FleetError): void => {
        refused = true
        chunks.length = 0
        reject(error)
      }
      request.on('data', (chunk: Buffer) => {
        if (refused) return
        length += chunk.length
        this.#bodyBytes += chunk.length
        count(chunk.length)
        if (length > requestBytesMax) refuse(tooLarge())
        else if (this.#bodyBytes > requestBytesTotalMax) {
          refuse(new FleetError('overloaded', 'too many large requests at once', { hint: 'try again' }))
        } else chunks.push(chunk)
      })
      request.on('end', () => {
        resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, length))
      })
      request.on('error', reject)
      request.on('close', () => {
        if (!request.complete)
          reject(new FleetError('canceled', 'the client closed its connection inside the request'))
      })
    })
  }

  #succeed(exchange: Exchange, answer: QueryAnswer): void {
    const { response } = exchange
    if (response.destroyed) return
    if (this.#draining) response.setHeader('connection', 'close')
    sendAnswer(response, answer)
    this.#watchReader(response)
    this.#observe(exchange, answer.status, null)
  }

  async #stream(exchange: Exchange, body: unknown, call: QueryCall): Promise<void> {
    const { response } = exchange
    let failure: FleetError | null = null
    await streamExecute(this.#parts.query, body, {
      call,
      response,
      onWaiting: () => this.#watchStream(response),
      onLateError: (thrown) => {
        const error = toFleetError(thrown)
        failure = error
        return this.#problemOf(exchange, error)
      },
    })
    this.#watchReader(response)
    this.#observe(exchange, 200, failure)
  }

  /** A client that takes nothing of a stream for so long is dropped. @returns it has caught up */
  #watchStream(response: ServerResponse): () => void {
    const bytes = response.writableLength
    const { socket } = response
    const drop = (): void => {
      socket?.destroy()
    }
    this.#answerBytes += bytes
    socket?.setTimeout(this.#parts.limits.slowReaderMs, drop)
    return () => {
      this.#answerBytes -= bytes
      socket?.off('timeout', drop)
      socket?.setTimeout(0)
    }
  }

  #fail(exchange: Exchange, thrown: unknown): void {
    const error = toFleetError(thrown)
    const { response } = exchange
    const problem = this.#problemOf(exchange, error)
    this.#observe(exchange, error.status, error)
    if (response.destroyed || response.headersSent) return
    const body = JSON.stringify(problem)
    response.writeHead(error.status, {
      'content-type': problemType,
      'x-content-type-options': 'nosniff',
      'content-length': Buffer.byteLength(body),
      ...headersOf(error),
      ...(this.#draining ? { connection: 'close' } : {}),
    })
    // The rest of a body that was refused is read and dropped by node, within the server's requestTimeout.
    response.end(body)
    this.#watchReader(response)
  }

  /** The body of an error; what is our own fault is logged. */
  #problemOf({ request, ran }: Exchange, error: FleetError): Problem {
    const traceId = ran.span?.traceId ?? traceIdOf(request.headers['traceparent'])
    if (error.code === 'internal') {
      this.#parts.log.error({ err: error.cause ?? error, trace_id: traceId }, 'a request failed')
    }
    return { ...toProblem(error, traceId), outcome: outcomeOf(error) }
  }

  /** Counts what the client has not yet taken, and drops it when it takes nothing. */
  #watchReader(response: ServerResponse): void {
    const bytes = response.writableLength
    if (bytes === 0 || response.writableFinished || response.destroyed) return
    this.#answerBytes += bytes
    const { socket } = response
    const drop = (): void => {
      socket?.destroy()
    }
    // A socket's own timeout tells progress within one large write. Behind a pipelined request there is none yet.
    socket?.setTimeout(this.#parts.limits.slowReaderMs, drop)
    let over = false
    const stop = (): void => {
      if (over) return
      over = true
      this.#answerBytes -= bytes
      socket?.off('timeout', drop)
      socket?.setTimeout(0)
    }
    // Before node's own listener, which sets the timeout of a connection kept alive.
    response.prependOnceListener('finish', stop)
    response.once('close', stop)
  }

  #observe({ request, route, receivedMs, ran }: Exchange, status: number, error: FleetError | null): void {
    const elapsedMs = this.#parts.query.clock.monotonic() - receivedMs
    if (ran.span !== null) endSpan(ran.span, status, error)
    const { traceparent } = request.headers
    this.#parts.onAnswer({ route, status, code: error?.code ?? 'ok', elapsedMs, ran, traceparent, error })
  }
}
