import { describe, expect, it } from 'vitest'
import { templateText } from './sql-query.ts'

const textOf = (strings: TemplateStringsArray, ..._values: unknown[]): string => templateText(strings)

describe('the text of a template', () => {
  it('has a parameter where a value stands', () => {
    expect(textOf`select 1`).toBe('select 1')
    expect(textOf`select ${1}, ${2} from t where a = ${3}`).toBe('select $1, $2 from t where a = $3')
  })

  it('makes no other parameter of a digit or a letter behind a value', () => {
    expect(textOf`select ${1}0`).toBe('select $1 0')
    expect(textOf`select ${1}$a`).toBe('select $1 $a')
    expect(textOf`select ${1}::int`).toBe('select $1::int')
  })

  it('is put together once', () => {
    const once = (): string => textOf`select ${1}`
    expect(once()).toBe(once())
  })

  it('is not made of a plain string', () => {
    expect(() => templateText('select 1' as never)).toThrow(
      expect.objectContaining({ code: 'invalid_request' }),
    )
    expect(() => templateText(['select 1'] as never)).toThrow(
      expect.objectContaining({ code: 'invalid_request' }),
    )
  })
})
