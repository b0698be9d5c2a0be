// The JSON configuration file as a flat list of settings with their lines, so that an error can name the line.
// JSON.parse keeps no positions; this reader walks the tokens itself and takes objects of plain values only.
import { FleetError } from '@fleetshard/core'

/** One value of the file. `key` is dotted, whether it was written nested or dotted. */
export interface FileSetting {
  readonly key: string
  readonly value: string | number | boolean | null
  readonly line: number
}

/** Largest configuration file. */
export const configFileBytesMax = 1024 * 1024
const depthMax = 8

interface Token {
  readonly kind: 'punctuation' | 'string' | 'number' | 'word' | 'end'
  readonly text: string
  readonly line: number
}

const TOKEN = /\s*(?:([{}[\],:])|("(?:[^"\\\n]|\\.)*")|(-?\d[\d.eE+-]*)|([A-Za-z]+))/y

/**
 * Reads `{"router": {"http-port": 8080}}` or `{"router.http-port": 8080}`.
 * @param name how messages call the file
 * @throws FleetError `invalid_config` with the file, line and what is wrong
 */
export function parseConfigFile(name: string, source: string): readonly FileSetting[] {
  const reader = new TokenReader(name, source.replace(/^\uFEFF/, ''))
  const settings: FileSetting[] = []
  const first = reader.next()
  if (first.text !== '{') throw reader.error(first, 'the file must hold one object: { … }')
  readObject(reader, '', settings, 1)
  const rest = reader.next()
  if (rest.kind !== 'end')
    throw reader.error(rest, `${JSON.stringify(rest.text)} after the end of the object`)
  refuseTwice(reader, settings)
  return settings
}

function readObject(reader: TokenReader, prefix: string, into: FileSetting[], depth: number): void {
  if (reader.peek().text === '}') {
    reader.next()
    return
  }
  for (;;) {
    const name = reader.next()
    if (name.kind !== 'string')
      throw reader.error(name, `a name in double quotes is missing before ${shown(name)}`)
    const colon = reader.next()
    if (colon.text !== ':') throw reader.error(colon, `a colon is missing after ${name.text}`)
    readValue(reader, prefix + String(reader.decode(name)), into, depth)
    const after = reader.next()
    if (after.text === '}') return
    if (after.text !== ',') throw reader.error(after, `a comma is missing before ${shown(after)}`)
  }
}

function readValue(reader: TokenReader, key: string, into: FileSetting[], depth: number): void {
  const token = reader.next()
  if (token.text === '{') {
    if (depth >= depthMax) throw reader.error(token, `${key}: objects lie too deep in each other`)
    readObject(reader, `${key}.`, into, depth + 1)
    return
  }
  if (token.text === '[') throw reader.error(token, `${key}: a list is not the value of any setting`)
  if (token.kind === 'string' || token.kind === 'number' || ['true', 'false', 'null'].includes(token.text)) {
    into.push({ key, value: reader.decode(token), line: token.line })
    return
  }
  throw reader.error(token, `${key}: ${shown(token)} is not a value`)
}

function refuseTwice(reader: TokenReader, settings: readonly FileSetting[]): void {
  const lines = new Map<string, number>()
  for (const { key, line } of settings) {
    const before = lines.get(key)
    if (before !== undefined) {
      throw reader.errorAt(line, `${key} is set twice, first on line ${String(before)}`)
    }
    lines.set(key, line)
  }
}

function shown(token: Token): string {
  return token.kind === 'end' ? 'the end of the file' : JSON.stringify(token.text)
}

/** The tokens of one file, with one of lookahead. */
class TokenReader {
  readonly #name: string
  readonly #source: string
  #offset = 0
  #line = 1
  #ahead: Token | null = null

  constructor(name: string, source: string) {
    this.#name = name
    this.#source = source
  }

  peek(): Token {
    this.#ahead ??= this.#read()
    return this.#ahead
  }

  next(): Token {
    const token = this.peek()
    this.#ahead = null
    return token
  }

  /** The value of a text, number or word. */
  decode(token: Token): FileSetting['value'] {
    try {
      return JSON.parse(token.text) as FileSetting['value']
    } catch {
      throw this.error(token, `${token.text.slice(0, 40)} is not valid in JSON`)
    }
  }

  error(token: Token, message: string): FleetError {
    return this.errorAt(token.line, message)
  }

  errorAt(line: number, message: string): FleetError {
    return new FleetError('invalid_config', `${this.#name}, line ${String(line)}: ${message}`, {
      hint: 'the file holds JSON such as {"router": {"http-port": 8080}}',
    })
  }

  #read(): Token {
    TOKEN.lastIndex = this.#offset
    const match = TOKEN.exec(this.#source)
    if (match === null) return this.#endOrError()
    const text = match[1] ?? match[2] ?? match[3] ?? match[4] ?? ''
    this.#advance(TOKEN.lastIndex)
    return { kind: kindOf(match), text, line: this.#line }
  }

  #endOrError(): Token {
    const blank = /^\s*/.exec(this.#source.slice(this.#offset))?.[0].length ?? 0
    this.#advance(this.#offset + blank)
    if (this.#offset === this.#source.length) return { kind: 'end', text: '', line: this.#line }
    const character = String.fromCodePoint(this.#source.codePointAt(this.#offset) ?? 0)
    const why =
      character === '"' ? 'a text without its closing quote' : `unexpected ${JSON.stringify(character)}`
    throw this.errorAt(this.#line, why)
  }

  #advance(offset: number): void {
    for (let at = this.#offset; at < offset; at += 1) if (this.#source[at] === '\n') this.#line += 1
    this.#offset = offset
  }
}

function kindOf(match: RegExpExecArray): Token['kind'] {
  if (match[1] !== undefined) return 'punctuation'
  if (match[2] !== undefined) return 'string'
  return match[3] === undefined ? 'word' : 'number'
}
