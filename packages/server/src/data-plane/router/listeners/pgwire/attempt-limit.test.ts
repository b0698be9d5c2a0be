import { expect, test } from 'vitest'
import type { Clock } from '@fleetshard/core'
import { AttemptLimit } from './attempt-limit.ts'

let nowMs = 0
const clock: Clock = {
  now: () => nowMs,
  monotonic: () => nowMs,
  after: () => () => undefined,
} as unknown as Clock
const limit = (): AttemptLimit => new AttemptLimit(clock, { attemptsMax: 3, renewMs: 100 })

test('so many wrong attempts are looked at, then one more each time it is renewed', () => {
  const attempts = limit()
  expect([1, 2, 3, 4, 5].map(() => attempts.take('a'))).toEqual([true, true, true, false, false])
  expect(attempts.take('b')).toBe(true)
  nowMs += 99
  expect(attempts.take('a')).toBe(false)
  nowMs += 1
  expect([attempts.take('a'), attempts.take('a')]).toEqual([true, false])
  nowMs += 1_000
  expect([1, 2, 3, 4].map(() => attempts.take('a'))).toEqual([true, true, true, false])
  expect(attempts.ignored).toBe(5)
})

test('attempts that were right do not count, and nobody is remembered for them', () => {
  const attempts = limit()
  for (let round = 0; round < 10; round += 1) {
    expect(attempts.take('a')).toBe(true)
    attempts.giveBack('a')
  }
  expect(attempts.size).toBe(0)
})

test('a bounded number of them is remembered', () => {
  const attempts = limit()
  for (let who = 0; who < 20_000; who += 1) attempts.take(String(who))
  expect(attempts.size).toBe(10_000)
})
