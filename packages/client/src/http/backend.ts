// The mode `http`: statements go through a router.
import { FleetError, fromProblem, isFleetError, type ShardMap } from '@fleetshard/core'
import { closedError } from '../errors.ts'
import { looksLikeRead } from '../session.ts'
import { objectOf, parseJson, textOrNullAt, type JsonObject } from '../json-reader.ts'
import type {
  Backend,
  Consistency,
  OpenTransaction,
  Result,
  Row,
  RowBatch,
  Statement,
  Target,
  TransactionOptions,
} from '../statement.ts'
import { graceMs, resultOf, type HttpParts } from './answer.ts'
import { executeBody, type CommonFields } from './body.ts'
import type { RouterRequest } from './routers.ts'
import { LineReader, readRows } from './stream.ts'
import { HttpTransaction } from './transaction.ts'

/** Statements through a router. */
export class HttpBackend implements Backend {
  readonly #parts: HttpParts
  #closed = false

  constructor(parts: HttpParts) {
    this.#parts = parts
  }

  async execute(statement: Statement): Promise<Result> {
    const { limits, routers } = this.#parts
    const { options } = statement
    this.#refuseClosed()
    const timeoutMs = options.timeoutMs ?? limits.timeoutMs
    const request = this.#request(statement, { timeoutMs, rowsMax: limits.rowsMax })
    try {
      const { json } = await routers.call(request, { signal: options.signal, timeoutMs: timeoutMs + graceMs })
      return this.#resultOf(objectOf(json, 'body'))
    } catch (error) {
      throw outcomeOf(error, statement)
    }
  }

  async *stream(statement: Statement): AsyncGenerator<RowBatch<Row>, void, void> {
    const { limits, routers, clock, session } = this.#parts
    const { options } = statement
    this.#refuseClosed()
    const timeoutMs = options.timeoutMs ?? limits.timeoutMs
    const request = {
      ...this.#request(statement, { timeoutMs, rowsMax: null }),
      headers: { accept: 'application/x-ndjson' },
    }
    const silentMsMax = timeoutMs + graceMs
    const opened = await routers.open(
      request,
      { signal: options.signal, timeoutMs: silentMsMax },
      async (response) => {
        if (!response.ok) throw fromProblem(response.status, parseJson(await response.text()))
        if (response.body === null) throw new FleetError('server_unreachable', 'the answer has no body')
        return new LineReader(response.body, { clock, silentMsMax })
      },
    )
    opened.unbound()
    try {
      yield* readRows(opened.value, ({ sessionToken }) => {
        session.merge(sessionToken)
      })
    } catch (error) {
      throw outcomeOf(opened.reason() ?? error, statement)
    } finally {
      await opened.value.close()
      opened.close()
    }
  }

  async begin(target: Target, options: TransactionOptions): Promise<OpenTransaction> {
    this.#refuseClosed()
    return HttpTransaction.begin(this.#parts, target, options)
  }

  map(): ShardMap {
    return this.#parts.topology.map()
  }

  mapAgeMs(): number {
    return this.#parts.topology.ageMs()
  }

  newerMap(map: ShardMap): Promise<void> {
    return this.#parts.topology.newerThan(map, this.#parts.limits.newerMapMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await this.#parts.topology[Symbol.asyncDispose]()
  }

  #consistency({ options }: Statement): Consistency {
    const { consistency, topology } = this.#parts
    return options.consistency ?? consistency ?? topology.map().snapshot.keyspace.defaultConsistency
  }

  #refuseClosed(): void {
    if (this.#closed) throw closedError()
  }

  #request(statement: Statement, bounds: Pick<CommonFields, 'timeoutMs' | 'rowsMax'>): RouterRequest {
    const { keyspace, session } = this.#parts
    const consistency = this.#consistency(statement)
    const token = session.tokenFor(statement.text, consistency)
    const common: CommonFields = { keyspace, consistency, token, ...bounds }
    const body = executeBody(statement, common)
    return { method: 'POST', path: '/v1/execute', body, repeat: this.#repeatOf(statement, common) }
  }

  /** A read goes out again so that it surely stays one; a write with a key as it is; other writes never. */
  #repeatOf(statement: Statement, common: CommonFields): RouterRequest['repeat'] {
    const { options, text } = statement
    if (options.idempotencyKey !== undefined) return { body: executeBody(statement, common) }
    if (options.readOnly !== true && !looksLikeRead(text)) return null
    return { body: executeBody({ ...statement, options: { ...options, readOnly: true } }, common) }
  }

  #resultOf(answer: JsonObject): Result {
    const result = resultOf(answer, answer)
    this.#parts.topology.noteEpoch(result.epoch)
    this.#parts.session.merge(textOrNullAt(answer, 'session_token'))
    return result
  }
}

/**
 * What is said of the outcome, put right by what is known of the statement: one held to reading has none. A repetition
 * that was refused because it writes tells that the first sending may have written.
 */
function outcomeOf(error: unknown, { options }: Statement): unknown {
  if (!(error instanceof FleetError)) return error
  if (options.readOnly === true) return error.withFacts({ outcome: 'aborted' })
  if (!isFleetError(error, 'read_only') || error.facts['repeated'] !== true) return error
  return new FleetError(
    'outcome_unknown',
    'the router was lost before it answered, and the statement writes',
    {
      hint: 'read to see whether it was done; with an idempotencyKey it would be repeated safely',
      cause: error,
    },
  )
}
