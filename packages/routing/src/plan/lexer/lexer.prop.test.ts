// The lexer over texts put together at random: it agrees with Postgres' scanner and parser wherever these understand
// the text, and it comes to an end on anything.
import fc from 'fast-check'
import { parseSync, scanSync } from 'libpg-query'
import { beforeAll, describe, expect, it } from 'vitest'
import { loadGrammar } from '../postgres/analyse-text.ts'
import { literalsIn } from './literal-places.ts'
import { lexQuery } from './lex.ts'
import { putBack, tokensOf, treeOf } from './testing.ts'

beforeAll(loadGrammar)

const runs = Number(process.env['LEXER_RUNS'] ?? 3_000)

const piece = fc.constantFrom(
  ...`select|from|where|a|b.c|"x""y"|é|_x$1|'a'|'it''s'|E'a\\'b'|e'\\n'|E'\\x41'|U&'\\0061'|u&"x"|uescape|'!'|n'x'|b'01'|x'1f'`.split(
    '|',
  ),
  ...`1|42|007|1.5|.5|1.|1e5|1.5e-3|0x1F|0b1|1_000|1..2|$1|$23|$$a;b$$|$t$ $$ $t$|$t|$`.split('|'),
  ...'( ) [ ] , . ; : :: := => < > <= >= <> = + - * / % ^ ~ ! @ # & ` ?'.split(' '),
  '|',
  '||',
  '--',
  '/*',
  '*/',
  '/* c */',
  '-- c\n',
  '->',
  '->>',
  '@>',
  '<@',
  '<->',
  '!=-',
  '@-',
  '/**/',
  '\n',
  ' ',
  '\t',
  '\r',
  "'a'\n'b'",
  'interval',
  'order by',
  'limit',
  'as',
  'int',
  'varchar(3)',
  'begin atomic',
  'end',
)
const soup = fc
  .array(fc.tuple(piece, fc.constantFrom('', ' ', ' ')), { maxLength: 25 })
  .map((parts) => parts.flat().join(''))

const value = fc.constantFrom(
  '1',
  '-5',
  '- 7',
  '0042',
  '1.5',
  "'x'",
  "'it''s'",
  "E'a\\nb'",
  '$$d$$',
  "'a'\n'b'",
  "uuid 'u'",
  "'x'::text",
  '$1',
  '0x1F',
  '99999999999',
  '-(3)',
)
const term = fc
  .tuple(fc.constantFrom('a', 'b.c', '"D"'), fc.constantFrom('=', '<>', '~', '@>'), value)
  .map((parts) => parts.join(' '))
const statement = fc
  .record({
    outputs: fc.array(value, { minLength: 1, maxLength: 4 }),
    terms: fc.array(term, { minLength: 1, maxLength: 4 }),
    tail: fc.constantFrom('', ' order by 1', ' limit 5', ' group by 1, a', ' offset 3', ' /* c */', ' -- c'),
    comment: fc.constantFrom('', '/* x */ ', '-- y\n'),
  })
  .map(
    ({ outputs, terms, tail, comment }) =>
      `${comment}select ${outputs.join(', ')} from t where ${terms.join(' and ')}${tail}`,
  )

/** Comments break strings apart only for the scanner of the tests, which counts them as tokens. */
const breaksString = /'\s*--[^\n\r]*[\n\r]\s*'/

describe('the lexer', () => {
  it('finds the tokens of Postgres', () => {
    let compared = 0
    fc.assert(
      fc.property(soup, (text) => {
        let theirs: [number, number][]
        try {
          theirs = scanSync(text).tokens.map(({ start, end }) => [start, end])
        } catch {
          return
        }
        if (breaksString.test(text)) return
        compared += 1
        expect(tokensOf(text)).toEqual(theirs)
      }),
      { numRuns: runs },
    )
    expect(compared).toBeGreaterThan(runs / 10)
  })

  it('takes out values that can be put back', () => {
    fc.assert(
      fc.property(statement, (text) => {
        const [lexed] = lexQuery(text)
        if (lexed === undefined) throw new Error('there is a statement')
        expect(treeOf(putBack(lexed))).toEqual(treeOf(text))
      }),
      { numRuns: runs },
    )
  })

  it('tells the literals of the tree apart', () => {
    fc.assert(
      fc.property(statement, (text) => {
        const [lexed] = lexQuery(text)
        const placeOf = literalsIn(text)
        for (const { location, shown } of constantsIn(parseSync(text).stmts)) {
          const place = placeOf(location)
          if (place === null || place.source === null) continue
          const value = lexed?.literals.text(place.source) ?? ''
          expect(place.negative && value !== '0' ? `-${value}` : value).toBe(shown)
        }
      }),
      { numRuns: runs },
    )
  })

  it('comes to an end on anything, and cuts the text in order', () => {
    const anything = fc.oneof(
      soup,
      fc.string({ unit: 'binary', maxLength: 80 }),
      fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    )
    fc.assert(
      fc.property(anything, fc.boolean(), (text, standardStrings) => {
        let end = 0
        for (const found of lexQuery(text, { standardStrings })) {
          expect(found.start).toBeGreaterThanOrEqual(end)
          expect(found.end).toBeGreaterThan(found.start)
          expect(found.text).toBe(text.slice(found.start, found.end))
          for (let index = 0; index < found.literals.count; index += 1) found.literals.text(index)
          end = found.end
        }
        expect(end).toBeLessThanOrEqual(text.length)
      }),
      { numRuns: runs },
    )
  })

  it.each([
    ['comments', '/*'.repeat(200_000)],
    ['closed comments', `${'/*'.repeat(100_000)}${'*/'.repeat(100_000)}`],
    ['quotes', "'".repeat(400_001)],
    ['dollar tags', '$a'.repeat(200_000)],
    ['open dollar quotes', Array.from({ length: 20_000 }, (_, index) => `$t${String(index)}$`).join(' ')],
    ['operators', '+'.repeat(400_000)],
    ['numbers', '1_'.repeat(200_000)],
    ['points', '1.'.repeat(200_000)],
    ['pieces', "'a'\n".repeat(100_000)],
    ['parentheses', `select ${'('.repeat(200_000)}`],
    ['semicolons', ';'.repeat(400_000)],
  ])('takes no more than its time for many %s', (_, text) => {
    expect(lexQuery(text).length).toBeLessThanOrEqual(1)
  })
})

function* constantsIn(value: unknown): Generator<{ location: number; shown: string }> {
  if (typeof value !== 'object' || value === null) return
  for (const [name, child] of Object.entries(value)) {
    if (name === 'A_Const') {
      const { location, ival, sval, fval } = child as Record<string, unknown> & { ival?: { ival?: number } }
      const shown =
        ival?.ival ??
        (sval as { sval?: string } | undefined)?.sval ??
        (fval as { fval?: string } | undefined)?.fval
      if (typeof location === 'number' && shown !== undefined) yield { location, shown: String(shown) }
    } else yield* constantsIn(child)
  }
}
