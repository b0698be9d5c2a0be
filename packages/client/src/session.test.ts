import { describe, expect, it } from 'vitest'
import { unknownPosition, type SessionToken } from '@fleetshard/core'
import { ClientSession, looksLikeRead } from './session.ts'

describe('what may go out again under read_only', () => {
  it.each([
    'select 1',
    '  SELECT 1',
    '-- note\nselect 1',
    '/* a */ with a as (select 1) select 1',
    'values (1)',
    'table t',
    '\nexplain select 1',
  ])('is %j', (text) => {
    expect(looksLikeRead(text)).toBe(true)
  })

  it.each([
    'insert into t values (1)',
    'update t set a = 1',
    'call p()',
    '/* select */ delete from t',
    'selection',
    '-- select 1',
  ])('is not %j', (text) => {
    expect(looksLikeRead(text)).toBe(false)
  })
})

describe('the session of a client', () => {
  const at = (lsn: bigint): SessionToken => ({
    positions: new Map([['app/s0', { timeline: 1, lsn }]]),
    hasMore: false,
  })
  const unplaced: SessionToken = { positions: new Map([['app/s0', unknownPosition]]), hasMore: false }
  const lsnOf = (session: ClientSession) => session.current.positions.get('app/s0')?.lsn

  it('is used from the first look on', () => {
    const session = new ClientSession()
    expect(session.isUsed).toBe(false)
    expect(session.text).toBeNull()
    expect(session.isUsed).toBe(true)
    const asking = new ClientSession()
    asking.tokenFor('select 1', { session: null })
    expect(asking.isUsed).toBe(true)
  })

  it('sends reads to the primary after a write without a position, until a later write has one', () => {
    const session = new ClientSession()
    session.merge(unplaced)
    expect(lsnOf(session)).toBe(unknownPosition.lsn)
    session.merge(at(7n), session.moment)
    expect(lsnOf(session)).toBe(7n)
  })

  it('does not take a position for that of a write that was told after it was asked', () => {
    const session = new ClientSession()
    const sentAt = session.moment
    session.merge(unplaced, sentAt)
    session.merge(at(7n), sentAt)
    expect(lsnOf(session)).toBe(unknownPosition.lsn)
  })
})
