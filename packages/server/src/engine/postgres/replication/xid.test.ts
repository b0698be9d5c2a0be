// Ids are widened to the nearest, also across a wraparound, and snapshots say what Postgres says.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isVisible, parseXidSnapshot, widenXid } from './xid.ts'

describe('widening a transaction id', () => {
  it('finds every id that lies within 2^31 of the reference, in any epoch', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 3n, max: 2n ** 50n }),
        fc.bigInt({ min: -(2n ** 31n) + 1n, max: 2n ** 31n - 1n }),
        (near, distance) => {
          const xid = near + distance
          fc.pre(xid >= 3n)
          expect(widenXid(Number(xid % 2n ** 32n), near)).toBe(xid)
        },
      ),
    )
  })

  it('goes on into the next epoch, and knows stragglers of the one before', () => {
    expect(widenXid(5, 2n ** 32n - 10n)).toBe(2n ** 32n + 5n)
    expect(widenXid(0xfffffff0, 2n ** 32n + 10n)).toBe(2n ** 32n - 16n)
    expect(widenXid(0xfffffff0, 100n)).toBe(0xfffffff0n)
  })
})

describe('a snapshot', () => {
  it('has seen what ended, not what runs or comes later', () => {
    const snapshot = parseXidSnapshot('10:20:10,14,15')
    const seen = [9n, 10n, 11n, 14n, 15n, 19n, 20n].filter((xid) => isVisible(snapshot, xid))
    expect(seen).toEqual([9n, 11n, 19n])
  })

  it('of an idle server has nothing running', () => {
    const snapshot = parseXidSnapshot('1234567890123:1234567890123:')
    expect(isVisible(snapshot, 1234567890122n)).toBe(true)
    expect(isVisible(snapshot, 1234567890123n)).toBe(false)
  })

  it.each(['', '1:2', '1:2:x', '1:2:3,', 'a:b:'])('is not made of %j', (text) => {
    expect(() => parseXidSnapshot(text)).toThrow(/not a snapshot/)
  })
})
