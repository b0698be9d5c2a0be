// Cuts a simple-protocol Query into its statements, as Postgres does, and takes the literals out of each, so that
// statements which differ only in values share one entry of the plan cache. Where a literal may change what the
// statement means (positions, lengths, limits, intervals) it stays in the key.
import { FleetError } from '@fleetshard/core'
import { isHint, joinHints, noTarget, parseHint, type RouteTarget } from '../hint.ts'
import type { LexedStatement } from './lexed.ts'
import { literalMark, noLiterals, TextLiterals } from './literals.ts'
import { Kind, Scanner } from './scanner.ts'
import { Word, wordAt } from './words.ts'

/** How a session's server reads texts. */
export interface LexOptions {
  /** The setting standard_conforming_strings. */
  readonly standardStrings: boolean
}

const standard: LexOptions = { standardStrings: true }

/** Statements of one Query; more are refused. */
export const statementsMax = 10_000

/**
 * The statements of a Query, without the empty ones.
 * @throws FleetError `invalid_request` for a malformed hint, or more than `statementsMax` statements
 */
export function lexQuery(text: string, options: LexOptions = standard): LexedStatement[] {
  const scanner = new Scanner(text, options.standardStrings)
  const statements: LexedStatement[] = []
  let hint = noTarget
  for (;;) {
    const reader = new StatementReader(scanner, hint)
    const last = reader.read()
    const statement = reader.finish()
    hint = statement === null ? reader.hint : noTarget
    if (statement !== null) statements.push(statement)
    if (last) return withTrailingHint(statements, hint)
    if (statements.length > statementsMax) {
      throw new FleetError(
        'invalid_request',
        `the query holds more than ${String(statementsMax)} statements`,
        {
          hint: 'send fewer at once',
        },
      )
    }
  }
}

/** A hint behind the last semicolon is that of the statement before it, when it is the only one. */
function withTrailingHint(statements: LexedStatement[], hint: RouteTarget): LexedStatement[] {
  const [only] = statements
  if (hint.kind === 'none') return statements
  if (only !== undefined && statements.length === 1) return [{ ...only, hint: joinHints(only.hint, hint) }]
  throw new FleetError('invalid_request', 'a hint belongs to no statement', {
    hint: 'write it before the semicolon of its statement',
  })
}

const mentionsHint = /fleetshard:/i

/** The hint in the comments of one statement. @throws FleetError `invalid_request` */
export function hintOf(text: string): RouteTarget {
  if (!mentionsHint.test(text)) return noTarget
  return lexQuery(text)[0]?.hint ?? noTarget
}

const noDepth = 1_000_000
/** No word came before that could be the name of a type. */
const nothing = -1

const singleQuote = 39
const openParenthesis = 40
const closeParenthesis = 41
const minus = 45
const point = 46
const semicolon = 59
const openBracket = 91
const closeBracket = 93

/** How far a CREATE FUNCTION with a BEGIN ATOMIC body has been read. */
type Routine = 'no' | 'created' | 'routine' | 'body'

/** Reads one statement up to its semicolon. */
class StatementReader {
  readonly #scanner: Scanner
  readonly #text: string
  #from: number
  hint: RouteTarget
  /** A hint that must turn out to be the last thing of the statement. */
  #trailing: RouteTarget = noTarget
  #isEmpty = true
  /** Where its last token ends. */
  #last = 0
  /** Up to where the text has gone into the key. */
  #taken = 0
  #key = ''
  #literals: TextLiterals | null = null
  /** Whether it is a statement whose literals are taken out. */
  #takes = false
  #depth = 0
  /** Literals at this depth of parentheses and below stay in the key. */
  #keepFrom = noDepth
  /** Literals stay while a type name is read. */
  #inType = false
  #before: Word | typeof nothing = nothing
  /** The token before was a semicolon. */
  #afterSemicolon = false
  #routine: Routine = 'no'
  /** Where strings begin whose backslashes are escapes though they have no E. */
  #bare: number[] | null = null

  constructor(scanner: Scanner, hint: RouteTarget) {
    this.#scanner = scanner
    this.#text = scanner.text
    this.#from = scanner.end
    this.hint = hint
  }

