// A transaction over HTTP: begun on one router, which holds the connection to the shard, and ended there.
import { FleetError } from '@fleetshard/core'
import { objectOf, textAt, textOrNullAt } from '../json-reader.ts'
import type {
  CallOptions,
  OpenTransaction,
  Result,
  Statement,
  Target,
  TransactionOptions,
} from '../statement.ts'
import { graceMs, resultOf, type HttpParts } from './answer.ts'
import { commonOptions, keyOf } from './body.ts'

/** One open transaction. */
export class HttpTransaction implements OpenTransaction {
  readonly #parts: HttpParts
  readonly #options: TransactionOptions
  /** The router that has it. */
  readonly #base: string
  readonly #path: string

  private constructor(parts: HttpParts, options: TransactionOptions, at: { base: string; id: string }) {
    this.#parts = parts
    this.#options = options
    this.#base = at.base
    this.#path = `/v1/transactions/${encodeURIComponent(at.id)}`
  }

  /** Begins one. One that was begun and never heard of ends by its idle timeout, so a repetition does no harm. */
  static async begin(
    parts: HttpParts,
    target: Target,
    options: TransactionOptions,
  ): Promise<HttpTransaction> {
    const { routers, keyspace, limits } = parts
    const timeoutMs = options.timeoutMs ?? limits.timeoutMs
    const body = {
      ...keyOf(target),
      ...(options.isolation === undefined ? {} : { isolation: options.isolation }),
      ...(options.readOnly === true ? { read_only: true } : {}),
      options: {
        ...commonOptions(target, { keyspace }),
        session_token: parts.session.text ?? '',
        ...(options.idleTimeoutMs === undefined ? {} : { idle_timeout_ms: options.idleTimeoutMs }),
      },
    }
    const { json, base } = await routers.call(
      { method: 'POST', path: '/v1/transactions', body, repeat: { body } },
      { signal: options.signal, timeoutMs: timeoutMs + graceMs },
    )
    return new HttpTransaction(parts, options, { base, id: textAt(objectOf(json, 'body'), 'transaction_id') })
  }

  async execute({ text, params }: Pick<Statement, 'text' | 'params'>, options: CallOptions): Promise<Result> {
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs ?? this.#parts.limits.timeoutMs
    const body = {
      query: text,
      ...(params.length === 0 ? {} : { params }),
      options: { timeout_ms: timeoutMs, max_rows: this.#parts.limits.rowsMax },
    }
    try {
      const answer = await this.#post('execute', body, {
        signal: either(options.signal, this.#options.signal),
        timeoutMs: timeoutMs + graceMs,
      })
      return resultOf(answer, answer)
    } catch (error) {
      // Whatever the statement did goes with the transaction, which is not committed.
      throw error instanceof FleetError ? error.withFacts({ outcome: 'aborted' }) : error
    }
  }

  async commit(): Promise<void> {
    const timeoutMs = this.#options.timeoutMs ?? this.#parts.limits.timeoutMs
    const answer = await this.#post('commit', undefined, { timeoutMs: timeoutMs + graceMs })
    this.#parts.session.merge(textOrNullAt(answer, 'session_token'))
  }

  async rollback(): Promise<void> {
    const timeoutMs = this.#options.timeoutMs ?? this.#parts.limits.timeoutMs
    // The router rolls back by itself what it hears nothing of.
    await this.#post('rollback', undefined, { timeoutMs: timeoutMs + graceMs }).catch(() => undefined)
  }

  async #post(
    action: 'execute' | 'commit' | 'rollback',
    body: unknown,
    limits: { readonly signal?: AbortSignal | undefined; readonly timeoutMs: number },
  ): Promise<ReturnType<typeof objectOf>> {
    const path = `${this.#path}/${action}`
    const { json } = await this.#parts.routers.call(
      { method: 'POST', path, body, repeat: null, base: this.#base },
      limits,
    )
    return objectOf(json, 'body')
  }
}

const either = (one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined =>
  one === undefined || other === undefined ? (one ?? other) : AbortSignal.any([one, other])
