// The buffer of held statements: they go on with the next map, and never more of them nor longer than its bounds.
import { FleetError, type ShardMap, type ShardRecord } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { Cancellation } from './cancellation.ts'
import { HoldBuffer } from './hold-buffer.ts'
import { heldMax, heldMsMax } from './limits.ts'

const shard = { name: 'a' } as ShardRecord
const mapAt = (epoch: number): ShardMap => ({ epoch }) as ShardMap

function makeBuffer() {
  let nowMs = 0
  let current = mapAt(1)
  const waiting = new Set<() => void>()
  const buffer = new HoldBuffer({
    clock: {
      now: () => nowMs,
      monotonic: () => nowMs,
      after: () => () => undefined,
      sleep: () => Promise.resolve(),
    },
    newerMap: () =>
      new Promise((resolve) => {
        waiting.add(resolve)
      }),
  })
  const wake = (): void => {
    for (const resolve of waiting) resolve()
    waiting.clear()
  }
  return {
    buffer,
    wait: (cancellation = new Cancellation()) =>
      buffer.wait(shard, mapAt(1), { map: () => current, cancellation }),
    flip: (epoch: number): void => {
      current = mapAt(epoch)
      wake()
    },
    pass: (ms: number): void => {
      nowMs += ms
      wake()
    },
  }
}

describe('the buffer of held statements', () => {
  it('lets go when the map is newer, and not for any other news', async () => {
    const { buffer, wait, flip, pass } = makeBuffer()
    let isDone = false
    const waiting = wait().then(() => (isDone = true))
    pass(10)
    await Promise.resolve()
    expect(isDone).toBe(false)
    expect(buffer.held).toBe(1)
    await new Promise(setImmediate)
    flip(2)
    await waiting
    expect(buffer.held).toBe(0)
  })

  it('holds no more than its bound: the next is refused at once', async () => {
    const { wait, flip, buffer } = makeBuffer()
    const all = Array.from({ length: heldMax }, () => wait())
    await expect(wait()).rejects.toMatchObject({ code: 'overloaded', retryable: true })
    flip(2)
    await Promise.all(all)
    expect(buffer.held).toBe(0)
  })

  it('gives up after its time, as what may be tried again', async () => {
    const { wait, pass, buffer } = makeBuffer()
    const refused = expect(wait()).rejects.toMatchObject({ code: 'shard_unavailable', retryable: true })
    pass(heldMsMax)
    await refused
    expect(buffer.held).toBe(0)
  })

  it('lets a client go that does not want to wait any more', async () => {
    const { wait, buffer } = makeBuffer()
    const cancellation = new Cancellation()
    const refused = expect(wait(cancellation)).rejects.toMatchObject({ code: 'canceled' })
    cancellation.cancel(new FleetError('canceled', 'gone'))
    await refused
    expect(buffer.held).toBe(0)
  })
})