  /** True at the end of the text. */
  read(): boolean {
    const scanner = this.#scanner
    for (;;) {
      const kind = scanner.next()
      if (kind === Kind.end) return true
      if (kind === Kind.comment) {
        this.#comment(scanner.start, scanner.end)
        continue
      }
      if (this.#isEmpty && kind === Kind.sign && this.hint.kind === 'none' && this.#isSemicolon()) {
        this.#from = scanner.end
        continue
      }
      const isSemicolon = kind === Kind.sign && this.#isSemicolon()
      if (isSemicolon && this.#depth <= 0 && this.#routine !== 'body') return false
      if (this.#trailing.kind !== 'none') throw hintInside()
      if (this.#isEmpty) this.#begin(kind)
      this.#last = scanner.end
      this.#take(kind)
      this.#afterSemicolon = isSemicolon
    }
  }

  #isSemicolon(): boolean {
    return this.#text.charCodeAt(this.#scanner.start) === semicolon
  }

  /** What was read; null when there is nothing but white space and comments. */
  finish(): LexedStatement | null {
    if (this.#isEmpty) return null
    const text = this.#text
    const start = skipSpace(text, this.#from)
    const end = trimSpace(text, this.#scanner.start)
    const whole = text.slice(start, end)
    const hint = joinHints(this.hint, this.#trailing)
    if (this.#bare !== null) return this.#readAgain({ start, end, text: whole, hint })
    // A NUL marks what was taken out; no text of the wire holds one.
    const literals = whole.includes('\0') ? null : (this.#literals ?? noLiterals)
    const key = literals === null ? whole : this.#key + text.slice(this.#taken, this.#last)
    return { start, end, text: whole, key, grammarText: whole, literals: literals ?? noLiterals, hint }
  }

  /** Without standard_conforming_strings `'a\b'` reads as `E'a\b'`, which is what the grammar is shown. */
  #readAgain(span: Pick<LexedStatement, 'start' | 'end' | 'text' | 'hint'>): LexedStatement {
    let grammarText = ''
    let at = span.start
    for (const bare of this.#bare ?? []) {
      grammarText += `${this.#text.slice(at, bare)}E`
      at = bare
    }
    grammarText += this.#text.slice(at, span.end)
    const [again] = lexQuery(grammarText)
    const { key, literals } = again ?? { key: grammarText, literals: noLiterals }
    return { ...span, grammarText, key, literals }
  }

  #begin(kind: Kind): void {
    const { start, end } = this.#scanner
    this.#isEmpty = false
    this.#taken = start
    const word = kind === Kind.word ? wordAt(this.#text, start, end) : Word.other
    this.#takes =
      word === Word.rows || (kind === Kind.sign && this.#text.charCodeAt(start) === openParenthesis)
    if (word === Word.create) this.#routine = 'created'
  }

  #take(kind: Kind): void {
    switch (kind) {
      case Kind.word:
        this.#word()
        return
      case Kind.quotedName:
        this.#before = Word.other
        return
      case Kind.sign:
        this.#sign(this.#text.charCodeAt(this.#scanner.start))
        return
      case Kind.typecast:
        this.#inType = true
        this.#before = nothing
        return
      case Kind.operator:
      case Kind.parameter:
        break
      default:
        this.#literal(kind)
    }
    this.#inType = false
    this.#before = nothing
  }

  #word(): void {
    const word = wordAt(this.#text, this.#scanner.start, this.#scanner.end)
    if (word === Word.clause) this.#keepFrom = Math.min(this.#keepFrom, this.#depth)
    else if (word === Word.as) this.#inType = true
    if (this.#routine !== 'no') this.#routineWord(word)
    this.#before = word
  }

  /** CREATE … FUNCTION … BEGIN ATOMIC …; END: the semicolons inside do not end the statement. */
  #routineWord(word: Word): void {
    if (this.#routine === 'created') {
      if (word === Word.routine) this.#routine = 'routine'
    } else if (this.#routine === 'body') {
      if (word === Word.end && (this.#afterSemicolon || this.#before === Word.atomic)) this.#routine = 'no'
    } else if (word === Word.atomic && this.#before === Word.begin && this.#depth === 0) {
      this.#routine = 'body'
    }
  }

  #sign(code: number): void {
    const before = this.#before
    this.#before = nothing
    switch (code) {
      case openParenthesis:
        this.#depth += 1
        if (this.#isLength(before)) this.#keepFrom = Math.min(this.#keepFrom, this.#depth)
        break
      case closeParenthesis:
        this.#depth -= 1
        if (this.#depth < this.#keepFrom && this.#keepFrom !== noDepth) {
          this.#keepFrom = noDepth
          // Behind `interval(3)` a literal is one of that type.
          this.#before = Word.interval
        }
        break
      case point:
        this.#before = Word.other
        return
      case openBracket:
      case closeBracket:
        return
      default:
    }
    this.#inType = false
  }

  /** Parentheses behind the name of a type hold its length. */
  #isLength(before: Word | typeof nothing): boolean {
    if (before === Word.type || before === Word.interval) return true
    return this.#inType && before !== nothing && before !== Word.as
  }

  #literal(kind: Kind): void {
    const { start, end, standardStrings } = this.#scanner
    const text = this.#text
    if (!standardStrings && text.charCodeAt(start) === singleQuote && text.slice(start, end).includes('\\')) {
      this.#bare ??= []
      this.#bare.push(start)
    }
    const mark = literalMark(kind)
    if (!this.#takes || mark === '' || this.#stays()) return
    this.#literals ??= new TextLiterals(text)
    this.#literals.add(kind, start, end)
    this.#key += text.slice(this.#taken, start) + mark
    this.#taken = end
  }

  #stays(): boolean {
    return (
      this.#inType ||
      this.#depth >= this.#keepFrom ||
      this.#before === Word.interval ||
      this.#before === Word.uescape
    )
  }

  #comment(start: number, end: number): void {
    const text = this.#text
    const inner = text.slice(start + 2, text.charCodeAt(start) === minus ? end : end - 2)
    if (isHint(inner)) {
      const hint = parseHint(inner)
      if (this.#isEmpty) this.hint = joinHints(this.hint, hint)
      else this.#trailing = joinHints(this.#trailing, hint)
    }
    if (this.#isEmpty) return
    // Comments are no part of the key: they often hold something of each call.
    this.#key += `${text.slice(this.#taken, start)} `
    this.#taken = this.#last = end
  }
}

function hintInside(): FleetError {
  return new FleetError('invalid_request', 'a hint stands inside the statement', {
    hint: 'write it before or after the statement',
  })
}

const isSpace = (code: number): boolean => code === 32 || (code >= 9 && code <= 13)

function skipSpace(text: string, from: number): number {
  let at = from
  while (at < text.length && isSpace(text.charCodeAt(at))) at += 1
  return at
}

function trimSpace(text: string, from: number): number {
  let at = from
  while (at > 0 && isSpace(text.charCodeAt(at - 1))) at -= 1
  return at
}
