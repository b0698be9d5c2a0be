// A backend whose statements and transactions are spans of OpenTelemetry.
import type { Context, Span } from '@opentelemetry/api'
import type { ShardMap } from '@fleetshard/core'
import type {
  Backend,
  CallOptions,
  OpenTransaction,
  Result,
  Row,
  RowBatch,
  Statement,
  Target,
  TransactionOptions,
} from '../statement.ts'
import { beginSpan, contextOf, failSpan, isTraced, operationOf, type Tracing } from './tracing.ts'

/** Runs everything by another backend, in spans. A part of a statement over all shards is a span of its own. */
export class TracedBackend implements Backend {
  readonly #backend: Backend
  readonly #tracing: Tracing

  constructor(backend: Backend, tracing: Tracing) {
    this.#backend = backend
    this.#tracing = tracing
  }

  execute(statement: Statement): Promise<Result> {
    if (!isTraced(this.#tracing)) return this.#backend.execute(statement)
    return inSpan(this.#tracing, operationOf(statement.text), () => this.#backend.execute(statement))
  }

  async *stream(statement: Statement): AsyncGenerator<RowBatch<Row>, void, void> {
    const batches = this.#backend.stream(statement)
    const span = beginSpan(this.#tracing, operationOf(statement.text))
    if (span === null) {
      yield* batches
      return
    }
    const { api } = this.#tracing
    const within = contextOf(this.#tracing, span)
    let rows = 0
    try {
      for (;;) {
        const step = await api.context.with(within, () => batches.next())
        if (step.done === true) return
        rows += step.value.rows.length
        yield step.value
      }
    } catch (error) {
      failSpan(this.#tracing, span, error)
      throw error
    } finally {
      await api.context.with(within, () => batches.return())
      span.setAttribute('db.response.returned_rows', rows)
      span.end()
    }
  }

  async begin(target: Target, options: TransactionOptions): Promise<OpenTransaction> {
    const span = beginSpan(this.#tracing, 'TRANSACTION')
    if (span === null) return this.#backend.begin(target, options)
    const within = contextOf(this.#tracing, span)
    try {
      const open = await this.#tracing.api.context.with(within, () => this.#backend.begin(target, options))
      return new TracedTransaction(open, { tracing: this.#tracing, span, within })
    } catch (error) {
      failSpan(this.#tracing, span, error)
      span.end()
      throw error
    }
  }

  map(): ShardMap {
    return this.#backend.map()
  }

  mapAgeMs(): number {
    return this.#backend.mapAgeMs()
  }

  newerMap(map: ShardMap): Promise<void> {
    return this.#backend.newerMap(map)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backend[Symbol.asyncDispose]()
  }
}

interface TransactionSpan {
  readonly tracing: Tracing
  readonly span: Span
  /** In which the span is the one at hand. */
  readonly within: Context
}

/** The span of a transaction lasts until its end; those of its statements are its children. */
class TracedTransaction implements OpenTransaction {
  readonly #open: OpenTransaction
  readonly #at: TransactionSpan

  constructor(open: OpenTransaction, at: TransactionSpan) {
    this.#open = open
    this.#at = at
  }

  execute(statement: Pick<Statement, 'text' | 'params'>, options: CallOptions): Promise<Result> {
    const { tracing, within } = this.#at
    return tracing.api.context.with(within, () =>
      inSpan(tracing, operationOf(statement.text), () => this.#open.execute(statement, options)),
    )
  }

  async commit(): Promise<void> {
    const { tracing, span, within } = this.#at
    try {
      await tracing.api.context.with(within, () => this.#open.commit())
      span.setAttribute('fleetshard.outcome', 'committed')
    } catch (error) {
      failSpan(tracing, span, error)
      throw error
    } finally {
      span.end()
    }
  }

  async rollback(): Promise<void> {
    const { tracing, span, within } = this.#at
    await tracing.api.context.with(within, () => this.#open.rollback())
    span.setAttribute('fleetshard.outcome', 'aborted')
    span.end()
  }
}

/** Runs a statement in a span of its own. */
async function inSpan(tracing: Tracing, operation: string, run: () => Promise<Result>): Promise<Result> {
  const span = beginSpan(tracing, operation)
  if (span === null) return run()
  try {
    const result = await tracing.api.context.with(contextOf(tracing, span), run)
    span.setAttributes({
      'fleetshard.shard.id': result.shardId,
      'fleetshard.node.id': result.node,
      'db.response.returned_rows': result.rows.length,
    })
    return result
  } catch (error) {
    failSpan(tracing, span, error)
    throw error
  } finally {
    span.end()
  }
}
