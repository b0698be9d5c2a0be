// A transaction as its caller sees it: a function that gets a handle, and commits by returning.
import { FleetError } from '@fleetshard/core'
import { toFleetShardError } from './errors.ts'
import { toJsonParameters, type Parameter } from './parameters.ts'
import { SqlQuery, templateText, type SqlTag } from './sql-query.ts'
import type {
  Backend,
  CallOptions,
  OpenTransaction,
  Result,
  Row,
  Target,
  TransactionOptions,
} from './statement.ts'

/** Bounds of one statement inside a transaction. */
export type InnerOptions = Pick<CallOptions, 'signal' | 'timeoutMs'>

/** An open transaction; good until the function that it was given to has ended. */
export interface Transaction {
  /** A statement as a template; its rows are there at once, also when it is iterated. */
  readonly sql: SqlTag
  /** Runs a statement. One that fails ends the transaction, as in Postgres. @throws FleetShardError */
  readonly query: <R = Row>(
    text: string,
    params?: readonly Parameter[],
    options?: InnerOptions,
  ) => Promise<Result<R>>
}

/** Begins, works, ends. @throws what `work` throws, or FleetShardError of begin and commit */
export async function runTransaction<T>(
  backend: Backend,
  target: Target,
  work: (tx: Transaction) => Promise<T>,
  options: TransactionOptions,
): Promise<T> {
  const open = await told(backend.begin(target, options))
  const state: State = { ended: false, pending: new Set() }
  let value: T
  try {
    value = await work(handleOf(open, state))
    if (options.signal?.aborted === true) {
      throw toFleetShardError(
        new FleetError('canceled', 'the transaction was given up by its signal', {
          cause: options.signal.reason,
        }),
      )
    }
  } catch (error) {
    await finish(state)
    await open.rollback()
    throw error
  }
  await finish(state)
  await told(open.commit())
  return value
}

interface State {
  ended: boolean
  /** Statements under way. */
  readonly pending: Set<Promise<unknown>>
}

/** No more statements; those that nobody has waited for end first. */
async function finish(state: State): Promise<void> {
  state.ended = true
  await Promise.allSettled(state.pending)
}

function handleOf(open: OpenTransaction, state: State): Transaction {
  async function query<R>(
    text: string,
    params: readonly unknown[] = [],
    options: InnerOptions = {},
  ): Promise<Result<R>> {
    if (state.ended) throw toFleetShardError(overError())
    const running = told(runIn(open, text, { params, options }))
    state.pending.add(running)
    try {
      return (await running) as Result<R>
    } finally {
      state.pending.delete(running)
    }
  }
  async function* stream<R>(text: string, params: readonly unknown[]): AsyncGenerator<R, void, void> {
    yield* (await query<R>(text, params)).rows
  }
  return {
    query,
    sql: (strings, ...values) => new SqlQuery({ query, stream }, templateText(strings), values),
  }
}

const runIn = async (
  open: OpenTransaction,
  text: string,
  { params, options }: { readonly params: readonly unknown[]; readonly options: InnerOptions },
): Promise<Result> => open.execute({ text, params: toJsonParameters(params) }, options)

async function told<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (error) {
    throw toFleetShardError(error)
  }
}

function overError(): FleetError {
  return new FleetError('invalid_request', 'the transaction has ended', {
    hint: 'await every statement of a transaction inside its function',
  })
}
