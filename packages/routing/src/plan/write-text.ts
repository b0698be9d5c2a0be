// Writes that name numbers only as values: they can be prepared once and run with others, which spares the server the
// work of reading and planning each of them.
import type { KnownStatement } from './cache.ts'
import { Kind, Scanner } from './lexer/scanner.ts'
import { keyLengthMax, type LookupText } from './lookup-text.ts'

/**
 * The statement of that lexed key with a parameter in place of each integer; null where literals of other kinds are
 * taken out, or where one may be more than a value. Integers have a type of their own, and what a parameter of it gives
 * is what they give. Strings become what the place wants: what is wrong with one would be told in other words.
 */
export function writeTextOf({ facts }: KnownStatement, key: string): LookupText | null {
  const { plainNumbers } = facts
  if (plainNumbers === 0 || facts.parameters > 0 || key.length > keyLengthMax) return null
  let count = 0
  const text = key.replaceAll('\0i', () => ` $${String((count += 1))} `)
  if (count !== plainNumbers || text.includes('\0')) return null
  return { text, kinds: Array.from({ length: count }, () => 'integer' as const) }
}

/**
 * Where in a Query stands what stands there in the text that was prepared of it: the same tokens, but for comments.
 * Positions count characters from 1, as Postgres does. Null where there is no such place.
 * @param start of the statement in the Query, UTF-16 units
 */
export function positionInQuery(
  prepared: string,
  position: number,
  { query, start }: { readonly query: string; readonly start: number },
): number | null {
  const at = unitsOf(prepared, position - 1)
  const there = new Scanner(prepared, true)
  const here = new Scanner(query, true)
  here.end = start
  while (nextToken(there) && nextToken(here)) {
    if (there.end <= at) continue
    // Within a name, or behind the blank in front of a parameter.
    const inside = there.start <= at && at < there.end ? at - there.start : 0
    return charactersIn(query, Math.min(here.start + inside, here.end - 1)) + 1
  }
  return null
}

function nextToken(scanner: Scanner): boolean {
  for (let kind = scanner.next(); kind !== Kind.end; kind = scanner.next())
    if (kind !== Kind.comment) return true
  return false
}

/** UTF-16 units in front of a character. */
function unitsOf(text: string, characters: number): number {
  let units = 0
  for (let left = characters; left > 0 && units < text.length; left -= 1)
    units += (text.codePointAt(units) ?? 0) > 0xffff ? 2 : 1
  return units
}

function charactersIn(text: string, units: number): number {
  let characters = 0
  for (let at = 0; at < units; at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1) characters += 1
  return characters
}
