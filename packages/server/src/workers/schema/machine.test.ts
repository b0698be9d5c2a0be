// The machine is whole: every state is reached, every state has a way out, and no path from a commit to a rollback.
import { describe, expect, it } from 'vitest'
import {
  hasEnded,
  isDecidedToCommit,
  nextState,
  parseSchemaState,
  schemaMachine,
  type SchemaEvent,
  type SchemaState,
  type StateSpec,
} from './machine.ts'

const states = Object.keys(schemaMachine).map(parseSchemaState)
const specOf = (state: SchemaState): StateSpec => schemaMachine[state]
const events = [...new Set(states.flatMap((state) => Object.keys(specOf(state).next)))] as SchemaEvent[]

function reachable(from: SchemaState): Set<SchemaState> {
  const found = new Set<SchemaState>([from])
  for (const state of found) for (const next of Object.values(specOf(state).next)) found.add(next)
  return found
}

describe('the machine of a schema job', () => {
  it('reaches every state from the first', () => {
    expect([...reachable('planned')].sort()).toEqual([...states].sort())
  })

  it.each(states)('has a way out of %s', (state) => {
    const ends = [...reachable(state)].filter(hasEnded)
    expect(ends.length).toBeGreaterThan(0)
    if (hasEnded(state)) expect(specOf(state).next).toEqual({})
  })

  it('never comes from a decision to commit to a rollback, nor back (invariant 1)', () => {
    for (const state of states) {
      const later = [...reachable(state)]
      if (isDecidedToCommit(state)) expect(later.every(isDecidedToCommit)).toBe(true)
      if (state === 'rolling_back' || state === 'failed') expect(later.some(isDecidedToCommit)).toBe(false)
    }
  })

  it('goes around in no circle: each step is progress', () => {
    for (const state of states) {
      for (const next of Object.values(specOf(state).next)) expect(reachable(next).has(state)).toBe(false)
    }
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
    expect(() => parseSchemaState('toString')).toThrow(/no state/)
  })

  it('shows as the status that its end is', () => {
    expect(states.filter((state) => specOf(state).status === 'completed')).toEqual(['completed'])
    expect(states.filter((state) => specOf(state).status === 'failed')).toEqual(['failed'])
  })
})
