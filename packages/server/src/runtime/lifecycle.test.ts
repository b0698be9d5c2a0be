import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { serviceGroup, type GroupOptions, type Service } from './lifecycle.ts'
import { silentLogger } from './log.ts'
import { manualClock } from './testing/manual-clock.ts'

interface Behaviour {
  readonly fail?: Promise<never>
  readonly ready?: Promise<void>
  readonly drain?: () => Promise<void>
  readonly ignoreStop?: boolean
}

/** A service that writes down what happens to it. */
function service(name: string, events: string[], behaviour: Behaviour = {}): Service {
  return {
    name,
    async run(signal) {
      events.push(`${name} runs`)
      const stopped = new Promise<void>((resolve) => {
        if (behaviour.ignoreStop !== true) signal.addEventListener('abort', () => resolve())
      })
      await Promise.race([stopped, behaviour.fail ?? new Promise<never>(() => undefined)])
      events.push(`${name} stops`)
    },
    ...(behaviour.ready === undefined ? {} : { ready: () => behaviour.ready ?? Promise.resolve() }),
    async drain() {
      events.push(`${name} drains`)
      await behaviour.drain?.()
    },
    async [Symbol.asyncDispose]() {
      events.push(`${name} disposed`)
      await Promise.resolve()
    },
  }
}

function setup(extra: Partial<GroupOptions> = {}) {
  const clock = manualClock()
  const stop = new AbortController()
  const options = { log: silentLogger, clock, drainMs: 1000, stopMs: 500, ...extra }
  return { clock, stop, options, events: [] as string[] }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('a group of services', () => {
  test('starts in order, drains and stops in reverse', async () => {
    const { stop, options, events } = setup()
    const group = serviceGroup('all', [service('a', events), service('b', events)], options)
    const running = group.run(stop.signal)
    await group.ready?.()
    stop.abort()
    await running
    await group[Symbol.asyncDispose]()
    expect(events).toEqual([
      'a runs',
      'b runs',
      'b drains',
      'b stops',
      'a drains',
      'a stops',
      'b disposed',
      'a disposed',
    ])
  })

  test('starts a service only when the one before is ready', async () => {
    const { stop, options, events } = setup()
    const ready = Promise.withResolvers<void>()
    const group = serviceGroup(
      'all',
      [service('a', events, { ready: ready.promise }), service('b', events)],
      options,
    )
    const running = group.run(stop.signal)
    await turn()
    expect(events).toEqual(['a runs'])
    ready.resolve()
    await group.ready?.()
    expect(events).toEqual(['a runs', 'b runs'])
    stop.abort()
    await running
  })

  test('the first failure stops the others and is what run rejects with', async () => {
    const { stop, options, events } = setup()
    const broken = Promise.withResolvers<never>()
    const services = [
      service('a', events),
      service('b', events, { fail: broken.promise }),
      service('c', events),
    ]
    const group = serviceGroup('all', services, options)
    const running = group.run(stop.signal)
    await group.ready?.()
    broken.reject(new Error('the disk is gone'))
    await expect(running).rejects.toThrow('the disk is gone')
    expect(events).toContain('a stops')
    expect(events).toContain('c stops')
  })

  test('a failure while starting keeps the later ones from starting', async () => {
    const { stop, options, events } = setup()
    const fail = Promise.reject(new Error('no port'))
    const services = [
      service('a', events),
      service('b', events, { fail, ready: new Promise(() => undefined) }),
      service('c', events),
    ]
    await expect(serviceGroup('all', services, options).run(stop.signal)).rejects.toThrow('no port')
    expect(events).not.toContain('c runs')
    expect(events).toContain('a stops')
  })

  test('a service that ends by itself is a failure', async () => {
    const { stop, options, events } = setup()
    const ends: Service = { ...service('short', events), run: () => Promise.resolve() }
    await expect(serviceGroup('all', [ends], options).run(stop.signal)).rejects.toThrow(
      'short ended without being asked to',
    )
  })

  test('a drain that takes too long is cut off', async () => {
    const { clock, stop, options, events } = setup()
    const group = serviceGroup(
      'all',
      [service('a', events, { drain: () => new Promise(() => undefined) })],
      options,
    )
    const running = group.run(stop.signal)
    await group.ready?.()
    stop.abort()
    await turn()
    expect(events).toEqual(['a runs', 'a drains'])
    clock.advance(1000)
    await running
    expect(events).toEqual(['a runs', 'a drains', 'a stops'])
  })

  test('a second signal ends draining at once', async () => {
    const forced = new AbortController()
    const { stop, options, events } = setup({ forced: forced.signal })
    const group = serviceGroup(
      'all',
      [service('a', events, { drain: () => new Promise(() => undefined) })],
      options,
    )
    const running = group.run(stop.signal)
    await group.ready?.()
    stop.abort()
    await turn()
    forced.abort()
    await running
    expect(events).toEqual(['a runs', 'a drains', 'a stops'])
  })

  test('a service that does not stop is left behind, with a line in the log', async () => {
    const lines: string[] = []
    const log = pino({}, { write: (line: string) => void lines.push(line) })
    const { clock, stop, options, events } = setup({ log })
    const group = serviceGroup('all', [service('stuck', events, { ignoreStop: true })], options)
    const running = group.run(stop.signal)
    await group.ready?.()
    stop.abort()
    await turn()
    clock.advance(500)
    await running
    expect(lines.join('')).toContain('service did not stop in time')
  })

  test('a drain that fails does not keep the rest from stopping', async () => {
    const { stop, options, events } = setup()
    const drain = (): Promise<void> => Promise.reject(new Error('no'))
    const group = serviceGroup('all', [service('a', events), service('b', events, { drain })], options)
    const running = group.run(stop.signal)
    await group.ready?.()
    stop.abort()
    await running
    expect(events.filter((event) => event.endsWith('stops'))).toEqual(['b stops', 'a stops'])
  })

  test('nothing starts when the signal has aborted before', async () => {
    const { stop, options, events } = setup()
    stop.abort()
    await serviceGroup('all', [service('a', events)], options).run(stop.signal)
    expect(events).toEqual([])
  })

  test('a group is a service of another group', async () => {
    const { stop, options, events } = setup()
    const inner = serviceGroup('inner', [service('a', events), service('b', events)], options)
    const outer = serviceGroup('outer', [inner, service('c', events)], options)
    const running = outer.run(stop.signal)
    await outer.ready?.()
    stop.abort()
    await running
    expect(events.slice(0, 3)).toEqual(['a runs', 'b runs', 'c runs'])
    expect(events.filter((event) => event.endsWith('stops'))).toEqual(['c stops', 'b stops', 'a stops'])
  })

  test('leaves no timer behind', async () => {
    const { clock, stop, options, events } = setup()
    const group = serviceGroup('all', [service('a', events)], options)
    const running = group.run(stop.signal)
    await group.ready?.()
    stop.abort()
    await running
    expect(clock.pending()).toBe(0)
  })
})
