// A copy waits for each reason that there is, says which, and is given up only at the floor.
import { describe, expect, it } from 'vitest'
import type { SourceFigures } from '../../engine/mod.ts'
import { throttleBoundsDefault, throttleReason } from './throttle.ts'

const calm: SourceFigures = { retainedWalBytes: 0, lagBytes: 0, replicaLagBytes: null, walBytesLeft: null }
const reasonOf = (figures: Partial<SourceFigures>): string | null =>
  throttleReason({ ...calm, ...figures }, throttleBoundsDefault)
const gibibyte = 2 ** 30

describe('a copy', () => {
  it('goes on while the source bears it', () => {
    expect(reasonOf({})).toBeNull()
    expect(
      reasonOf({ retainedWalBytes: gibibyte, replicaLagBytes: 1_000, walBytesLeft: gibibyte }),
    ).toBeNull()
  })

  it.each([
    [{ retainedWalBytes: 5 * gibibyte }, /^retained WAL: the slot holds back 5120 MiB/],
    [{ lagBytes: 2 * gibibyte }, /^lag: the targets are 2048 MiB behind/],
    [{ replicaLagBytes: 2 * gibibyte }, /^replica lag: /],
    [{ walBytesLeft: 100 * 2 ** 20 }, /^disk: the source may keep only 100 MiB more/],
  ])('waits where %j', (figures, reason) => {
    expect(reasonOf(figures)).toMatch(reason)
  })

  it('is given up when the source can keep hardly any more log', () => {
    expect(() => reasonOf({ walBytesLeft: 1_000 })).toThrow(/only 0 MiB more of log/)
  })
})
