// A statement written as a template, on its way: awaited it gives the rows, iterated it streams them. It runs once,
// when it is first asked for.
import { FleetError } from '@fleetshard/core'
import type { Parameter } from './parameters.ts'
import type { Result, Row } from './statement.ts'
import { toFleetShardError } from './errors.ts'

/** What a query does when it is awaited or iterated. */
export interface QueryRunner {
  readonly query: <R>(text: string, values: readonly unknown[]) => Promise<Result<R>>
  readonly stream: <R>(text: string, values: readonly unknown[]) => AsyncGenerator<R, void, void>
}

/** A statement that runs when it is awaited (rows at once) or iterated (rows as they come). */
export class SqlQuery<R = Row> implements PromiseLike<R[]>, AsyncIterable<R> {
  readonly #runner: QueryRunner
  readonly #text: string
  readonly #values: readonly unknown[]
  #result: Promise<Result<R>> | null = null

  /** Made by the `sql` tags. */
  constructor(runner: QueryRunner, text: string, values: readonly unknown[]) {
    this.#runner = runner
    this.#text = text
    this.#values = values
  }

  /** The whole result, with row count and columns. The same result however often it is asked for. */
  result(): Promise<Result<R>> {
    this.#result ??= this.#runner.query<R>(this.#text, this.#values)
    return this.#result
  }

  // oxlint-disable-next-line unicorn/no-thenable -- to be awaited is what it is for
  then<A = R[], B = never>(
    onFulfilled?: ((rows: R[]) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.result()
      .then(({ rows }) => rows)
      .then(onFulfilled, onRejected)
  }

  /** Rows as they come from the server. Leaving the loop early cancels the statement and frees its connection. */
  [Symbol.asyncIterator](): AsyncGenerator<R, void, void> {
    return this.#runner.stream<R>(this.#text, this.#values)
  }
}

/** Texts by their template: a template that is run again and again is put together once. */
const texts = new WeakMap<TemplateStringsArray, string>()

/** The text of a template with `$1`, `$2`, … where values stand. Values never become part of it. */
export function templateText(strings: TemplateStringsArray): string {
  let text = texts.get(strings)
  if (text === undefined) {
    if (!Array.isArray(strings) || !Array.isArray(strings.raw)) {
      throw toFleetShardError(
        new FleetError('invalid_request', 'sql is a template tag and was called as a function', {
          hint: 'write sql`select …`, or query(text, params)',
        }),
      )
    }
    text = strings.reduce((before, part, index) => `${before}$${String(index)}${apart(part)}`)
    texts.set(strings, text)
  }
  return text
}

/** A digit or letter behind `$1` would make another parameter of it. */
const apart = (part: string): string => (/^[\w$]/.test(part) ? ` ${part}` : part)

/** A template tag: values become parameters. */
export type SqlTag = <R = Row>(strings: TemplateStringsArray, ...values: readonly Parameter[]) => SqlQuery<R>
