// What the lexer makes of a simple-protocol Query: its statements, each with the key of the plan cache and the literals
// that were taken out of the text.
import type { RouteTarget } from '../hint.ts'

/** The kind of a literal that was taken out: it is part of the key, its value is not. */
export type LiteralKind = 'string' | 'integer' | 'number'

/** The literals of one text, in their order. */
export interface Literals {
  readonly count: number
  kind(index: number): LiteralKind
  /** Where it begins in the text that the grammar is shown (with `start` of the statement added). */
  startOf(index: number): number
  /** The value: of a string its text, of an integer its digits without leading zeros. A sign before it is no part of it. */
  text(index: number): string
}

/** One statement of a Query. Offsets count UTF-16 units of the whole Query. */
export interface LexedStatement {
  /** Where it begins, white space and comments before it left out, and where it ends, without the semicolon. */
  readonly start: number
  readonly end: number
  /** The statement as it was written; to be sent to the server. */
  readonly text: string
  /** Under which it is known to the plan cache. */
  readonly key: string
  /** What the grammar is to analyse when the key is not known: the text, under standard_conforming_strings. */
  readonly grammarText: string
  readonly literals: Literals
  /** Where its comments send it. */
  readonly hint: RouteTarget
}
