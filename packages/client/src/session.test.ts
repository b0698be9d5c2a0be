import { describe, expect, it } from 'vitest'
import { looksLikeRead } from './session.ts'

describe('what may go out again under read_only', () => {
  it.each([
    'select 1',
    '  SELECT 1',
    '-- note\nselect 1',
    '/* a */ with a as (select 1) select 1',
    'values (1)',
    'table t',
    '\nexplain select 1',
  ])('is %j', (text) => {
    expect(looksLikeRead(text)).toBe(true)
  })

  it.each([
    'insert into t values (1)',
    'update t set a = 1',
    'call p()',
    '/* select */ delete from t',
    'selection',
    '-- select 1',
  ])('is not %j', (text) => {
    expect(looksLikeRead(text)).toBe(false)
  })
})
