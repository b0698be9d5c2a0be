// JSON as a tree whose values know where they stand, so that an error about any of them can name its line and column.
// JSON.parse keeps no positions. Messages never quote a value: it may be a part of a password.

/** A value and the offset of its first character. */
export type JsonNode =
  | { readonly kind: 'object'; readonly at: number; readonly members: readonly JsonMember[] }
  | { readonly kind: 'array'; readonly at: number; readonly items: readonly JsonNode[] }
  | { readonly kind: 'text'; readonly at: number; readonly value: string }
  | { readonly kind: 'number'; readonly at: number; readonly value: number }
  | { readonly kind: 'boolean'; readonly at: number; readonly value: boolean }
  | { readonly kind: 'null'; readonly at: number }

/** One member of an object; `at` is where its name begins. */
export interface JsonMember {
  readonly name: string
  readonly at: number
  readonly value: JsonNode
}

/** Where a text stops being JSON, and why. */
export class JsonSyntaxError extends Error {
  override readonly name = 'JsonSyntaxError'
  readonly at: number

  constructor(at: number, message: string) {
    super(message)
    this.at = at
  }
}

/** Objects and lists inside each other. */
const depthMax = 16

const WORDS: ReadonlyMap<string, (at: number) => JsonNode> = new Map([
  ['true', (at: number): JsonNode => ({ kind: 'boolean', at, value: true })],
  ['false', (at: number): JsonNode => ({ kind: 'boolean', at, value: false })],
  ['null', (at: number): JsonNode => ({ kind: 'null', at })],
])

/** The tree of a text. @throws JsonSyntaxError */
export function parseJsonTree(text: string): JsonNode {
  const reader = new TreeReader(text)
  const root = reader.value(0)
  reader.end()
  return root
}

/** Line and column of an offset, both from 1 on. */
export function positionOf(text: string, at: number): { readonly line: number; readonly column: number } {
  const before = text.slice(0, at)
  const lineStart = before.lastIndexOf('\n') + 1
  return { line: before.split('\n').length, column: at - lineStart + 1 }
}

class TreeReader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  value(depth: number): JsonNode {
    this.#skipBlanks()
    const at = this.#at
    const character = this.#text[at]
    if (depth > depthMax) throw new JsonSyntaxError(at, 'values lie too deep in each other')
    if (character === '{') return this.#object(depth)
    if (character === '[') return this.#array(depth)
    if (character === '"') return { kind: 'text', at, value: this.#string() }
    const number = this.#match(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y)
    if (number !== null) return { kind: 'number', at, value: Number(number) }
    const word = WORDS.get(this.#match(/[A-Za-z]+/y) ?? '')
    if (word !== undefined) return word(at)
    throw new JsonSyntaxError(at, at >= this.#text.length ? 'the file ends too early' : 'a value is missing')
  }

  /** @throws JsonSyntaxError when something follows the value */
  end(): void {
    this.#skipBlanks()
    if (this.#at < this.#text.length)
      throw new JsonSyntaxError(this.#at, 'something follows the end of the object')
  }

  #object(depth: number): JsonNode {
    const at = this.#at
    const members: JsonMember[] = []
    const known = new Set<string>()
    this.#at += 1
    if (this.#takes('}')) return { kind: 'object', at, members }
    for (;;) {
      this.#skipBlanks()
      const nameAt = this.#at
      if (this.#text[nameAt] !== '"')
        throw new JsonSyntaxError(nameAt, 'a name in double quotes is missing (a comma too many before it?)')
      const name = this.#string()
      if (known.has(name))
        throw new JsonSyntaxError(nameAt, `the field ${JSON.stringify(name.slice(0, 40))} is there twice`)
      known.add(name)
      if (!this.#takes(':')) throw new JsonSyntaxError(this.#at, 'a colon is missing')
      members.push({ name, at: nameAt, value: this.value(depth + 1) })
      if (this.#takes('}')) return { kind: 'object', at, members }
      if (!this.#takes(',')) throw new JsonSyntaxError(this.#at, 'a comma or a closing } is missing')
    }
  }

  #array(depth: number): JsonNode {
    const at = this.#at
    const items: JsonNode[] = []
    this.#at += 1
    if (this.#takes(']')) return { kind: 'array', at, items }
    for (;;) {
      items.push(this.value(depth + 1))
      if (this.#takes(']')) return { kind: 'array', at, items }
      if (!this.#takes(',')) throw new JsonSyntaxError(this.#at, 'a comma or a closing ] is missing')
    }
  }

  #string(): string {
    const at = this.#at
    const quoted = this.#match(/"[^"\\\n]*(?:\\.[^"\\\n]*)*"/y)
    if (quoted === null) throw new JsonSyntaxError(at, 'a text has no closing quote on its line')
    try {
      const value: unknown = JSON.parse(quoted)
      if (typeof value === 'string') return value
    } catch {
      // The platform's message would quote the text.
    }
    throw new JsonSyntaxError(at, 'a text has a character or an escape that JSON does not allow')
  }

  /** True when the next character that is no blank is that one, which is taken then. */
  #takes(character: string): boolean {
    this.#skipBlanks()
    if (this.#text[this.#at] !== character) return false
    this.#at += 1
    return true
  }

  #skipBlanks(): void {
    this.#match(/[ \t\r\n]*/y)
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0] ?? null
    if (found !== null) this.#at += found.length
    return found
  }
}
