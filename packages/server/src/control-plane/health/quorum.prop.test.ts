// The arithmetic, against every way in which an acknowledged write can lie on its replicas.
import { parseNodeId, type CommitQuorum, type NodeId } from '@fleetshard/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isSynchronous, missingProof } from './quorum.ts'

const ids = ['a', 'b', 'c', 'd', 'e', 'f'].map(parseNodeId)
const quorums: fc.Arbitrary<CommitQuorum> = fc
  .subarray(ids, { minLength: 1 })
  .chain((members) => fc.integer({ min: 1, max: members.length }).map((required) => ({ members, required })))

/** All ways to choose so many of them. */
function choices(members: readonly NodeId[], count: number): readonly (readonly NodeId[])[] {
  if (count === 0) return [[]]
  return members.flatMap((first, index) =>
    choices(members.slice(index + 1), count - 1).map((rest) => [first, ...rest]),
  )
}

describe('the proof of a quorum', () => {
  it('holds exactly when no acknowledged write can be missed and none can be acknowledged any more', () => {
    fc.assert(
      fc.property(fc.array(quorums, { minLength: 1, maxLength: 2 }), fc.subarray(ids), (sets, revoked) => {
        const cutOff = new Set(revoked)
        const isExact = sets.every(
          ({ members, required }) =>
            choices(members, required).every((confirmed) => confirmed.some((one) => cutOff.has(one))) &&
            members.filter((member) => !cutOff.has(member)).length < required,
        )
        expect(missingProof(sets, cutOff) === null).toBe(isExact)
      }),
    )
  })

  it('is never there where a set waits for nobody', () => {
    fc.assert(
      fc.property(quorums, (set) => {
        expect(isSynchronous([set])).toBe(true)
        for (const sets of [[null], [set, null], [null, set], []]) {
          expect(missingProof(sets, new Set(ids))).not.toBeNull()
        }
      }),
    )
  })
})
