import { beforeAll, describe, expect, test } from 'vitest'
import { lexQuery } from './lexer/lex.ts'
import { lookupTextOf, type LookupText } from './lookup-text.ts'
import { StatementCache } from './cache.ts'
import { analyseText, loadGrammar } from './postgres/analyse-text.ts'

beforeAll(loadGrammar)

async function made(text: string): Promise<LookupText | null> {
  const cache = new StatementCache({ analyse: async (each) => analyseText(each), bytesMax: 1_000_000 })
  const [lexed] = lexQuery(text)
  if (lexed === undefined) throw new Error('no statement')
  return lookupTextOf(await cache.loadLexed(lexed), lexed.key)
}

describe('a lookup has parameters in place of its literals', () => {
  test.each([
    ['SELECT a FROM t WHERE id = 5', 'SELECT a FROM t WHERE id = $1', ['integer']],
    [
      "SELECT a FROM t WHERE id=5 AND x='a';",
      'SELECT a FROM t WHERE id= $1 AND x= $2',
      ['integer', 'string'],
    ],
    ["SELECT a FROM t WHERE 'x' = id", 'SELECT a FROM t WHERE $1 = id', ['string']],
    [
      'SELECT a FROM t JOIN u ON u.b = 1 WHERE t.id IN (SELECT c FROM v WHERE d = 2) LIMIT 3',
      'SELECT a FROM t JOIN u ON u.b = $1 WHERE t.id IN (SELECT c FROM v WHERE d = $2 ) LIMIT 3',
      ['integer', 'integer'],
    ],
    [
      "WITH w AS (SELECT * FROM t WHERE x = 'a') SELECT * FROM w ORDER BY 1",
      'WITH w AS (SELECT * FROM t WHERE x = $1 ) SELECT * FROM w ORDER BY 1',
      ['string'],
    ],
  ])('%s', async (text, expected, kinds) => {
    const { text: prepared = '', kinds: found } = (await made(text)) ?? {}
    expect(prepared.replaceAll(/\s+/g, ' ').trim()).toBe(expected)
    expect(found).toEqual(kinds)
  })
})

describe('what is no lookup stays as it is', () => {
  test.each([
    'SELECT a FROM t',
    'SELECT 1',
    'SELECT 1 FROM t WHERE id = 5',
    'SELECT a FROM t WHERE id > 5',
    'SELECT a FROM t WHERE id = 1.5',
    'SELECT a FROM t WHERE id = 1.5 AND b = 2',
    'SELECT a FROM t WHERE id = 5 AND b > 6',
    'SELECT a FROM t WHERE id = 5 OR id = 6',
    'SELECT a FROM t WHERE id IN (5, 6)',
    'SELECT a FROM t WHERE id = -5',
    'SELECT a FROM t WHERE id = 5 + 6',
    "SELECT a FROM t WHERE id = '5'::int",
    "SELECT a FROM t WHERE id = ANY ('{5}')",
    'SELECT a FROM t WHERE f(5) = id',
    'SELECT a, b = 6 FROM t WHERE id = 5',
    'SELECT a FROM t WHERE NOT id = 5',
    'SELECT a FROM t WHERE id OPERATOR(other.=) 5',
    'SELECT a FROM t WHERE id = 5 FOR UPDATE',
    'EXPLAIN SELECT a FROM t WHERE id = 5',
    'UPDATE t SET a = 1 WHERE id = 5',
    'DELETE FROM t WHERE id = 5',
    'WITH w AS (DELETE FROM t WHERE id = 5 RETURNING a) SELECT a FROM w',
  ])('%s', async (text) => {
    expect(await made(text)).toBeNull()
  })

  test('a long statement', async () => {
    expect(await made(`SELECT a FROM t WHERE id = 5 AND ${'b = c AND '.repeat(1000)} c = d`)).toBeNull()
  })
})
