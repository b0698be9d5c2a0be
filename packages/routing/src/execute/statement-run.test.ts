import { FleetError } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { endOrThrow } from './session-work.ts'
import { StatementRun, type RunEnd } from './statement-run.ts'

const late = new FleetError('deadline_exceeded', 'too late')
const message = (type: string, body: Buffer): Buffer => {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
const commandComplete = message('C', Buffer.from('INSERT 0 1\0'))
const dataRow = message('D', Buffer.from([0, 0]))

/** A run that is fed these messages, given up where `null` stands. */
function endOf(messages: readonly (Buffer | null)[]): RunEnd {
  const ends: RunEnd[] = []
  const run = new StatementRun({
    consumer: { fields: () => undefined, row: () => undefined, reset: () => undefined },
    ended: (end) => ends.push(end),
    refusing: () => undefined,
    commitsAtSync: true,
  })
  for (const bytes of messages) {
    if (bytes === null) run.abandon(late)
    else run.message(bytes[0] ?? 0, bytes, 0, bytes.length)
  }
  run.done()
  const [end] = ends
  if (end === undefined) throw new Error('the run has not ended')
  return end
}

describe('a statement that was given up too late', () => {
  it('is done when nothing of its answer is missing', () => {
    expect(endOrThrow(endOf([null, commandComplete]), { writes: true })).toEqual({ rowCount: 1 })
    expect(endOrThrow(endOf([dataRow, null, commandComplete]), { writes: true })).toEqual({ rowCount: 1 })
  })

  it('is told as done, not to be repeated, when rows of a write are missing', () => {
    const end = endOf([null, dataRow, commandComplete])
    expect(() => endOrThrow(end, { writes: true })).toThrow(
      expect.objectContaining({
        code: 'deadline_exceeded',
        retryable: false,
        facts: { outcome: 'committed' },
      }) as Error,
    )
  })

  it('may be repeated when it only reads', () => {
    expect(() => endOrThrow(endOf([null, dataRow, commandComplete]), { writes: false })).toThrow(late)
  })
})
