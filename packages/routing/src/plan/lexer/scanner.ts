// Tokens of a SQL text, by the rules of Postgres' scanner (src/backend/parser/scan.l): where each begins and ends, and
// of which kind it is. Never fails: what Postgres would refuse is a token up to where it ends or the text does.

/** Kinds of tokens. Values are small numbers: the scanner runs for every statement of the simple protocol. */
export const Kind = {
  end: 0,
  word: 1,
  quotedName: 2,
  operator: 3,
  /** One of `, ( ) [ ] . ; :` or anything else that stands alone. */
  sign: 4,
  typecast: 5,
  parameter: 6,
  /** Decimal digits only. */
  integer: 7,
  /** Decimal with a point or an exponent. */
  decimal: 8,
  /** Other bases, underscores, and what Postgres calls trailing junk. */
  otherNumber: 9,
  /** `'…'` without anything that needs decoding. */
  plainString: 10,
  /** `'…'` with doubled quotes, or continued on another line. */
  quotedString: 11,
  /** E'…', and `'…'` when backslashes escape, with simple escapes only. */
  escapedString: 12,
  dollarString: 13,
  /** Strings whose value is not read here: U&'…', numeric escapes, B'…', X'…'. */
  otherString: 14,
  comment: 15,
} as const
/** One of the values of `Kind`. */
export type Kind = (typeof Kind)[keyof typeof Kind]

const newline = 10
const carriageReturn = 13
const quote = 39
const backslash = 92
const dollar = 36

/** Classes of characters: one bit each. */
const isSpaceBit = 1
const isNameStartBit = 2
const isNameBit = 4
const isDigitBit = 8
const isOperatorBit = 16
const isTagBit = 32

const CLASSES = new Uint8Array(128)
for (const code of [9, newline, 11, 12, carriageReturn, 32]) CLASSES[code] = isSpaceBit
for (let code = 0; code < 26; code += 1) {
  CLASSES[65 + code] = CLASSES[97 + code] = isNameStartBit | isNameBit | isTagBit
}
CLASSES[95] = isNameStartBit | isNameBit | isTagBit
for (let code = 48; code <= 57; code += 1) CLASSES[code] = isDigitBit | isNameBit | isTagBit
CLASSES[dollar] = isNameBit
for (const char of '~!@#^&|`?+-*/%<>=') CLASSES[char.charCodeAt(0)] = isOperatorBit

/** Beyond ASCII everything is a letter. */
const beyond = isNameStartBit | isNameBit | isTagBit

const classOf = (code: number): number => (code < 128 ? (CLASSES[code] ?? 0) : beyond)

/** Reads one text from its beginning to its end. */
export class Scanner {
  readonly text: string
  /** Whether backslashes are plain characters in `'…'`. */
  readonly standardStrings: boolean
  /** The operators in a row that were seen last: where they end, and where without the plus and minus at their end. */
  #runEnd = 0
  #runCut = 0
  #runIsOdd = false
  /** Of the token that `next` has found. */
  start = 0
  end = 0

  constructor(text: string, standardStrings: boolean) {
    this.text = text
    this.standardStrings = standardStrings
  }

  /** Goes to the next token; comments are tokens, white space is not. */
  next(): Kind {
    const { text } = this
    const { length } = text
    let at = this.end
    while (at < length && classOf(text.charCodeAt(at)) === isSpaceBit) at += 1
    this.start = at
    if (at >= length) {
      this.end = length
      return Kind.end
    }
    const code = text.charCodeAt(at)
    const is = classOf(code)
    if ((is & isNameStartBit) !== 0) return this.#word(at, code)
    if (is === isOperatorBit) return this.#operator(at)
    if ((is & isDigitBit) !== 0) return this.#number(at)
    switch (code) {
      case quote:
        return this.#string(at + 1, !this.standardStrings)
      case 34:
        return this.#quotedName(at + 1)
      case dollar:
        return this.#dollar(at)
      case 46:
        return this.#point(at)
      case 58:
        return this.#colon(at)
      default:
        this.end = at + 1
        return Kind.sign
    }
  }

