// What is done to one sequence to keep it in its block.
import { describe, expect, it } from 'vitest'
import { sequenceFacts } from './facts-kit.ts'
import { alignmentOf, blockBounds } from './sequences.ts'

const inBlock = (block: number, lastValue: string | null) => {
  const { first, last } = blockBounds(block)
  return sequenceFacts('public.s', { minValue: String(first), maxValue: String(last), lastValue })
}

describe('sequence blocks', () => {
  it('lie side by side without overlap, and the last one ends with bigint', () => {
    expect(blockBounds(0)).toEqual({ first: 1n, last: 2n ** 40n - 1n })
    for (let block = 1; block < 10; block++) {
      expect(blockBounds(block).first).toBeGreaterThan(blockBounds(block - 1).last)
    }
    expect(blockBounds(2 ** 23 - 1).last).toBe(2n ** 63n - 1n)
  })

  it('are entered at their beginning by a sequence that never counted', () => {
    expect(alignmentOf(sequenceFacts('public.s'), 1, true)).toBe(
      'minvalue 1099511627777 maxvalue 2199023255551 start 1099511627777 no cycle restart 1099511627777',
    )
  })

  it('leave a sequence alone that counts in its block already', () => {
    expect(alignmentOf(inBlock(1, null), 1, true)).toBeNull()
    expect(alignmentOf(inBlock(1, '1099511627999'), 1, false)).toBeNull()
  })

  it('bound an adopted sequence without setting it back', () => {
    expect(alignmentOf(sequenceFacts('public.s', { lastValue: '500' }), 0, false)).toBe(
      'minvalue 1 maxvalue 1099511627775 start 1 no cycle',
    )
    expect(alignmentOf({ ...inBlock(0, '5'), cycles: true }, 0, false)).toContain('no cycle')
  })

  it('refuse to set back a sequence over rows, and one that counts down', () => {
    const far = sequenceFacts('public.s', { lastValue: '2000000000000' })
    expect(() => alignmentOf(far, 0, false)).toThrow(/outside the shard's block/)
    expect(alignmentOf(far, 0, true)).toContain('restart 1')
    expect(() => alignmentOf(sequenceFacts('public.s', { increment: '-1' }), 0, true)).toThrow(/counts down/)
  })
})
