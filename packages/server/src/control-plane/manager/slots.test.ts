import { describe, expect, it } from 'vitest'
import { createKeyedMutex, waitersMax } from './keyed-mutex.ts'
import { createSlots } from './slots.ts'

const never = new AbortController().signal

describe('createSlots', () => {
  it('runs so many at a time, in order, and goes on after a failure', async () => {
    const slots = createSlots(2)
    const gates = Array.from({ length: 4 }, () => Promise.withResolvers<undefined>())
    const begun: number[] = []
    const runs = gates.map((gate, index) =>
      slots.run(never, async () => {
        begun.push(index)
        await gate.promise
      }),
    )
    await Promise.resolve()
    expect(begun).toEqual([0, 1])
    gates[1]?.reject(new Error('failed'))
    await expect(runs[1]).rejects.toThrow('failed')
    gates[0]?.resolve(undefined)
    gates[2]?.resolve(undefined)
    gates[3]?.resolve(undefined)
    await Promise.all([runs[0], runs[2], runs[3]])
    expect(begun).toEqual([0, 1, 2, 3])
  })

  it('lets one who waits give up, without losing a place', async () => {
    const slots = createSlots(1)
    const gate = Promise.withResolvers<undefined>()
    const first = slots.run(never, () => gate.promise)
    const stop = new AbortController()
    const second = slots.run(stop.signal, async () => 'second')
    const third = slots.run(never, async () => 'third')
    stop.abort(new Error('enough'))
    await expect(second).rejects.toThrow('enough')
    gate.resolve(undefined)
    await first
    expect(await third).toBe('third')
    expect(await slots.run(never, async () => 'fourth')).toBe('fourth')
  })
})

describe('createKeyedMutex', () => {
  it('runs one at a time for a key, and keys side by side', async () => {
    const mutex = createKeyedMutex()
    const gate = Promise.withResolvers<undefined>()
    const order: string[] = []
    const first = mutex.run('a', never, async () => {
      await gate.promise
      order.push('a1')
    })
    const second = mutex.run('a', never, async () => {
      order.push('a2')
    })
    await mutex.run('b', never, async () => {
      order.push('b')
    })
    gate.resolve(undefined)
    await Promise.all([first, second])
    expect(order).toEqual(['b', 'a1', 'a2'])
  })

  it('passes failures on and lets the next one in', async () => {
    const mutex = createKeyedMutex()
    await expect(mutex.run('a', never, async () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await mutex.run('a', never, async () => 1)).toBe(1)
  })

  it('refuses more waiters than its bound, and those whose time is over', async () => {
    const mutex = createKeyedMutex()
    const gate = Promise.withResolvers<undefined>()
    const stop = new AbortController()
    const runs = Array.from({ length: waitersMax }, (_, index) =>
      mutex.run('a', stop.signal, async () => (index === 0 ? gate.promise : undefined)),
    )
    await expect(mutex.run('a', never, async () => 1)).rejects.toMatchObject({ code: 'overloaded' })
    stop.abort(new Error('over'))
    gate.resolve(undefined)
    const outcomes = await Promise.allSettled(runs)
    expect(outcomes.slice(1).every(({ status }) => status === 'rejected')).toBe(true)
  })
})
