import { parseLsn, parseNodeId } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import type { ReplicaPosition } from '../../engine/mod.ts'
import { elect, type Ballot, type Preference } from './election.ts'

const none: Preference = { wanted: null, allowDataLoss: false, shutdownPosition: null }

function ballot(id: string, position: Partial<ReplicaPosition> | null, more: Partial<Ballot> = {}): Ballot {
  const read: ReplicaPosition | null =
    position === null
      ? null
      : {
          inRecovery: true,
          receiving: false,
          timeline: 1,
          received: parseLsn('0/100'),
          replayed: parseLsn('0/80'),
          exhausted: false,
          ...position,
        }
  return { node: parseNodeId(id), revoked: true, position: read, obstacle: null, ...more }
}
const electedOf = (ballots: readonly Ballot[], preference: Partial<Preference> = {}) =>
  elect(ballots, { ...none, ...preference }).elected

describe('an election', () => {
  it('is won by who has received or replayed the most, whatever is preferred', () => {
    const ballots = [
      ballot('a', { received: parseLsn('0/90'), replayed: parseLsn('0/200') }),
      ballot('b', { received: parseLsn('0/1FF') }),
    ]
    expect(electedOf(ballots)).toBe('a')
    const asked = elect(ballots, { ...none, wanted: parseNodeId('b') })
    expect(asked.elected).toBeNull()
    expect(asked.verdicts[1]?.verdict).toBe(
      'not taken: it is 1 bytes of log behind a; name that one, or allow the loss',
    )
    expect(electedOf(ballots, { wanted: parseNodeId('b'), allowDataLoss: true })).toBe('b')
  })

  it('compares positions on one timeline only: the newer one wins', () => {
    expect(electedOf([ballot('a', { received: parseLsn('9/0') }), ballot('b', { timeline: 2 })])).toBe('b')
  })

  it('lets a wish break ties', () => {
    const ballots = [ballot('a', {}), ballot('b', {})]
    expect(electedOf(ballots)).toBe('a')
    expect(electedOf(ballots, { wanted: parseNodeId('b') })).toBe('b')
  })

  it('counts what was replayed after a restart only once the log is used up', () => {
    const restarted = { received: null, replayed: parseLsn('0/300') }
    expect(electedOf([ballot('a', {}), ballot('b', restarted)])).toBe('a')
    expect(electedOf([ballot('a', {}), ballot('b', { ...restarted, exhausted: true })])).toBe('b')
  })

  it('takes nobody who may still receive, is no replica, or could not be read', () => {
    const { elected, verdicts } = elect(
      [
        ballot('a', { receiving: true }),
        ballot('b', {}, { revoked: false }),
        ballot('c', { inRecovery: false }),
        ballot('d', null, { obstacle: 'no answer' }),
      ],
      none,
    )
    expect(elected).toBeNull()
    expect(verdicts.map(({ verdict, eligible }) => ({ verdict, eligible }))).toEqual([
      { verdict: 'it may still receive from the old primary', eligible: false },
      { verdict: 'it may still receive from the old primary', eligible: false },
      { verdict: 'it is no replica: it was promoted behind our back', eligible: false },
      { verdict: 'no answer', eligible: false },
    ])
  })

  it('takes after a stop in order only who has its last record', () => {
    const shutdownPosition = parseLsn('0/100')
    expect(electedOf([ballot('a', {})], { shutdownPosition })).toBeNull()
    expect(electedOf([ballot('a', { received: parseLsn('0/178') })], { shutdownPosition })).toBe('a')
  })
})
