import { expect, test } from 'vitest'
import { lastWords } from './log-file.ts'

test('last words are the grave lines, without time and pid', () => {
  const log = [
    '2026-01-02 03:04:05.678 UTC [17] @ LOG:  starting PostgreSQL',
    '2026-01-02 03:04:05.679 UTC [17] @ FATAL:  could not create lock file',
    '2026-01-02 03:04:05.680 UTC [17] @ LOG:  shut down',
  ]
  expect(lastWords(log.join('\n'))).toBe('FATAL:  could not create lock file')
})

test('last words of a log without grave lines are its last lines', () => {
  expect(lastWords('one\ntwo\n\n')).toBe('one; two')
  expect(lastWords('')).toBe('')
})
