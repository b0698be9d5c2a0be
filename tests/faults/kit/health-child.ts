// A health controller in a process of its own, for tests that kill it: goes on until it reaches a checkpoint that no
// process before it has died at, says so, and kills itself there as by kill -9. When the test is gone it goes, too.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createAgentClient } from '../../../packages/server/src/agent-api/mod.ts'
import {
  createCatalog,
  createCatalogView,
  openCatalogStore,
} from '../../../packages/server/src/catalog/mod.ts'
import { createHealthController } from '../../../packages/server/src/control-plane/health/mod.ts'
import { createHealthEngine } from '../../../packages/server/src/engine/mod.ts'
import { silentLogger, systemClock } from '../../../packages/server/src/runtime/mod.ts'

/** What the test sends. */
export interface HealthOrder {
  readonly catalogUrl: string
  readonly agentToken: string
  readonly password: string
  /** Checkpoints to be passed. */
  readonly passed: readonly string[]
  readonly leaseTtlMs: number
}

const die = (): void => {
  process.kill(process.pid, 'SIGKILL')
}
process.once('disconnect', die)
const [order] = (await once(process, 'message')) as [HealthOrder]
const passed = new Set(order.passed)
const deps = { clock: systemClock, log: silentLogger }
const store = openCatalogStore(order.catalogUrl, deps)
const view = createCatalogView({ ...deps, store })
const controller = createHealthController({
  ...deps,
  catalog: createCatalog({ store, clock: systemClock, uuid: randomUUID }),
  view,
  engine: (name) => createHealthEngine(name, deps),
  target: ({ host, port, database, user, tls }) =>
    Promise.resolve({ host, port, database, user, tls, password: order.password }),
  agent: ({ url }) => Promise.resolve(createAgentClient({ url, token: order.agentToken })),
  checkpoint: (name) =>
    passed.has(name)
      ? undefined
      : new Promise(() => {
          process.send?.(name, undefined, undefined, die)
        }),
  options: {
    id: `child-${String(process.pid)}`,
    probeMs: 200,
    probeTimeoutMs: 1_000,
    lagBytesMax: 0,
    degradeMs: 60_000,
    leaseTtlMs: order.leaseTtlMs,
  },
})
const { signal } = new AbortController()
await Promise.all([view.run(signal), controller.run(signal)])
