// The lexer against Postgres' own scanner and parser, over a corpus: boundaries of tokens, of statements, and what is
// left when values are taken out and put back.
import { parseSync, scanSync } from 'libpg-query'
import { beforeAll, describe, expect, it } from 'vitest'
import { loadGrammar } from '../postgres/analyse-text.ts'
import { lexQuery } from './lex.ts'
import { putBack, tokensOf, treeOf } from './testing.ts'
import { corpus, corpusOfLines } from './testing-corpus.ts'

beforeAll(loadGrammar)

const all = [...corpus, ...corpusOfLines]

function parses(text: string): boolean {
  try {
    parseSync(text)
    return true
  } catch {
    return false
  }
}

/** Postgres' scanner stops at what it refuses. */
function scanned(text: string): [number, number][] | null {
  try {
    return scanSync(text).tokens.map(({ start, end }) => [start, end])
  } catch {
    return null
  }
}

describe('the tokens', () => {
  it.each(all)('are those of Postgres: %s', (text) => {
    const theirs = scanned(text)
    if (theirs !== null) expect(tokensOf(text)).toEqual(theirs)
  })
})

describe('the statements of a query', () => {
  it.each(all)('are those of Postgres: %s', (text) => {
    const ours = lexQuery(text)
    if (!parses(text)) return
    const theirs = parseSync(text).stmts ?? []
    expect(ours.length).toBe(theirs.length)
    for (const [index, { stmt_location: from = 0, stmt_len: length = 0 }] of theirs.entries()) {
      const bytes = Buffer.from(text)
      const theirText = bytes.subarray(from, length === 0 ? bytes.length : from + length).toString()
      expect(treeOf(ours[index]?.text ?? '')).toEqual(treeOf(theirText))
    }
  })
})

describe('literals', () => {
  it.each(all.filter((text) => parsesAlone(text)))('can be put back: %s', (text) => {
    const [statement] = lexQuery(text)
    if (statement === undefined) return
    expect(treeOf(putBack(statement))).toEqual(treeOf(statement.text))
  })

  it.each([
    ['select * from t where a = 5 and b = 7.5', 'select * from t where a = \0i and b = \0n'],
    ['select -5, - 5, 5-3', 'select -\0i, - \0i, \0i-\0i'],
    ["select 'a', E'b', $$c$$, 'it''s', n'x'", 'select \0s, \0s, \0s, \0s, n\0s'],
    ["select 'x'::uuid, uuid 'x', date 'd'", 'select \0s::uuid, uuid \0s, date \0s'],
    ["select a /* c */ , 'x' -- d", 'select a   , \0s  '],
    ["select 'a'\n'b'", 'select \0s'],
    ['select a from t limit 5', 'select a from t limit 5'],
    ['select a from t order by 1, 2', 'select a from t order by 1, 2'],
    ['select (select a from t group by 1), 2', 'select (select a from t group by 1), \0i'],
    ['select a, 1 from t offset 3', 'select a, \0i from t offset 3'],
    ["select interval '1' day, interval(3) '2'", "select interval '1' day, interval(3) '2'"],
    [
      'select x::numeric(10,2), 5, cast(5 as varchar(3))',
      'select x::numeric(10,2), \0i, cast(\0i as varchar(3))',
    ],
    ["select varchar(3) 'abcd', 'x'", "select varchar(3) 'abcd', \0s"],
    ['select x::int[3], a[3]', 'select x::int[3], a[\0i]'],
    ["select U&'d!0061' uescape '!', 'x'", "select U&'d!0061' uescape '!', \0s"],
    [String.raw`select E'\x41', 'x'`, String.raw`select E'\x41', ` + '\0s'],
    ["select b'1', x'1f', 0x1f, 1_000", "select b'1', x'1f', 0x1f, 1_000"],
    ["select set_config('a', 'b', true), f('a')", "select set_config('a', 'b', true), f(\0s)"],
    ["set a = 'b'", "set a = 'b'"],
    ["execute p('a')", "execute p('a')"],
  ])('are taken out only where they are values: %s', (text, key) => {
    expect(lexQuery(text)[0]?.key).toBe(key)
  })

  it('have the value that the server reads', () => {
    const valuesOf = (text: string): string[] => {
      const literals = lexQuery(text)[0]?.literals
      return Array.from({ length: literals?.count ?? 0 }, (_, index) => literals?.text(index) ?? '')
    }
    expect(valuesOf(String.raw`select 'it''s', E'a\nb\'c''d\\', $x$a'$x$, 0042, 1.50`)).toEqual([
      "it's",
      "a\nb'c'd\\",
      "a'",
      '42',
      '1.50',
    ])
    expect(valuesOf("select 'a' -- 'no'\n 'b''c', 000")).toEqual(["ab'c", '0'])
  })

  it('are read by standard_conforming_strings', () => {
    const text = String.raw`select 'a\'b', 'c' from t where x = 'd\\'`
    const [off] = lexQuery(text, { standardStrings: false })
    expect(off?.grammarText).toBe(String.raw`select E'a\'b', 'c' from t where x = E'd\\'`)
    expect([0, 1, 2].map((index) => off?.literals.text(index))).toEqual(["a'b", 'c', 'd\\'])
    expect(off?.text).toBe(text)
    expect(lexQuery(String.raw`select 'a\'; select 'b'`, { standardStrings: true })).toHaveLength(2)
    expect(lexQuery(String.raw`select 'a\'; select 'b'`, { standardStrings: false })).toHaveLength(1)
  })
})

function parsesAlone(text: string): boolean {
  return lexQuery(text).length === 1 && !text.includes('unterminated')
}
