import { describe, expect, it } from 'vitest'
import { silentLogger } from '../runtime/mod.ts'
import { createMemoryBackend } from './backends/memory/mod.ts'
import { failure } from './conformance/harness.ts'
import { holdLease, type LeaseDeps } from './leases.ts'
import type { StoreLease } from './store.ts'
import { manualClock } from '../runtime/testing/manual-clock.ts'

const ttlMs = 9_000

function open() {
  const clock = manualClock()
  const backend = createMemoryBackend({ clock })
  const store = backend.open()
  const deps: LeaseDeps = { store, clock, log: silentLogger }
  const write = (lease: StoreLease) => store.commit([], [{ kind: 'put', key: 'k', value: '1', lease }])
  const isThere = async () => (await store.read('k')).entries.length === 1
  return { clock, backend, store, deps, write, isThere }
}

describe('a held lease', () => {
  it('lasts as long as it is renewed, and ends when it is released', async () => {
    const { clock, deps, write, isThere } = open()
    const held = await holdLease(deps, ttlMs)
    await write(held.lease)
    await clock.pass(ttlMs * 20)
    expect(held.isHeld()).toBe(true)
    expect(held.lost.aborted).toBe(false)
    expect(await isThere()).toBe(true)
    await held.release()
    expect(held.isHeld()).toBe(false)
    expect(await isThere()).toBe(false)
    await held.release()
  })

  it('is told as lost before the store can give the key to another', async () => {
    const { clock, backend, deps, write, isThere } = open()
    const held = await holdLease(deps, ttlMs)
    await write(held.lease)
    await clock.pass(ttlMs * 2)
    backend.setReachable(false)
    const order: string[] = []
    held.lost.addEventListener('abort', () => {
      order.push('lost')
    })
    // Every millisecond: whenever the key is gone, the loss was told before.
    for (let passed = 0; passed < ttlMs * 2; passed += 100) {
      await clock.pass(100)
      backend.setReachable(true)
      if (!order.includes('gone') && !(await isThere())) order.push('gone')
      backend.setReachable(false)
    }
    expect(order).toEqual(['lost', 'gone'])
    await failure(Promise.reject(held.lost.reason as Error), 'lease_lost')
    backend.setReachable(true)
  })

  it('survives an outage that is shorter than it', async () => {
    const { clock, backend, deps, write, isThere } = open()
    const held = await holdLease(deps, ttlMs)
    await write(held.lease)
    backend.setReachable(false)
    await clock.pass(ttlMs / 2)
    backend.setReachable(true)
    await clock.pass(ttlMs * 3)
    expect(held.isHeld()).toBe(true)
    expect(await isThere()).toBe(true)
    await held.release()
  })

  it('is not held after a sleep past its end, before any timer has fired', async () => {
    const { clock, deps } = open()
    let asleepMs = 0
    const late: LeaseDeps = { ...deps, clock: { ...clock, monotonic: () => clock.monotonic() + asleepMs } }
    const held = await holdLease(late, ttlMs)
    expect(held.isHeld()).toBe(true)
    asleepMs = ttlMs
    expect(held.lost.aborted).toBe(false)
    expect(held.isHeld()).toBe(false)
    await held.release()
  })

  it('counts from when a renewal was sent, not from when it was answered', async () => {
    const { clock, deps } = open()
    let answer: (() => void) | null = null
    const store: LeaseDeps['store'] = {
      ...deps.store,
      lease: async () => ({
        ...(await deps.store.lease(ttlMs)),
        keepAlive: (signal) =>
          new Promise((resolve, reject) => {
            answer = resolve
            signal?.addEventListener('abort', () => {
              reject(signal.reason as Error)
            })
          }),
      }),
    }
    const held = await holdLease({ ...deps, store }, ttlMs)
    await clock.pass(ttlMs / 3)
    // Sent at 1/3, answered at 2/3: certain until 1/3 + 9/10 of the time.
    await clock.pass(ttlMs / 3)
    const reply = answer as (() => void) | null
    reply?.()
    await clock.pass(ttlMs * 0.5)
    expect(held.isHeld()).toBe(true)
    await clock.pass(ttlMs * 0.1)
    expect(held.isHeld()).toBe(false)
    expect(held.lost.aborted).toBe(true)
    await held.release()
  })

  it('is lost at once when the store says so', async () => {
    const { clock, deps } = open()
    const held = await holdLease(deps, ttlMs)
    await held.lease.revoke()
    await clock.pass(ttlMs / 3 + 1)
    expect(held.lost.aborted).toBe(true)
    await held.release()
  })
})
