import { FleetError } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { Cancellation } from './cancellation.ts'

const reason = new FleetError('canceled', 'given up')

describe('waiting until something is done or the request is given up', () => {
  it('ends with either', async () => {
    const cancellation = new Cancellation()
    expect(await cancellation.until(Promise.resolve(1))).toBe(1)
    const waiting = cancellation.until(new Promise(() => undefined))
    cancellation.cancel(reason)
    await expect(waiting).rejects.toBe(reason)
    await expect(cancellation.until(Promise.resolve(1))).rejects.toBe(reason)
  })

  it('leaves alone what is said right after it', async () => {
    const cancellation = new Cancellation()
    await cancellation.until(Promise.resolve())
    const told: FleetError[] = []
    cancellation.whenCancelled((why) => told.push(why))
    await new Promise((resolve) => setImmediate(resolve))
    cancellation.cancel(reason)
    expect(told).toEqual([reason])
  })
})
