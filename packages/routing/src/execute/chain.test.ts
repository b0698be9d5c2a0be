// A chain: the order of its members, and members that come and go while others look at them.
import { describe, expect, it } from 'vitest'
import { Chain, type Linked } from './chain.ts'

interface Named extends Linked<Named> {
  readonly name: string
}

const named = (name: string): Named => ({ name, chain: null, before: null, behind: null })
const names = (chain: Chain<Named>): string =>
  chain
    .members()
    .map(({ name }) => name)
    .join('')

describe('a chain', () => {
  it('keeps the order in which members came, wherever others leave', () => {
    const chain = new Chain<Named>()
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(named) as [Named, Named, Named, Named]
    for (const member of [a, b, c, d]) chain.add(member)
    expect([names(chain), chain.size, chain.first]).toEqual(['abcd', 4, a])
    expect([chain.delete(b), chain.delete(a), chain.delete(d)]).toEqual([true, true, true])
    expect([names(chain), chain.size, chain.first]).toEqual(['c', 1, c])
    chain.add(b)
    chain.delete(c)
    chain.add(a)
    expect(names(chain)).toBe('ba')
  })

  it('has each member once, and knows who is in it', () => {
    const [chain, other] = [new Chain<Named>(), new Chain<Named>()]
    const a = named('a')
    chain.add(a)
    chain.add(a)
    expect([chain.size, chain.has(a), other.has(a)]).toEqual([1, true, false])
    expect([other.delete(a), chain.delete(a), chain.delete(a)]).toEqual([false, true, false])
    expect([chain.size, chain.first]).toEqual([0, null])
    other.add(a)
    expect(names(other)).toBe('a')
  })

  it('leaves no reference in a member that has gone', () => {
    const chain = new Chain<Named>()
    const [a, b, c] = ['a', 'b', 'c'].map(named) as [Named, Named, Named]
    for (const member of [a, b, c]) chain.add(member)
    chain.delete(b)
    expect(b).toEqual(named('b'))
  })
})
