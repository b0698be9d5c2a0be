// What the analysis of a statement says about it, without knowing any keyspace: plain data, made once for a text
// and cached. plan.ts puts it together with the tables of a keyspace.

import type { Command } from './command.ts'
import type { Block } from './query.ts'

/** A column as a statement names it. */
export interface ColumnName {
  readonly qualifier: string | null
  readonly column: string
}

/**
 * A value that decides a shard: a parameter, or a literal as its text. `cast` is the type it is cast to, null for
 * none: only under the type of the key does the value reach the column as it stands here. `list` is set for an array,
 * each item of which is a key.
 */
export type Slot =
  | {
      readonly kind: 'parameter'
      readonly index: number
      readonly cast: string | null
      readonly list: boolean
    }
  | LiteralSlot
  | { readonly kind: 'null'; readonly list: boolean }

/** A literal of the statement. */
export interface LiteralSlot {
  readonly kind: 'literal'
  readonly text: string
  readonly cast: string | null
  readonly list: boolean
  /** True for a string, false for a number. */
  readonly quoted: boolean
  /** Which of the literals that the lexer takes out it is; null when it stays in the key. */
  readonly source: number | null
  /** A number behind a minus sign, which stays in the key. */
  readonly negative: boolean
}

/** One mention of a table; names of WITH queries are not among them. `written` for the target of INSERT, UPDATE, DELETE, MERGE, TRUNCATE and DDL. */
export interface TableUse {
  readonly schema: string | null
  readonly name: string
  readonly written: boolean
  /** FOR UPDATE and FOR NO KEY UPDATE lock its rows, LOCK the table: others wait for that. */
  readonly locked: boolean
}

/** Why a statement can't run on a shared connection, with the way out. */
export interface Refusal {
  readonly reason: string
  readonly hint: string
}

/**
 * `read`: changes nothing. `locking`: a SELECT that takes row locks. `write`: changes rows. `ddl`: changes the
 * schema. `opaque`: runs code that can't be seen (DO, CALL). `utility`: maintenance and SHOW.
 */
export type StatementKind = 'read' | 'locking' | 'write' | 'ddl' | 'opaque' | 'utility' | 'refused'

/** A table as FROM names it. */
export interface FromTable extends Pick<TableUse, 'schema' | 'name'> {
  readonly alias: string
}

/**
 * Whether the rows of a statement over all shards may simply be put together. `by-tables`: when each of `tables`
 * (joined) is a reference table or tied to the others by its key, and `optional` (of outer joins) and `inside` (of
 * subqueries) are reference tables. `ties` are columns that the statement says are equal.
 */
export type Concatenation =
  | { readonly kind: 'no'; readonly reason: string }
  | {
      readonly kind: 'by-tables'
      readonly tables: readonly FromTable[]
      readonly optional: readonly FromTable[]
      readonly inside: readonly FromTable[]
      readonly ties: readonly (readonly [ColumnName, ColumnName])[]
    }

/** All that planning needs to know of one statement. */
export interface StatementFacts {
  readonly kind: StatementKind
  readonly refusal: Refusal | null
  /** True when the statement is allowed inside /v1/transaction though it is refused alone (SET LOCAL, LOCK). */
  readonly transactionOnly: boolean
  /** True for EXPLAIN: the kind is then that of what would run. */
  readonly explained: boolean
  /** What the statement does to its session and its transaction. */
  readonly command: Command
  /** The highest n of its `$n`. */
  readonly parameters: number
  readonly tables: readonly TableUse[]
  /** What it reads and compares; of EXPLAIN, DECLARE, PREPARE and COPY the query inside. Null without a query. */
  readonly query: Block | null
  readonly concatenation: Concatenation
  /**
   * How many of the integers that the lexer takes out are values and nothing else, in a write without rows that come
   * back; 0 for other statements. See `writeTextOf`.
   */
  readonly plainNumbers: number
  /** Names, without schema, of called functions. */
  readonly functions: readonly string[]
  /** CURRENT_TIMESTAMP, CURRENT_USER and the like, which are called without being named as functions. */
  readonly hasValueFunctions: boolean
  /** Names of qualified columns and fields: each may be a function in `row.function` notation. */
  readonly fields: readonly string[]
  readonly operators: readonly string[]
  /** Names of types cast to. */
  readonly types: readonly string[]
}

/** Outcome of the analysis of a text. `position` counts characters from 1, as Postgres does. */
export type Analysis =
  | { readonly kind: 'statement'; readonly facts: StatementFacts }
  | { readonly kind: 'syntax'; readonly message: string; readonly position: number }
  | { readonly kind: 'several'; readonly count: number }
  | { readonly kind: 'empty' }
  | { readonly kind: 'too-complex' }
