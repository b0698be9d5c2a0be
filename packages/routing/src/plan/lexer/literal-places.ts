// Which of the literals that the lexer takes out a constant of the parse tree is.
import { lexQuery } from './lex.ts'

/** What may lie between where a negative number begins and its digits. */
const signs = /^[-\s(]*$/

/**
 * For one text, finds the literal of a constant by its place, which the grammar counts in bytes of UTF-8; a number
 * behind a minus sign begins at the sign. `source` is null for a literal that stays in the key; the whole is null when
 * it cannot be told which it is.
 */
export function literalsIn(
  text: string,
): (location: number) => { source: number | null; negative: boolean } | null {
  const [statement] = lexQuery(text)
  const literals = statement?.literals
  const unitAt = unitsIn(text)
  let next = 0
  return (location) => {
    const at = unitAt(location)
    if (literals === undefined) return { source: null, negative: false }
    if (next > 0 && literals.startOf(next - 1) >= at) next = 0
    while (next < literals.count && literals.startOf(next) < at) next += 1
    const start = next < literals.count ? literals.startOf(next) : -1
    const between = start < 0 ? null : text.slice(at, start)
    if (between !== null && signs.test(between)) {
      return { source: next, negative: between.split('-').length % 2 === 0 }
    }
    return text.charAt(at) === '-' ? null : { source: null, negative: false }
  }
}

/** From a count of bytes to one of UTF-16 units. */
function unitsIn(text: string): (bytes: number) => number {
  if (Buffer.byteLength(text) === text.length) return (bytes) => bytes
  const units: number[] = []
  let unit = 0
  for (const char of text) {
    for (let left = Buffer.byteLength(char); left > 0; left -= 1) units.push(unit)
    unit += char.length
  }
  return (bytes) => units[bytes] ?? unit
}
