// The account finds each kind of wrong, and nothing where all is well.
import { describe, expect, it } from 'vitest'
import { Ledger } from './ledger.ts'

function ledgerOf(...writes: readonly (readonly [string, 'acknowledged' | 'unknown' | 'refused'])[]): Ledger {
  const ledger = new Ledger()
  for (const [key, outcome] of writes) ledger.note(key, ledger.next(key), outcome)
  return ledger
}

const onA = (): string => 'a'

describe('the ledger', () => {
  it('holds when every row is there once, on its owner, as acknowledged or later', () => {
    const ledger = ledgerOf(['k', 'acknowledged'], ['k', 'unknown'], ['l', 'acknowledged'], ['m', 'unknown'])
    for (const version of [1, 2]) {
      const rows = [
        { key: 'k', version, shard: 'a' },
        { key: 'l', version: 1, shard: 'a' },
      ]
      expect(ledger.account(rows, onA)).toMatchObject({ holds: true, acknowledged: 2, unknown: 2 })
    }
  })

  it('finds a lost write, a duplicate, a row in the wrong place', () => {
    const ledger = ledgerOf(['k', 'acknowledged'], ['l', 'acknowledged'], ['m', 'acknowledged'])
    const rows = [
      { key: 'l', version: 1, shard: 'a' },
      { key: 'l', version: 1, shard: 'b' },
      { key: 'm', version: 1, shard: 'b' },
    ]
    const account = ledger.account(rows, onA)
    expect(account).toMatchObject({ holds: false, lost: ['k'], duplicated: ['l'], misplaced: ['l', 'm'] })
  })

  it('finds a version older than acknowledged, and one that nobody wrote', () => {
    const ledger = ledgerOf(['k', 'acknowledged'], ['k', 'acknowledged'], ['l', 'acknowledged'])
    const rows = [
      { key: 'k', version: 1, shard: 'a' },
      { key: 'l', version: 7, shard: 'a' },
    ]
    expect(ledger.account(rows, onA)).toMatchObject({ holds: false, stale: ['k', 'l'] })
  })

  it('finds a row whose writer was told that it was refused', () => {
    const ledger = ledgerOf(['k', 'acknowledged'], ['k', 'refused'], ['l', 'refused'], ['m', 'refused'])
    const rows = [
      { key: 'k', version: 1, shard: 'a' },
      { key: 'l', version: 1, shard: 'a' },
    ]
    expect(ledger.account(rows, onA)).toMatchObject({ holds: false, denied: ['l'] })
  })

  it('places a row by its shard key where that is another than its key', () => {
    const ledger = ledgerOf(['k', 'acknowledged'])
    const rows = [{ key: 'k', version: 1, shard: 'a', shardKey: 'elsewhere' }]
    expect(ledger.account(rows, (key) => (key === 'k' ? 'a' : 'b'))).toMatchObject({ misplaced: ['k'] })
  })

  it('does not ask for a write that was refused or whose outcome is unknown', () => {
    const ledger = ledgerOf(['k', 'refused'], ['l', 'unknown'])
    expect(ledger.account([], onA)).toMatchObject({ holds: true, refused: 1, unknown: 1 })
  })
})