  #word(at: number, code: number): Kind {
    const { text } = this
    const next = text.charCodeAt(at + 1)
    if (next === quote) {
      switch (code | 32) {
        case 101:
          return this.#string(at + 2, true)
        case 98:
        case 120:
          return this.#bits(at + 2)
        default:
      }
    } else if (next === 38 && (code | 32) === 117) {
      const after = text.charCodeAt(at + 2)
      if (after === 34) return this.#quotedName(at + 3)
      if (after === quote) {
        this.#string(at + 3, false)
        return Kind.otherString
      }
    }
    let end = at + 1
    while (end < text.length && (classOf(text.charCodeAt(end)) & isNameBit) !== 0) end += 1
    this.end = end
    return Kind.word
  }

  #quotedName(from: number): Kind {
    const { text } = this
    for (let at = from; ; at += 2) {
      at = text.indexOf('"', at)
      if (at < 0) {
        this.end = text.length
        break
      }
      if (text.charCodeAt(at + 1) !== 34) {
        this.end = at + 1
        break
      }
    }
    return Kind.quotedName
  }

  /** From behind the opening quote to behind the last closing one: pieces on several lines are one string. */
  #string(from: number, escapes: boolean): Kind {
    let kind: Kind = escapes ? Kind.escapedString : Kind.plainString
    let at = from
    for (;;) {
      const piece = escapes ? this.#escapedPiece(at) : this.#piece(at)
      if (piece > kind) kind = piece
      const more = continuation(this.text, this.end)
      if (more < 0) return kind
      if (kind === Kind.plainString) kind = Kind.quotedString
      at = more
    }
  }

  /** B'…' and X'…' know no doubled quotes. */
  #bits(from: number): Kind {
    const { text } = this
    for (let at = from; at >= 0; at = continuation(text, this.end)) {
      const close = text.indexOf("'", at)
      this.end = close < 0 ? text.length : close + 1
    }
    return Kind.otherString
  }

  #piece(from: number): Kind {
    const { text } = this
    let kind: Kind = Kind.plainString
    for (let at = text.indexOf("'", from); at >= 0; at = text.indexOf("'", at + 2)) {
      if (text.charCodeAt(at + 1) !== quote) {
        this.end = at + 1
        return kind
      }
      kind = Kind.quotedString
    }
    this.end = text.length
    return Kind.otherString
  }

  #escapedPiece(from: number): Kind {
    const { text } = this
    let kind: Kind = Kind.escapedString
    for (let at = from; at < text.length; at += 1) {
      const code = text.charCodeAt(at)
      if (code === backslash) {
        at += 1
        if (isNumericEscape(text.charCodeAt(at))) kind = Kind.otherString
      } else if (code === quote) {
        if (text.charCodeAt(at + 1) !== quote) {
          this.end = at + 1
          return kind
        }
        at += 1
      }
    }
    this.end = text.length
    return Kind.otherString
  }

  /** `$1`, `$tag$…$tag$`, or a dollar sign by itself. */
  #dollar(at: number): Kind {
    const { text } = this
    let end = at + 1
    const first = classOf(text.charCodeAt(end))
    if ((first & isDigitBit) !== 0 && end < text.length) {
      while (end < text.length && (classOf(text.charCodeAt(end)) & isDigitBit) !== 0) end += 1
      this.end = end
      return Kind.parameter
    }
    while (end < text.length && (classOf(text.charCodeAt(end)) & isTagBit) !== 0) end += 1
    if (text.charCodeAt(end) !== dollar) {
      this.end = at + 1
      return Kind.sign
    }
    const tag = text.slice(at, end + 1)
    const close = text.indexOf(tag, end + 1)
    this.end = close < 0 ? text.length : close + tag.length
    return close < 0 ? Kind.otherString : Kind.dollarString
  }

  #point(at: number): Kind {
    const { text } = this
    const next = text.charCodeAt(at + 1)
    if ((classOf(next) & isDigitBit) !== 0 && next < 128) return this.#number(at)
    this.end = next === 46 ? at + 2 : at + 1
    return Kind.sign
  }

  #colon(at: number): Kind {
    const next = this.text.charCodeAt(at + 1)
    this.end = next === 58 || next === 61 ? at + 2 : at + 1
    return next === 58 ? Kind.typecast : Kind.sign
  }

  /** Digits first, the common case; everything else of numbers in `#oddNumber`. */
  #number(at: number): Kind {
    const { text } = this
    let end = at
    while (end < text.length && (classOf(text.charCodeAt(end)) & isDigitBit) !== 0) end += 1
    const code = text.charCodeAt(end)
    const plain = end >= text.length || (code !== 46 && (classOf(code) & isNameBit) === 0)
    if (plain || code === dollar) {
      this.end = end
      return Kind.integer
    }
    return this.#oddNumber(at)
  }

  #oddNumber(at: number): Kind {
    number.lastIndex = at
    const match = number.exec(this.text)
    this.end = match === null ? at + 1 : number.lastIndex
    if (match === null) return Kind.otherNumber
    const found = match[0]
    if (/^\d+$/.test(found)) return Kind.integer
    return /^[\d.]+(?:[eE][-+]?\d+)?$/.test(found) ? Kind.decimal : Kind.otherNumber
  }

  /** Ends where a comment begins, and before a trailing plus or minus unless one of `~!@#^&|?%` came before. */
  #operator(at: number): Kind {
    const { text } = this
    const code = text.charCodeAt(at)
    const next = text.charCodeAt(at + 1)
    if (code === 45 && next === 45) return this.#lineComment(at)
    if (code === 47 && next === 42) return this.#blockComment(at)
    // What is left of a run after `+` or `-` was cut off is not looked through again.
    if (at >= this.#runEnd) this.#findRun(at)
    const end = this.#runIsOdd ? this.#runEnd : Math.max(at + 1, this.#runCut)
    this.end = end
    return Kind.operator
  }

  #findRun(at: number): void {
    const { text } = this
    let end = at + 1
    while (end < text.length && isOperatorAt(text, end)) end += 1
    let cut = end
    while (cut > at + 1 && isSignAt(text, cut - 1)) cut -= 1
    this.#runEnd = end
    this.#runCut = cut
    this.#runIsOdd = cut < end && holdsOdd(text, at, end)
  }

  #lineComment(at: number): Kind {
    this.end = lineEnd(this.text, at + 2)
    return Kind.comment
  }

  /** Comments nest. */
  #blockComment(from: number): Kind {
    const { text } = this
    let depth = 1
    let at = from + 2
    // Both are looked for again only once they lie behind: many nested comments take no more than their length.
    let open = text.indexOf('/*', at)
    let close = text.indexOf('*/', at)
    while (depth > 0 && close >= 0) {
      const nested = open >= 0 && open < close
      depth += nested ? 1 : -1
      at = (nested ? open : close) + 2
      if (open >= 0 && open < at) open = text.indexOf('/*', at)
      if (close < at) close = text.indexOf('*/', at)
    }
    if (depth > 0) at = text.length
    this.end = at
    return Kind.comment
  }
}

