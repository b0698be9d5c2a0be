// The trace that a statement belongs to, as a comment in the form of sqlcommenter that goes with it to its server,
// where pg_stat_activity and the log show it.

const TRACEPARENT = "traceparent='[0-9a-f-]{55}'"
/** Within one comment, no other in it. */
const INSIDE = String.raw`(?:[^*/-]|\*(?!\/)|\/(?!\*)|-(?!-))*?`
/** A text that begins or ends like this does so with a comment, whatever is in between. */
const FIRST = new RegExp(String.raw`^\s*\/\*${INSIDE}${TRACEPARENT}`)
const LAST = new RegExp(String.raw`${TRACEPARENT}${INSIDE}\*\/[\s;]*$`)
/** Characters of a text in which its last comment is looked for. */
const lastCharactersMax = 2_000

/**
 * The text with that traceparent in a comment behind it, or in place of the one that a comment at its end or beginning
 * has. No position changes.
 * @param text what the grammar takes: an error at the end of a text would be told elsewhere
 * @param traceparent 55 characters, as W3C has it
 */
export function withTraceparent(text: string, traceparent: string): string {
  const said = `traceparent='${traceparent}'`
  if (text.includes("traceparent='")) {
    const from = Math.max(0, text.length - lastCharactersMax)
    const last = LAST.exec(text.slice(from))
    if (last !== null) return replaced(text, from + last.index, said)
    const first = FIRST.exec(text)
    if (first !== null) return replaced(text, first[0].length - said.length, said)
  }
  // A comment of one line would go on over ours.
  const gap = text.lastIndexOf('--') > text.lastIndexOf('\n') ? '\n' : ' '
  return `${text}${gap}/*${said}*/`
}

const replaced = (text: string, at: number, said: string): string =>
  `${text.slice(0, at)}${said}${text.slice(at + said.length)}`
