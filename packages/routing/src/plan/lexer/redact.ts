// A statement as logs may show it: names and words as they were, and `?` for whatever may be somebody's data.
import { Kind, Scanner } from './scanner.ts'

/** Characters that are kept. */
export const redactedCharsMax = 500

const SHOWN: ReadonlySet<Kind> = new Set([
  Kind.word,
  Kind.quotedName,
  Kind.operator,
  Kind.sign,
  Kind.typecast,
  Kind.parameter,
])

/**
 * The text without its literals and comments, cut at `redactedCharsMax`. Where it is not certain what is a literal, since
 * that depends on a setting of the session, only the first word is left.
 */
export function redactStatement(text: string): string {
  const plain = redact(text, true)
  if (!text.includes('\\') || plain === redact(text, false)) return plain
  return `${/[a-z]+/i.exec(plain)?.[0] ?? '?'} …`
}

/** A list of literals, of any length. */
const literalList = /\?(?: ?, ?\?)+/g

function redact(text: string, standardStrings: boolean): string {
  const scanner = new Scanner(text, standardStrings)
  let out = ''
  let end = 0
  for (let kind = scanner.next(); kind !== Kind.end; kind = scanner.next()) {
    if (kind === Kind.comment) continue
    if (scanner.start > end && out !== '') out += ' '
    out += SHOWN.has(kind) ? text.slice(scanner.start, scanner.end) : '?'
    end = scanner.end
    // Lists are shortened below.
    if (out.length > 4 * redactedCharsMax) break
  }
  const short = out.replaceAll(literalList, '?, …')
  return short.length <= redactedCharsMax ? short : `${short.slice(0, redactedCharsMax)}…`
}
