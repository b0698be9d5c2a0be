// Prefixes as ranges: the keys that begin with a text are those from it to its end, in the order of code points,
// which is also the order of UTF-8 bytes.

const codePointMax = 0x10ffff
const surrogatesFirst = 0xd800
const surrogatesLast = 0xdfff

/** The first text after all that begin with the prefix; null when there is none. */
export function prefixEnd(prefix: string): string | null {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0)
  while (points.at(-1) === codePointMax) points.pop()
  const last = points.pop()
  if (last === undefined) return null
  const next = last + 1 === surrogatesFirst ? surrogatesLast + 1 : last + 1
  return String.fromCodePoint(...points, next)
}
