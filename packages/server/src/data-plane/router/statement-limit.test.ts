// How many statements a login and an address may send, by a clock that is moved by hand.
import { describe, expect, it } from 'vitest'
import { manualClock } from '../../runtime/testing/manual-clock.ts'
import { spendOnQuery } from './session/allowance.ts'
import { StatementLimit } from './statement-limit.ts'

const setUp = (perLogin: number, perAddress: number) => {
  const clock = manualClock()
  return { clock, limit: new StatementLimit(clock, { perLogin, perAddress }) }
}

describe('the limit of statements', () => {
  it('is none where none is set', () => {
    expect(setUp(0, 0).limit.allowanceOf({ login: 'ann', host: 'h' })).toBeNull()
  })

  it('is of a login, over all its sessions and addresses, and comes back with time', () => {
    const { clock, limit } = setUp(3, 0)
    const one = limit.allowanceOf({ login: 'ann', host: 'h1' })
    const other = limit.allowanceOf({ login: 'ann', host: 'h2' })
    one?.(2)
    other?.(1)
    const refused = { code: 'rate_limited', sqlstate: '53400', facts: { retry_after_ms: 334 } }
    expect(() => one?.(1)).toThrow(expect.objectContaining(refused) as Error)
    expect(() => other?.(1)).toThrow(/statements of ann/)
    limit.allowanceOf({ login: 'bob', host: 'h1' })?.(3)
    clock.advance(334)
    one?.(1)
    expect(() => one?.(1)).toThrow(
      expect.objectContaining({
        hint: expect.stringContaining('router.wire-statements-per-second is 3') as string,
      }) as Error,
    )
  })

  it('is of an address, whoever logs in there; who has not said who he is goes by his address', () => {
    const { limit } = setUp(0, 2)
    limit.allowanceOf({ login: 'ann', host: 'h1' })?.(1)
    limit.allowanceOf({ login: 'bob', host: 'h1' })?.(1)
    expect(() => limit.allowanceOf({ login: null, host: 'h1' })?.(1)).toThrow(/statements from h1/)
    limit.allowanceOf({ login: 'ann', host: 'h2' })?.(1)
    const byAddress = setUp(1, 0).limit
    byAddress.allowanceOf({ login: null, host: 'h1' })?.(1)
    expect(() => byAddress.allowanceOf({ login: null, host: 'h1' })?.(1)).toThrow(/statements of h1/)
  })

  it('has many statements of one message paid for afterwards', () => {
    const { clock, limit } = setUp(10, 0)
    const spend = limit.allowanceOf({ login: 'ann', host: 'h' })
    spend?.(100)
    clock.advance(8_900)
    expect(() => spend?.(1)).toThrow(/too many/)
    clock.advance(300)
    spend?.(1)
  })

  it('does not count what ends a transaction', () => {
    const counted: number[] = []
    const spend = (count: number): void => void counted.push(count)
    for (const texts of [
      ['ROLLBACK'],
      ['commit'],
      [' end transaction'],
      ['select 1', 'COMMIT'],
      ['rollback to a'],
      ["commit prepared 'a'"],
      ['endless()'],
    ])
      spendOnQuery(
        spend,
        texts.map((text) => ({ text })),
      )
    expect(counted).toEqual([1, 1, 1, 1])
  })
})
