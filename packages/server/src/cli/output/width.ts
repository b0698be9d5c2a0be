// How many cells of a terminal a text takes, and how it is made safe to print: rows come from databases, and a
// control character in them must not move the cursor or write the clipboard.

/** Ranges of wide characters (two cells): CJK, Hangul, kana, full-width forms, emoji. Unicode TR 11, in short. */
const WIDE: readonly (readonly [number, number])[] = [
  [0x1100, 0x115f],
  [0x2e80, 0x303e],
  [0x3041, 0xa4cf],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe30, 0xfe4f],
  [0xff00, 0xff60],
  [0xffe0, 0xffe6],
  [0x1f300, 0x1faff],
  [0x20000, 0x3fffd],
]
const COMBINING = /^[\p{Mn}\p{Me}\p{Cf}]$/u
const ASCII = /^[\x20-\x7e]*$/
const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** The text with control characters and direction overrides written as escapes: `\n`, `\x1b`. */
export function printable(text: string): string {
  if (ASCII.test(text)) return text
  return text.replaceAll(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return (
      NAMED[character] ??
      (code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`)
    )
  })
}

/** Cells that the printable text takes. */
export function widthOf(text: string): number {
  if (ASCII.test(text)) return text.length
  let width = 0
  for (const character of text) width += cellsOf(character)
  return width
}

/** The text cut to so many cells, the last one an ellipsis where something was cut. */
export function fit(text: string, cells: number): string {
  if (widthOf(text) <= cells) return text
  let width = 0
  let kept = ''
  for (const character of text) {
    width += cellsOf(character)
    if (width > cells - 1) break
    kept += character
  }
  return cells > 0 ? `${kept}…` : ''
}

function cellsOf(character: string): number {
  const code = character.codePointAt(0) ?? 0
  if (code < 0x300) return 1
  if (COMBINING.test(character)) return 0
  return WIDE.some(([from, to]) => code >= from && code <= to) ? 2 : 1
}
