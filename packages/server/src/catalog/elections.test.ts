import { describe, expect, it } from 'vitest'
import { silentLogger } from '../runtime/mod.ts'
import { createMemoryBackend } from './backends/memory/mod.ts'
import { campaign, leadWhileElected, readLeader, watchLeader, type Candidacy } from './elections.ts'
import { manualClock } from '../runtime/testing/manual-clock.ts'

const ttlMs = 3_000

function open() {
  const clock = manualClock()
  const backend = createMemoryBackend({ clock })
  const store = backend.open()
  return { clock, backend, store, deps: { store, clock, log: silentLogger } }
}

const candidacy = (id: string): Candidacy => ({
  name: 'manager',
  candidate: { id, url: null, since: 'now' },
  ttlMs,
})

const forever = new AbortController().signal

describe('an election', () => {
  it('has one leader, and the next one when it resigns', async () => {
    const { clock, store, deps } = open()
    const first = await campaign(deps, candidacy('a'), forever)
    let second: Awaited<ReturnType<typeof campaign>> | null = null
    const waiting = campaign(deps, candidacy('b'), forever).then((won) => (second = won))
    await clock.pass(ttlMs * 10)
    expect(second).toBeNull()
    expect(first.isLeader()).toBe(true)
    expect(await readLeader(store, 'manager')).toMatchObject({ id: 'a' })
    await first.resign()
    const leadership = await waiting
    expect(first.isLeader()).toBe(false)
    expect(leadership.isLeader()).toBe(true)
    expect(await readLeader(store, 'manager')).toMatchObject({ id: 'b' })
    await leadership.resign()
    expect(await readLeader(store, 'manager')).toBeNull()
  })

  it('refuses the commits of a leader that lost', async () => {
    const { clock, store, deps } = open()
    const first = await campaign(deps, candidacy('a'), forever)
    const write = (condition: typeof first.condition) =>
      store.commit([condition], [{ kind: 'put', key: 'k', value: '1' }])
    expect((await write(first.condition)).kind).toBe('committed')
    await first.resign()
    expect((await write(first.condition)).kind).toBe('conflict')
    const again = await campaign(deps, candidacy('a'), forever)
    expect((await write(first.condition)).kind).toBe('conflict')
    expect((await write(again.condition)).kind).toBe('committed')
    await again.resign()
    await clock.pass(1)
  })

  it('never has two who are certain to lead, through outages of the store', async () => {
    const { clock, backend, deps } = open()
    const stop = new AbortController()
    const leading = new Set<string>()
    const terms: string[] = []
    const both: string[][] = []
    const run = (id: string) =>
      leadWhileElected(
        deps,
        candidacy(id),
        async (leadership, signal) => {
          terms.push(id)
          leading.add(id)
          if (leading.size > 1) both.push([...leading])
          await new Promise<void>((resolve) => {
            signal.addEventListener('abort', () => {
              resolve()
            })
          })
          expect(leadership.isLeader()).toBe(false)
          leading.delete(id)
        },
        stop.signal,
      )
    const runs = ['a', 'b', 'c'].map(run)
    for (let outage = 0; outage < 5; outage++) {
      await clock.pass(ttlMs)
      expect(leading.size).toBe(1)
      backend.setReachable(false)
      await clock.pass(ttlMs * 2)
      expect(leading.size).toBe(0)
      backend.setReachable(true)
      await clock.pass(ttlMs * 2)
      expect(leading.size).toBe(1)
    }
    expect(both).toEqual([])
    expect(terms.length).toBeGreaterThanOrEqual(6)
    stop.abort()
    await clock.pass(1)
    await Promise.all(runs)
  })

  it('elects again after a leader whose work fails', async () => {
    const { clock, deps } = open()
    const stop = new AbortController()
    let times = 0
    const running = leadWhileElected(
      deps,
      candidacy('a'),
      () => {
        times++
        return Promise.reject(new Error('broken'))
      },
      stop.signal,
    )
    await clock.pass(ttlMs * 3)
    expect(times).toBeGreaterThan(1)
    stop.abort()
    await clock.pass(1)
    await running
  })

  it('ends a campaign with the reason of its signal', async () => {
    const { clock, deps } = open()
    const first = await campaign(deps, candidacy('a'), forever)
    const stop = new AbortController()
    const waiting = campaign(deps, candidacy('b'), stop.signal)
    const rejected = expect(waiting).rejects.toThrow('enough')
    await clock.pass(1)
    stop.abort(new Error('enough'))
    await rejected
    await first.resign()
  })

  it('can be watched, through outages', async () => {
    const { clock, backend, deps } = open()
    const stop = new AbortController()
    const seen: (string | null)[] = []
    const watching = (async () => {
      for await (const leader of watchLeader(deps, 'manager', stop.signal)) seen.push(leader?.id ?? null)
    })()
    await clock.pass(1)
    const first = await campaign(deps, candidacy('a'), forever)
    await clock.pass(1)
    await first.resign()
    await clock.pass(1)
    backend.compact()
    backend.setReachable(false)
    await clock.pass(1)
    backend.setReachable(true)
    const second = await campaign(deps, candidacy('b'), forever)
    await clock.pass(5_000)
    expect(seen).toEqual([null, 'a', null, 'b'])
    stop.abort()
    await clock.pass(1)
    await watching
    await second.resign()
  })
})
