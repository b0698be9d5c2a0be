import { describe, expect, test } from 'vitest'
import { systemClock } from '../runtime/mod.ts'
import { inParallel, pollUntil, settlesWithin } from './wait.ts'

describe('waiting', () => {
  test('asks until there is an answer', async () => {
    const answers = [null, null, 'yes']
    const bounds = { clock: systemClock, timeoutMs: 30_000, everyMs: 1 }
    expect(await pollUntil(async () => answers.shift() ?? null, bounds)).toBe('yes')
  })

  test('gives up when the time is over, after asking once more', async () => {
    let asked = 0
    const ask = async (): Promise<null> => {
      asked += 1
      return null
    }
    expect(await pollUntil(ask, { clock: systemClock, timeoutMs: 0 })).toBe(null)
    expect(asked).toBe(1)
  })

  test('ends with the reason of the signal', async () => {
    const stop = new AbortController()
    const waiting = pollUntil(async () => null, {
      clock: systemClock,
      timeoutMs: 60_000,
      signal: stop.signal,
    })
    stop.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
  })

  test('tells work that settles, well or badly, from work that does not', async () => {
    expect(await settlesWithin(systemClock, 30_000, Promise.resolve())).toBe(true)
    expect(await settlesWithin(systemClock, 30_000, Promise.reject(new Error('no')))).toBe(true)
    expect(await settlesWithin(systemClock, 1, new Promise(() => undefined))).toBe(false)
  })

  test('runs no more jobs at once than allowed, and all of them', async () => {
    let running = 0
    let most = 0
    const done: number[] = []
    await inParallel(3, [1, 2, 3, 4, 5, 6, 7], async (item) => {
      most = Math.max(most, ++running)
      await Promise.resolve()
      running -= 1
      done.push(item)
    })
    expect(most).toBe(3)
    expect(done.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  test('fails with the first failure, after what began has ended', async () => {
    const ended: number[] = []
    const work = inParallel(2, [1, 2, 3], async (item) => {
      if (item === 1) throw new Error('first')
      await Promise.resolve()
      ended.push(item)
    })
    await expect(work).rejects.toThrow('first')
    expect(ended).toEqual([2])
  })
})
