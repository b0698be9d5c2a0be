// A worker process for kill.pg.test.ts: runs schema jobs until it reaches a given checkpoint, and kills itself there
// as by kill -9. What it needs comes as a message; when the test is gone it goes, too.
import { once } from 'node:events'
import { createCatalogView, openCatalogStore } from '../../catalog/mod.ts'
import { createMetrics, silentLogger, systemClock } from '../../runtime/mod.ts'
import { WorkerRunner } from '../runner.ts'
import { workerParts } from './testing.ts'
import { createSchemaWorker } from './worker.ts'

/** What the test sends. */
export interface KillOrder {
  readonly catalogUrl: string
  readonly password: string
  /** Number of checkpoints that are passed before the end. */
  readonly checkpoints: number
  readonly leaseTtlMs: number
}

const die = (): void => {
  process.kill(process.pid, 'SIGKILL')
}
process.once('disconnect', die)
const [order] = (await once(process, 'message')) as [KillOrder]
const deps = { clock: systemClock, log: silentLogger }
const store = openCatalogStore(order.catalogUrl, deps)
const view = createCatalogView({ ...deps, store })
let passed = 0
const worker = createSchemaWorker(() => {
  if (passed++ >= order.checkpoints) die()
})
const runner = new WorkerRunner({
  metrics: createMetrics(false),
  ...workerParts(store, order.password),
  clock: systemClock,
  view,
  worker: `child-${String(process.pid)}`,
  definitions: [worker],
  options: { leaseTtlMs: order.leaseTtlMs },
})
const { signal } = new AbortController()
await Promise.all([view.run(signal), runner.run(signal)])
