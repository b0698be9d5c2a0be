// Reads Postgres' text form of an array, `{a,"b c",NULL}`, as a flat list.
import { FleetError } from '@fleetshard/core'

/** Most items of one array that are looked at. */
const itemsMax = 100_000

/** One item: quoted with the white space around it, or bare. The space is that of Postgres, not of Unicode. */
const item = /[ \t\n\v\f\r]*(?:"((?:[^"\\]|\\[\s\S])*)"[ \t\n\v\f\r]*|((?:[^{},"\\]|\\[\s\S])+))(?=,|$)/y

const braces = /^[ \t\n\v\f\r]*\{/
const blank = /^[ \t\n\v\f\r]*$/

/**
 * The items of a list in braces, null for NULL; nested lists are refused, as is whatever is not certainly an array.
 * @throws FleetError `invalid_shard_key`
 */
export function parseArrayText(text: string): (string | null)[] {
  const end = text.lastIndexOf('}')
  if (!braces.test(text) || end < 0 || !blank.test(text.slice(end + 1))) throw malformed()
  const body = text.slice(text.indexOf('{') + 1, end)
  if (blank.test(body)) return []
  const items: (string | null)[] = []
  let at = 0
  for (;;) {
    item.lastIndex = at
    const match = item.exec(body)
    if (match === null || items.length >= itemsMax) throw malformed()
    items.push(valueOf(match[1], match[2] ?? ''))
    at = item.lastIndex
    if (at === body.length) return items
    at += 1
  }
}

function valueOf(quoted: string | undefined, open: string): string | null {
  const bare = quoted === undefined ? withoutBlanks(open) : ''
  if (quoted === undefined) {
    if (bare.toUpperCase() === 'NULL') return null
    if (bare === '') throw malformed()
  }
  return (quoted ?? bare).replaceAll(/\\([\s\S])/g, '$1')
}

/** Without the blanks at the end, but for one behind a backslash. */
function withoutBlanks(text: string): string {
  let end = text.length
  while (end > 0 && ' \t\n\v\f\r'.includes(text[end - 1] ?? '')) end -= 1
  let slashes = 0
  while (text[end - 1 - slashes] === '\\') slashes += 1
  return slashes % 2 === 1 ? text.slice(0, end + 1) : text.slice(0, end)
}

function malformed(): FleetError {
  return new FleetError('invalid_shard_key', 'a list of shard keys is not an array of one dimension', {
    hint: 'send it as {a,b,c}, with quotes around items that hold commas, braces, quotes or blanks',
  })
}
