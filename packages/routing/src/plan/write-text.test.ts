import { beforeAll, describe, expect, it, test } from 'vitest'
import { StatementCache } from './cache.ts'
import { lexQuery } from './lexer/lex.ts'
import { analyseText, loadGrammar } from './postgres/analyse-text.ts'
import { positionInQuery, writeTextOf } from './write-text.ts'

beforeAll(loadGrammar)

async function made(text: string): Promise<string | null> {
  const cache = new StatementCache({ analyse: async (each) => analyseText(each), bytesMax: 1_000_000 })
  const [lexed] = lexQuery(text)
  if (lexed === undefined) throw new Error('no statement')
  return (
    writeTextOf(await cache.loadLexed(lexed), lexed.key)
      ?.text.replaceAll(/\s+/g, ' ')
      .trim() ?? null
  )
}

describe('a write has parameters in place of its integers', () => {
  test.each([
    ['UPDATE t SET a = 5 WHERE id = 6;', 'UPDATE t SET a = $1 WHERE id = $2'],
    ['UPDATE t SET a = a + -5 - -6 WHERE id=- 7', 'UPDATE t SET a = a + - $1 - - $2 WHERE id=- $3'],
    [
      'DELETE FROM s.t WHERE id IN (1, 2) AND NOT (b = 3 OR c IS NULL)',
      'DELETE FROM s.t WHERE id IN ( $1 , $2 ) AND NOT (b = $3 OR c IS NULL)',
    ],
    [
      'INSERT INTO t (a, b, c) VALUES (1, CURRENT_TIMESTAMP, now()), (3, DEFAULT, NULL)',
      'INSERT INTO t (a, b, c) VALUES ( $1 , CURRENT_TIMESTAMP, now()), ( $2 , DEFAULT, NULL)',
    ],
    ['INSERT INTO t VALUES (true, 99999999999)', 'INSERT INTO t VALUES (true, $1 )'],
    [
      'UPDATE t SET n = substring(n from 1 for 2) WHERE a IS DISTINCT FROM 3',
      'UPDATE t SET n = substring(n from $1 for $2 ) WHERE a IS DISTINCT FROM $3',
    ],
  ])('%s', async (text, expected) => {
    expect(await made(text)).toBe(expected)
  })
})

describe('a write in which a literal may be more stays as it is', () => {
  test.each([
    'UPDATE t SET a = b WHERE c',
    'UPDATE t SET a = 5',
    "UPDATE t SET a = 'x' WHERE id = 5",
    'UPDATE t SET a = 1.5 WHERE id = 5',
    'UPDATE t SET a = 5::bigint WHERE b',
    'UPDATE t SET a = CAST(5 AS numeric(4, 2)) WHERE b',
    'UPDATE t SET a = CURRENT_TIMESTAMP(5) WHERE b = 6',
    'UPDATE t SET a[5] = 6 WHERE b',
    'UPDATE t SET (a, b) = (5, 6) WHERE b',
    'UPDATE t SET a = (SELECT 5) WHERE b',
    'UPDATE t SET a = ARRAY[5] WHERE b',
    'UPDATE t SET a = CASE WHEN b THEN 5 END WHERE b',
    'UPDATE t SET a = 5 FROM u WHERE b',
    'UPDATE t SET a = 5 WHERE b RETURNING a',
    'DELETE FROM t WHERE b = 5 RETURNING a',
    'INSERT INTO t VALUES (5) RETURNING a',
    'UPDATE t SET a = 5 WHERE b OPERATOR(s.=) 6',
    'UPDATE t SET a = 5 WHERE b = ANY (c)',
    'UPDATE t SET a = 5 WHERE b LIKE c',
    'UPDATE t SET a = 5 / 0 WHERE b',
    'UPDATE t SET a = 5 WHERE b = 5 + 6 * c / 7 - (8 - 9)',
    'UPDATE t SET a = f(5) WHERE b',
    'UPDATE t SET a = 5 WHERE 1 = 0 OR b = 6',
    'UPDATE t SET a = ~5 WHERE b',
    'INSERT INTO t VALUES (1 / 0)',
    'UPDATE t SET a = 5 WHERE b BETWEEN 6 AND 7',
    'UPDATE t SET a = f(VARIADIC g(5)) WHERE b',
    'WITH w AS (SELECT 5) UPDATE t SET a = 6 WHERE b',
    'DELETE FROM t',
    'DELETE FROM t USING u WHERE t.id = 5',
    'DELETE FROM t WHERE CURRENT OF c',
    'INSERT INTO t DEFAULT VALUES',
    'INSERT INTO t SELECT 5',
    'INSERT INTO t VALUES (5) ON CONFLICT DO NOTHING',
    'INSERT INTO t VALUES (5) LIMIT 6',
    'INSERT INTO t VALUES (5) ORDER BY 1',
    'INSERT INTO t VALUES (5) UNION VALUES (6)',
    'SELECT a FROM t WHERE id = 5',
    'EXPLAIN UPDATE t SET a = 5 WHERE b',
    'UPDATE t SET a = $1 WHERE b = 5',
  ])('%s', async (text) => {
    expect(await made(text)).toBeNull()
  })
})

describe('a place in the prepared text is one in the Query', () => {
  const query = '/* 😀 */ UPDATE "é" -- a comment\n SET a = 123456 , bcd = -7 /* … */ WHERE 8 = ef;'
  const prepared = 'UPDATE "é"   SET a =  $1  , bcd = - $2    WHERE  $3  = ef'
  const characters = (text: string): string[] => Array.from(text)
  const placed = (there: string, occurrence = 1): string => {
    let at = -1
    for (let count = 0; count < occurrence; count += 1) at = prepared.indexOf(there, at + 1)
    const position = positionInQuery(prepared, characters(prepared.slice(0, at)).length + 1, {
      query,
      start: lexQuery(query)[0]?.start ?? -1,
    })
    return characters(query)
      .slice((position ?? NaN) - 1)
      .join('')
  }

  it('of names, numbers, signs and operators', () => {
    expect(placed('UPDATE')).toMatch(/^UPDATE/)
    expect(placed('"é"')).toMatch(/^"é"/)
    expect(placed('$1')).toMatch(/^123456/)
    expect(placed('bcd')).toMatch(/^bcd/)
    expect(placed('- $2')).toMatch(/^-7/)
    expect(placed('$2')).toMatch(/^7/)
    expect(placed('$3')).toMatch(/^8/)
    expect(placed('=', 3)).toMatch(/^= ef/)
    expect(placed('ef')).toMatch(/^ef/)
  })

  it('is none behind its end', () => {
    const end = characters(prepared).length + 1
    expect(positionInQuery(prepared, end, { query, start: lexQuery(query)[0]?.start ?? -1 })).toBeNull()
  })
})
