// A worker process for kill.pg.test.ts: carries reshard jobs on until it reaches a checkpoint that no process before
// it has died at, says so, and kills itself there as by kill -9. When the test is gone it goes, too.
import { once } from 'node:events'
import { createCatalogView, openCatalogStore } from '../../catalog/mod.ts'
import { createReshardEngine } from '../../engine/mod.ts'
import { createMetrics, silentLogger, systemClock } from '../../runtime/mod.ts'
import { WorkerRunner } from '../runner.ts'
import { testUnitRowsMax, workerParts } from './testing.ts'
import { createReshardWorker } from './worker.ts'

/** What the test sends. */
export interface KillOrder {
  readonly catalogUrl: string
  readonly password: string
  /** Checkpoints to be passed. */
  readonly passed: readonly string[]
  /** The only steps to die at; null: all. */
  readonly only: readonly string[] | null
  readonly leaseTtlMs: number
}

const die = (): void => {
  process.kill(process.pid, 'SIGKILL')
}
process.once('disconnect', die)
const [order] = (await once(process, 'message')) as [KillOrder]
const passed = new Set(order.passed)
const deps = { clock: systemClock, log: silentLogger }
const store = openCatalogStore(order.catalogUrl, deps)
const view = createCatalogView({ ...deps, store })
const definition = createReshardWorker({
  engine: createReshardEngine('postgres', deps),
  unitRowsMax: testUnitRowsMax,
  checkpoint: (name) =>
    passed.has(name) || order.only?.some((step) => name.endsWith(` ${step}`)) === false
      ? undefined
      : new Promise(() => {
          process.send?.(name, undefined, undefined, die)
        }),
})
const runner = new WorkerRunner({
  metrics: createMetrics(false),
  ...workerParts(store, order.password),
  clock: systemClock,
  view,
  worker: `child-${String(process.pid)}`,
  definitions: [definition],
  options: { leaseTtlMs: order.leaseTtlMs, retryMsMin: 50, retryMsMax: 200 },
})
const { signal } = new AbortController()
await Promise.all([view.run(signal), runner.run(signal)])
