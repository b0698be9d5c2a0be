// Postgres array literals (`{1,NULL,"a\"b",{…}}`) as JSON arrays, by the text form that array_out writes.
import { FleetError } from '@fleetshard/core'

/** Deepest nesting Postgres knows (MAXDIM). */
const dimensionsMax = 6

/** An array literal as nested arrays of element texts, NULL as null. A lower-bound prefix `[2:3]=` is skipped. */
export function parseArrayLiteral(literal: string, delimiter = ','): unknown[] {
  const reader = new Reader(literal, delimiter)
  return reader.array(1)
}

class Reader {
  readonly #text: string
  readonly #delimiter: string
  #at: number

  constructor(text: string, delimiter: string) {
    this.#text = text
    this.#delimiter = delimiter
    this.#at = text.startsWith('[') ? text.indexOf('=') + 1 : 0
  }

  array(depth: number): unknown[] {
    if (depth > dimensionsMax || this.#text[this.#at] !== '{') throw malformed()
    this.#at += 1
    const items: unknown[] = []
    if (this.#text[this.#at] === '}') {
      this.#at += 1
      return items
    }
    for (;;) {
      items.push(this.#item(depth))
      const next = this.#text[this.#at]
      this.#at += 1
      if (next === '}') return items
      if (next !== this.#delimiter) throw malformed()
    }
  }

  #item(depth: number): unknown {
    const first = this.#text[this.#at]
    if (first === '{') return this.array(depth + 1)
    if (first === '"') return this.#quoted()
    const start = this.#at
    while (
      this.#at < this.#text.length &&
      this.#text[this.#at] !== this.#delimiter &&
      this.#text[this.#at] !== '}'
    ) {
      this.#at += 1
    }
    const word = this.#text.slice(start, this.#at)
    return word === 'NULL' ? null : word
  }

  #quoted(): string {
    let value = ''
    for (this.#at += 1; this.#at < this.#text.length; this.#at += 1) {
      const character = this.#text[this.#at]!
      if (character === '"') {
        this.#at += 1
        return value
      }
      if (character === '\\') this.#at += 1
      value += this.#text[this.#at] ?? ''
    }
    throw malformed()
  }
}

const malformed = (): FleetError => new FleetError('internal', 'the shard sent an array that cannot be read')

/**
 * A JSON array as an array literal. Elements: strings, numbers, booleans, null, nested arrays; objects become JSON
 * text, for arrays of json.
 */
export function formatArrayLiteral(items: readonly unknown[], delimiter = ',', depth = 1): string {
  if (depth > dimensionsMax) {
    throw new FleetError('parameter_type', `an array is nested deeper than ${String(dimensionsMax)}`)
  }
  return `{${items.map((item) => formatItem(item, delimiter, depth)).join(delimiter)}}`
}

function formatItem(item: unknown, delimiter: string, depth: number): string {
  if (item === null || item === undefined) return 'NULL'
  if (Array.isArray(item)) return formatArrayLiteral(item as unknown[], delimiter, depth + 1)
  if (typeof item === 'number') return String(item)
  if (typeof item === 'boolean') return item ? 't' : 'f'
  const text = typeof item === 'string' ? item : JSON.stringify(item)
  return `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`
}
