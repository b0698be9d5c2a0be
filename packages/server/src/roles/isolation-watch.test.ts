// Which primaries the watch stops, with an agent and a catalog that are stand-ins.
import { expect, it } from 'vitest'
import type { Clock } from '@fleetshard/core'
import type { Agent } from '../agent/mod.ts'
import type { Catalog } from '../catalog/mod.ts'
import { silentLogger } from '../runtime/mod.ts'
import { isolationWatch } from './isolation-watch.ts'

it('stops a primary that is alone, also one whose shard was made a moment before', async () => {
  const stop = new AbortController()
  let nowMs = 0
  const stopped: string[] = []
  const world = { servers: ['old'], nodes: ['old'], isThere: true }
  const steps: readonly (readonly [number, () => void])[] = [
    [20_000, () => world.servers.push('new')],
    [22_000, () => world.nodes.push('new')],
    [24_000, () => (world.isThere = false)],
    [
      40_000,
      () => {
        stop.abort()
      },
    ],
  ]
  const due = [...steps]
  const clock = {
    monotonic: () => nowMs,
    after: () => () => undefined,
    sleep: (ms: number) => {
      nowMs += ms
      while (due[0] !== undefined && due[0][0] <= nowMs) due.shift()?.[1]()
      return Promise.resolve()
    },
  } as unknown as Clock
  const there = <T>(value: T): Promise<T> =>
    world.isThere ? Promise.resolve(value) : Promise.reject(new Error('the catalog is gone'))
  const watch = isolationWatch({
    id: 'agent',
    clock,
    log: silentLogger,
    isolationMs: 5_000,
    agent: {
      list: () => world.servers.map((id) => ({ id, kind: 'primary', state: 'running' })),
      hearsReplica: (id: string) => Promise.resolve(id === 'old'),
      standDown: (id: string) => {
        stopped.push(`${id} at ${String(nowMs)}`)
        world.servers = world.servers.filter((one) => one !== id)
        return Promise.resolve()
      },
    } as unknown as Agent,
    catalog: {
      keyspaces: { list: () => there([{ record: { name: 'app', durability: 'protection' } }]) },
      shards: {
        list: () => there([{ record: { nodes: world.nodes.map((id) => ({ id, agent: 'agent' })) } }]),
      },
    } as unknown as Catalog,
  })
  await watch.run(stop.signal)
  expect(stopped).toEqual(['new at 29000'])
})
