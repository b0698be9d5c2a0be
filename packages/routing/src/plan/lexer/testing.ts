// For tests of the lexer: its tokens as the scanner of Postgres counts them, and statements with their values put back.
import { parseSync } from 'libpg-query'
import type { LexedStatement } from './lexed.ts'
import { Kind, Scanner } from './scanner.ts'

/** Bytes of UTF-8 before that unit of the text. */
const bytesOf = (text: string, unit: number): number => Buffer.byteLength(text.slice(0, unit))

/** Tokens as [start, end) in bytes. */
export function tokensOf(text: string): [number, number][] {
  const scanner = new Scanner(text, true)
  const tokens: [number, number][] = []
  while (scanner.next() !== Kind.end) tokens.push([bytesOf(text, scanner.start), bytesOf(text, scanner.end)])
  return tokens
}

/** The parse tree without places, or the message of the parser. */
export function treeOf(text: string): unknown {
  try {
    return JSON.parse(JSON.stringify(parseSync(text).stmts), (name, value: unknown) =>
      /location|stmt_len|list_start|list_end/.test(name) ? undefined : value,
    )
  } catch (error) {
    return error instanceof Error ? error.message.replaceAll(/".*"/g, '') : error
  }
}

/** The statement of a key, with plain literals in it. */
export function putBack({ key, literals }: LexedStatement): string {
  let next = 0
  return key.replaceAll(/\0[sin]/g, () => {
    const text = literals.text(next)
    const isString = literals.kind(next) === 'string'
    next += 1
    return isString ? `'${text.replaceAll("'", "''")}'` : text
  })
}
