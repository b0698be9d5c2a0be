import { expect, test } from 'vitest'
import { parseStartMessage, START_STEPS } from './progress.ts'

test('takes the messages of a start', () => {
  const messages = [
    { kind: 'say', step: 0, text: 'catalog (1 of 5)' },
    { kind: 'done', step: START_STEPS.length - 1 },
    { kind: 'ready' },
    { kind: 'failed', code: 'port_taken', message: 'port 8080 is taken', hint: null },
  ]
  for (const message of messages) expect(parseStartMessage(message)).toEqual(message)
})

test('anything else that comes through the channel is none', () => {
  const others = [
    null,
    'ready',
    {},
    { kind: 'done' },
    { kind: 'done', step: START_STEPS.length },
    { kind: 'say', step: 0 },
  ]
  for (const other of others) expect(parseStartMessage(other)).toBeNull()
})
