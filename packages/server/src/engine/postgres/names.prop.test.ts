// Qualified names: what is stored can be taken apart again, whatever a table is called.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatTableName, parseTableName, quoteTableName } from './names.ts'

const part = fc.string({ minLength: 1, maxLength: 63, unit: 'grapheme' })

describe('table names', () => {
  it('are read back as they were written', () => {
    fc.assert(
      fc.property(part, part, (schema, relation) => {
        const name = formatTableName({ schema, relation })
        expect(parseTableName(name)).toEqual({ schema, relation })
        expect(parseTableName(quoteTableName(name))).toEqual({ schema, relation })
      }),
    )
  })

  it('lie in public where no schema is named', () => {
    expect(parseTableName('users')).toEqual({ schema: 'public', relation: 'users' })
    expect(quoteTableName('app.users')).toBe('"app"."users"')
  })

  it.each(['', '.', 'a.', '.a', 'a.b.c', 'a b', '"a', '"a"b', 'a."b"c', '""', 'a; drop table b'])(
    'are not %j',
    (text) => {
      expect(() => parseTableName(text)).toThrow(/not a table name/)
    },
  )
})
