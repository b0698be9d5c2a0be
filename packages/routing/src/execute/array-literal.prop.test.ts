import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatArrayLiteral, parseArrayLiteral } from './array-literal.ts'

const element = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('NULL', '', '{}', '"', '\\', ',', ' '),
  fc.constant(null),
)

describe('array literals', () => {
  it('come back as they were, whatever the texts', () => {
    fc.assert(
      fc.property(fc.array(element, { minLength: 1 }), (items) => {
        expect(parseArrayLiteral(formatArrayLiteral(items))).toEqual(items)
      }),
    )
  })

  it('come back nested', () => {
    fc.assert(
      fc.property(fc.array(fc.array(element, { minLength: 1, maxLength: 3 }), { minLength: 1 }), (items) => {
        expect(parseArrayLiteral(formatArrayLiteral(items))).toEqual(items)
      }),
    )
  })

  it('are read as Postgres writes them', () => {
    expect(parseArrayLiteral('{}')).toEqual([])
    expect(parseArrayLiteral('{1,NULL,"NULL","a\\"b","c\\\\d"}')).toEqual(['1', null, 'NULL', 'a"b', 'c\\d'])
    expect(parseArrayLiteral('[2:3]={x,y}')).toEqual(['x', 'y'])
    expect(parseArrayLiteral('{{1,2},{3,4}}')).toEqual([
      ['1', '2'],
      ['3', '4'],
    ])
  })

  it('are refused when cut short, and beyond six dimensions', () => {
    for (const text of ['', '{', '{1', '{1,', '{"a', '1', '{{{{{{{1}}}}}}}'])
      expect(() => parseArrayLiteral(text)).toThrow()
    expect(() => formatArrayLiteral([[[[[[[1]]]]]]])).toThrow(/nested deeper/)
  })
})
