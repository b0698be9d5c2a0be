// The literals that were taken out of a text, decoded when somebody asks for their values.
import type { LiteralKind, Literals } from './lexed.ts'
import { Kind } from './scanner.ts'

/** What stands in the key for a literal of that token kind; empty for one that is not taken out. */
export function literalMark(kind: Kind): string {
  switch (kind) {
    case Kind.plainString:
    case Kind.quotedString:
    case Kind.escapedString:
    case Kind.dollarString:
      return '\0s'
    case Kind.integer:
      return '\0i'
    case Kind.decimal:
      return '\0n'
    default:
      return ''
  }
}

/** A text without any. */
export const noLiterals: Literals = {
  count: 0,
  kind: () => 'string',
  startOf: () => -1,
  text: () => '',
}

/** Literals as places of their text. */
export class TextLiterals implements Literals {
  readonly #text: string
  readonly #kinds: Kind[] = []
  readonly #starts: number[] = []
  readonly #ends: number[] = []

  constructor(text: string) {
    this.#text = text
  }

  get count(): number {
    return this.#kinds.length
  }

  add(kind: Kind, start: number, end: number): void {
    this.#kinds.push(kind)
    this.#starts.push(start)
    this.#ends.push(end)
  }

  kind(index: number): LiteralKind {
    const kind = this.#kinds[index]
    if (kind === Kind.integer) return 'integer'
    return kind === Kind.decimal ? 'number' : 'string'
  }

  startOf(index: number): number {
    return this.#starts[index] ?? -1
  }

  text(index: number): string {
    const kind = this.#kinds[index]
    const start = this.#starts[index] ?? 0
    const end = this.#ends[index] ?? 0
    switch (kind) {
      case Kind.plainString:
        return this.#text.slice(start + 1, end - 1)
      case Kind.quotedString:
      case Kind.escapedString:
        return piecesOf(this.#text, start, end)
      case Kind.dollarString: {
        const tag = this.#text.indexOf('$', start + 1) + 1 - start
        return this.#text.slice(start + tag, end - tag)
      }
      case Kind.integer:
        return withoutZeros(this.#text.slice(start, end))
      default:
        return this.#text.slice(start, end)
    }
  }
}

const withoutZeros = (digits: string): string =>
  digits.startsWith('0') ? digits.replace(/^0+(?=\d)/, '') : digits

const CONTROLS: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }

/** The value of a string that may hold doubled quotes, simple escapes and several pieces. */
function piecesOf(text: string, start: number, end: number): string {
  const opening = text.charCodeAt(start) === 39 ? start : start + 1
  const escapes = opening > start
  let value = ''
  let at = opening + 1
  while (at < end) {
    const code = text.charCodeAt(at)
    if (escapes && code === 92) {
      const escaped = text[at + 1] ?? ''
      value += CONTROLS[escaped] ?? escaped
      at += 2
    } else if (code !== 39) {
      value += text[at]
      at += 1
    } else if (text.charCodeAt(at + 1) === 39 && at + 1 < end) {
      value += "'"
      at += 2
    } else at = nextPiece(text, at + 1, end)
  }
  return value
}

/** Behind the quote that opens the next piece, or the end of the string. */
function nextPiece(text: string, from: number, end: number): number {
  let at = from
  while (at < end && text.charCodeAt(at) !== 39) {
    if (text.charCodeAt(at) === 45) {
      // A comment between the pieces may hold quotes.
      while (at < end && text.charCodeAt(at) !== 10 && text.charCodeAt(at) !== 13) at += 1
    } else at += 1
  }
  return at < end ? at + 1 : end
}
