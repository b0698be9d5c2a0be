import { expect, test } from 'vitest'
import type { Logger } from '../../runtime/mod.ts'
import { manualClock } from '../../runtime/testing/manual-clock.ts'
import { slowLinesPerMinuteMax, SlowStatements } from './slow-statements.ts'

function setup(fromMs = 100) {
  const lines: Record<string, unknown>[] = []
  const log = { warn: (line: Record<string, unknown>) => lines.push(line) } as unknown as Logger
  const clock = manualClock()
  return { slow: new SlowStatements({ log, clock }, fromMs), lines, clock }
}

const statement = {
  via: 'wire',
  elapsedMs: 123.4,
  text: "select * from t where a = 'secret'",
  statements: 1,
  shard: null,
  rows: 2,
  sqlstate: '',
  traceId: null,
} as const

test('writes a statement without its values', () => {
  const { slow, lines } = setup()
  slow.note(statement)
  expect(lines).toEqual([
    {
      event: 'slow_statement',
      elapsed_ms: 123,
      statement: 'select * from t where a = ?',
      keyspace: null,
      shard: null,
      via: 'wire',
      statements: 1,
      rows: 2,
      sqlstate: '',
    },
  ])
})

test('is for none when it is 0', () => {
  expect(setup(0).slow.fromMs).toBe(Infinity)
  expect(setup(5).slow.fromMs).toBe(5)
})

test('writes so many lines a minute, and counts what it left out', () => {
  const { slow, lines, clock } = setup()
  for (let index = 0; index < slowLinesPerMinuteMax + 7; index += 1) slow.note(statement)
  expect(lines).toHaveLength(slowLinesPerMinuteMax)
  clock.advance(60_000)
  slow.note({ ...statement, traceId: 'abc' })
  expect(lines.at(-1)).toMatchObject({ left_out: 7, trace_id: 'abc' })
  slow.note(statement)
  expect(lines.at(-1)).not.toHaveProperty('left_out')
})
