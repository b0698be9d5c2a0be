// What the analysis of a statement says about it, without knowing any keyspace: plain data, made once for a text
// and cached. plan.ts puts it together with the tables of a keyspace.

import type { Command } from './command.ts'

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
export type Slot = (
  | {
      readonly kind: 'parameter'
      readonly index: number
      readonly cast: string | null
      readonly list: boolean
    }
  | LiteralSlot
  | { readonly kind: 'null'; readonly list: boolean }
) & { readonly through?: ColumnName }

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
  /** The name that columns are qualified with. */
  readonly alias: string
  readonly written: boolean
  /** True in the outermost FROM, and for the target of the statement itself: there `equalities` speak of it. */
  readonly outermost: boolean
}

/** `column = slot` or `column IN (slots)`, a conjunct of the outermost WHERE. */
export interface Equality extends ColumnName {
  readonly slots: readonly Slot[]
}

/** The rows of INSERT: per row and column a slot, or null where the value can't be seen. */
export interface InsertRows {
  /** Column names in order; null when the statement names none. */
  readonly columns: readonly string[] | null
  /** Null for DEFAULT VALUES and for set operations. */
  readonly rows: readonly (readonly (Slot | null)[])[] | null
  /** OVERRIDING USER VALUE: what is given for an identity column is not what is stored. */
  readonly overridden: boolean
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
  /** Conjuncts that compare a column with slots; empty where the outermost level has no plain WHERE. */
  readonly equalities: readonly Equality[]
  readonly insert: InsertRows | null
  /** Columns that an UPDATE, or the DO UPDATE of an INSERT, sets. */
  readonly assigned: readonly string[]
  /** Names, without schema, of called functions. */
  readonly functions: readonly string[]
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
