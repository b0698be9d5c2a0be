import { expect, test } from 'vitest'
import { didYouMean, nearest } from './suggest.ts'

const words = ['status', 'shard', 'router.http-port', 'router.metrics-port', 'keyspace']

test('finds a word with a letter missing, added, changed or swapped', () => {
  expect(nearest('statu', words)).toBe('status')
  expect(nearest('statuss', words)).toBe('status')
  expect(nearest('stitus', words)).toBe('status')
  expect(nearest('sattus', words)).toBe('status')
  expect(nearest('router.htp-port', words)).toBe('router.http-port')
})

test('upper and lower case are the same', () => {
  expect(nearest('STATUS', words)).toBe('status')
})

test('says nothing when no word is near', () => {
  expect(nearest('xyzzy', words)).toBeNull()
  expect(nearest('a', words)).toBeNull()
  expect(nearest('x'.repeat(1000), words)).toBeNull()
  expect(didYouMean('xyzzy', words)).toBeUndefined()
})

test('asks in words', () => {
  expect(didYouMean('keyspase', words)).toBe('did you mean keyspace?')
})
