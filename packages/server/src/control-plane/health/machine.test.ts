import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { failoverMachine, nextState, type FailoverState, type StateSpec } from './machine.ts'

const states = Object.entries(failoverMachine) as [FailoverState, StateSpec][]
const ended = new Set<FailoverState>(['failed', 'superseded'])

function reachable(from: FailoverState): Set<FailoverState> {
  const found = new Set<FailoverState>([from])
  for (const state of found)
    for (const next of Object.values((failoverMachine[state] as StateSpec).next)) found.add(next)
  return found
}

describe('the machine of a failover', () => {
  it('leads from every state to an end, and every state is reached', () => {
    for (const [state] of states) {
      const found = reachable(state)
      expect({ state, ends: found.has('healthy') || [...ended].some((one) => found.has(one)) }).toEqual({
        state,
        ends: true,
      })
    }
    const all = new Set([...reachable('healthy'), ...reachable('requested')])
    expect(all).toEqual(new Set(states.map(([state]) => state)))
  })

  it('has a way out of every state that has not ended, and a deadline that is one of its events', () => {
    for (const [state, { wayOut, next, deadline }] of states) {
      const isOver = ended.has(state) || state === 'healthy'
      expect({ state, hasWayOut: wayOut !== null }).toEqual({ state, hasWayOut: !isOver })
      if (deadline !== null) expect(Object.keys(next)).toContain(deadline.event)
    }
  })

  it('has no way back once the map names the new primary', () => {
    for (const state of ['map_updated', 'verifying', 'degraded', 'rejoining', 'catching_up'] as const) {
      const { next }: StateSpec = failoverMachine[state]
      expect(['retreating', 'failed', 'promoting']).not.toContain(next.candidate_lost ?? next.retreat)
      expect(Object.values(next)).not.toContain('retreating')
    }
  })

  it('refuses an event that a state does not know', () => {
    expect(nextState('fencing', 'fenced')).toBe('electing')
    expect(() => nextState('fencing', 'mapped')).toThrow('knows no event')
  })

  it('is the one of SPEC.md', () => {
    const spec = readFileSync(new URL('./SPEC.md', import.meta.url), 'utf8')
    const rows = spec.split('\n').flatMap((line) => /^\| `(\w+)` +\|(.*)\|$/.exec(line) ?? [])
    expect(rows.length).toBeGreaterThan(0)
    for (const [state, { deadline }] of states) {
      const row = spec.split('\n').find((line) => line.startsWith(`| \`${state}\` `)) ?? ''
      expect(row, state).not.toBe('')
      if (deadline !== null)
        expect(row).toContain(`${String(deadline.ms / 1000)} s, then \`${deadline.event}\``)
    }
  })
})