/**
 * Numbers that are more than digits. A point followed by another belongs to `..`; what follows without a break is the
 * junk that Postgres refuses.
 */
const number =
  /(?:0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|(?:\d(?:_?\d)*(?:\.(?!\.)(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:[eE][-+]?\d(?:_?\d)*)?)(?:[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)?/y

/** True where an operator goes on: not where a comment begins. */
function isOperatorAt(text: string, at: number): boolean {
  const code = text.charCodeAt(at)
  if (code >= 128 || CLASSES[code] !== isOperatorBit) return false
  const next = text.charCodeAt(at + 1)
  return !((code === 45 && next === 45) || (code === 47 && next === 42))
}

/** Plus or minus. */
function isSignAt(text: string, at: number): boolean {
  const code = text.charCodeAt(at)
  return code === 43 || code === 45
}

const oddOperators = new Set(Array.from('~!@#^&|`?%', (char) => char.charCodeAt(0)))

function holdsOdd(text: string, from: number, end: number): boolean {
  for (let at = from; at < end; at += 1) if (oddOperators.has(text.charCodeAt(at))) return true
  return false
}

/** Escapes of a string that stand for a character by its number: octal, \x, \u, \U; and a backslash at the end. */
const isNumericEscape = (code: number): boolean =>
  (code >= 48 && code <= 55) || code === 120 || (code | 32) === 117 || Number.isNaN(code)

function lineEnd(text: string, from: number): number {
  let at = from
  for (; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === newline || code === carriageReturn) break
  }
  return at
}

/** Behind the quote of the next piece of a string, or -1: white space with a line break, and comments, lie between. */
function continuation(text: string, from: number): number {
  let at = from
  let broken = false
  for (;;) {
    const code = text.charCodeAt(at)
    if (code === newline || code === carriageReturn) {
      broken = true
      at += 1
    } else if (code < 128 && CLASSES[code] === isSpaceBit) at += 1
    else if (code === 45 && text.charCodeAt(at + 1) === 45) {
      at = lineEnd(text, at + 2)
      // Behind the first line break, a comment counts only with the break that ends it.
      if (at >= text.length) return -1
    } else return code === quote && broken ? at + 1 : -1
  }
}
