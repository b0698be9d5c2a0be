// The machine is whole: every state is reached, every state has a way out, and there is no way past a check.
import { describe, expect, it } from 'vitest'
import {
  hasEnded,
  nextState,
  parseReshardState,
  reshardMachine,
  type ReshardEvent,
  type ReshardState,
  type StateSpec,
} from './machine.ts'

const states = Object.keys(reshardMachine).map(parseReshardState)
const specOf = (state: ReshardState): StateSpec => reshardMachine[state]
const events = [...new Set(states.flatMap((state) => Object.keys(specOf(state).next)))] as ReshardEvent[]

function reachable(from: ReshardState, without: readonly ReshardState[] = []): Set<ReshardState> {
  const found = new Set<ReshardState>([from])
  for (const state of found) {
    for (const next of Object.values(specOf(state).next)) if (!without.includes(next)) found.add(next)
  }
  return found
}

describe('the machine of a reshard job', () => {
  it('reaches every state from the first', () => {
    expect([...reachable('planned')].sort()).toEqual([...states].sort())
  })

  it.each(states)('has a way out of %s', (state) => {
    expect([...reachable(state)].some(hasEnded)).toBe(true)
    if (hasEnded(state)) expect(specOf(state).next).toEqual({})
    expect(specOf(state).wayOut === null).toBe(hasEnded(state))
  })

  it.each(['preflight', 'copying', 'catching_up', 'verifying', 'ready'] as const)(
    'reaches no flip without %s (invariant 6)',
    (step) => {
      const reached = reachable('planned', [step])
      expect(reached.has('cleaning') || reached.has('reversible')).toBe(false)
    },
  )

  it('verifies again before every further attempt at a cutover (invariant 6)', () => {
    expect(reachable(nextState('cutover', 'released'), ['verifying']).has('cutover')).toBe(false)
    expect(reachable(nextState('paused', 'resume'), ['verifying']).has('cutover')).toBe(false)
  })

  it('goes only forward after a flip, or back by another cutover (invariants 8 and 18)', () => {
    expect([...reachable('cleaning')].sort()).toEqual(['cleaning', 'completed'])
    expect([...reachable('removing')].sort()).toEqual(['removing', 'rolled_back'])
    const without = reachable('reversible', ['cutover_back'])
    expect([...without].sort()).toEqual(['cleaning', 'completed', 'reversible', 'reversing'])
  })

  it('leaves a cutover only by one of its compare-and-sets (invariants 8 and 18)', () => {
    expect(Object.keys(specOf('cutover').next).sort()).toEqual(['flipped', 'flipped_reversible', 'released'])
    expect(Object.keys(specOf('cutover_back').next).sort()).toEqual(['flipped_back', 'released_back'])
  })

  it('can end the reversible phase in each state of it before another cutover', () => {
    for (const state of ['reversible', 'reversing'] as const) {
      expect(nextState(state, 'complete')).toBe('cleaning')
    }
  })

  it('comes from undoing to no other end than failed or cancelled', () => {
    expect([...reachable('undoing')].filter(hasEnded).sort()).toEqual(['cancelled', 'failed'])
  })

  it('can be cancelled in every state before the cutover', () => {
    for (const state of ['planned', 'preflight', 'copying', 'catching_up', 'verifying', 'ready', 'paused']) {
      expect(Object.keys(specOf(parseReshardState(state)).next)).toContain('cancel')
    }
  })

  it('copies again before it verifies again, when a unit is missing (invariants 3 and 6)', () => {
    for (const state of ['catching_up', 'verifying', 'ready'] as const)
      expect(nextState(state, 'recopy')).toBe('copying')
    expect(() => nextState('cutover', 'recopy')).toThrow(/does not know/)
  })

  it('refuses an event that a state does not know', () => {
    for (const state of states) {
      for (const event of events) {
        const next = specOf(state).next[event]
        if (next === undefined) expect(() => nextState(state, event)).toThrow(/does not know/)
        else expect(nextState(state, event)).toBe(next)
      }
    }
  })

  it('does not take an unknown state for one of its own', () => {
    expect(() => parseReshardState('toString')).toThrow(/no state/)
  })
})
