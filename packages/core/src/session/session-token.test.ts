import { describe, expect, it } from 'vitest'
import {
  emptySessionToken,
  formatSessionToken,
  mergeSessionTokens,
  parseSessionToken,
  tokenPositionsMax,
  unknownPosition,
  type SessionPosition,
  type SessionToken,
} from './session-token.ts'

const tokenOf = (entries: Record<string, SessionPosition>): SessionToken => ({
  positions: new Map(Object.entries(entries)),
  hasMore: false,
})

describe('a session token', () => {
  it('reads as it was written', () => {
    const token = tokenOf({
      'app/s-1': { timeline: 3, lsn: 0x16_b374_d848n },
      'other/S_2': unknownPosition,
    })
    expect(parseSessionToken(formatSessionToken(token))).toEqual(token)
    expect(formatSessionToken(parseSessionToken(''))).toBe('')
  })

  it.each([
    'nonsense',
    'fs2,app/s0=1.1',
    'fs1,app/s0=1',
    'fs1,app=1.1',
    'fs1,App/s0=1.1',
    'fs1,app/s0=1.11111111111111111',
    `fs1,${'a'.repeat(20_000)}`,
    `fs1${',app/s0=1.1'.repeat(tokenPositionsMax + 2)}`,
  ])('refuses %s', (text) => {
    expect(() => parseSessionToken(text)).toThrow(
      expect.objectContaining({ code: 'invalid_request' }) as Error,
    )
  })

  it('keeps the later position of each shard when two are merged', () => {
    const one = tokenOf({ 'a/x': { timeline: 1, lsn: 9n }, 'a/y': { timeline: 1, lsn: 9n } })
    const other = tokenOf({
      'a/x': { timeline: 1, lsn: 5n },
      'a/y': { timeline: 2, lsn: 5n },
      'a/z': unknownPosition,
    })
    const merged = tokenOf({
      'a/x': { timeline: 1, lsn: 9n },
      'a/y': { timeline: 2, lsn: 5n },
      'a/z': unknownPosition,
    })
    expect(mergeSessionTokens(one, other)).toEqual(merged)
    expect(mergeSessionTokens(other, one)).toEqual(merged)
    expect(mergeSessionTokens(merged, tokenOf({ 'a/z': { timeline: 9, lsn: 1n } }))).toEqual(merged)
    expect(mergeSessionTokens(emptySessionToken, one)).toEqual(one)
  })

  it('says so when it has no room for all shards', () => {
    let token = emptySessionToken
    for (let index = 0; index < tokenPositionsMax + 5; index += 1)
      token = mergeSessionTokens(token, tokenOf({ [`app/s${String(index)}`]: { timeline: 1, lsn: 1n } }))
    expect(token.positions.size).toBe(tokenPositionsMax)
    expect([token.hasMore, token.positions.has('app/s0'), token.positions.has('app/s68')]).toEqual([
      true,
      false,
      true,
    ])
    expect(parseSessionToken(formatSessionToken(token))).toEqual(token)
  })
})
