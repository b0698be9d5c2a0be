import { expect, test } from 'vitest'
import { FleetError } from '@fleetshard/core'
import { codeOf, traceparentInSql } from './tracing.ts'

const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

test.each([
  [`select 1 /*traceparent='${traceparent}'*/`, traceparent],
  [`/* app='x' , traceparent='${traceparent}', tracestate='a%3Db' */ select 1`, traceparent],
  [`/* one */ select 1 /* two */ + 1 /*traceparent='${traceparent}'*/`, traceparent],
  ['select 1', null],
  [`select 'traceparent=''${traceparent}'''`, null],
  [`select 1 /* traceparent='nothing' */`, null],
  [`select $$traceparent='${traceparent}'$$`, null],
  [`select 1 /* traceparent='${traceparent}'`, null],
])('the trace that %s goes on with', (text, found) => {
  expect(traceparentInSql(text)).toBe(found)
})

test('takes no time to speak of for what is made to take long', () => {
  expect(traceparentInSql(`${'/*'.repeat(50_000)} traceparent='`)).toBeNull()
  expect(traceparentInSql(`/*${'a'.repeat(1_000_000)}traceparent='x`)).toBeNull()
})

test('names errors by their codes, never by their messages', () => {
  expect(codeOf(new FleetError('sql_error', 'secret'))).toBe('sql_error')
  expect(codeOf(Object.assign(new Error('secret'), { code: 'ECONNRESET' }))).toBe('ECONNRESET')
  expect(codeOf(new TypeError('secret'))).toBe('TypeError')
  expect(codeOf('secret')).toBe('internal')
})
