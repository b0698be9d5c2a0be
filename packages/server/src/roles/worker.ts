// `fleetshard worker`: carries jobs on, as a process. A new kind of work is a line in workersOf.
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { CommandContext, ExitCode } from '../cli/mod.ts'
import type { Clock } from '@fleetshard/core'
import { createEngine, createReshardEngine, createVdiffEngine } from '../engine/mod.ts'
import { WorkerRunner, type WorkerDefinition } from '../workers/mod.ts'
import { createReshardWorker } from '../workers/reshard/mod.ts'
import { createSchemaWorker } from '../workers/schema/mod.ts'
import { createVdiffWorker } from '../workers/vdiff/mod.ts'
import { openCatalog, viewOf, type OpenCatalog } from './catalog.ts'
import { targetOf } from './node-target.ts'
import { runRole, type Role, type RoleParts } from './process.ts'

/** All workers. */
function workersOf(clock: Clock): readonly WorkerDefinition[] {
  return [
    createSchemaWorker(),
    createReshardWorker({ engine: createReshardEngine('postgres', { clock }) }),
    createVdiffWorker({ engine: createVdiffEngine('postgres', { clock }) }),
  ]
}

/** Runs a worker until a signal. */
export function runWorker(context: CommandContext): Promise<ExitCode> {
  return runRole(context, 'worker', 'worker.metrics-port', (parts) => {
    const open = openCatalog({ ...parts, role: 'worker' })
    return Promise.resolve({ ...buildWorker(parts, open), close: () => open[Symbol.asyncDispose]() })
  })
}

/** The worker as a role; the catalog stays the caller's. */
export function buildWorker({ config, clock, log, metrics, tracing }: RoleParts, open: OpenCatalog): Role {
  const { catalog } = open
  const view = viewOf(catalog, clock, log)
  const worker = `${hostname().slice(0, 40)}-${randomBytes(4).toString('hex')}`
  const runner = new WorkerRunner({
    log,
    clock,
    catalog,
    worker,
    view,
    engineOf: (name) => createEngine(name, { clock }),
    targetOf: (node, signal) => targetOf(open, node, signal),
    definitions: workersOf(clock),
    metrics,
    tracing,
    options: { jobsMax: config.get('worker.jobs-max'), leaseTtlMs: config.get('catalog.lease-ttl-ms') },
  })
  return {
    services: [view, runner],
    address: () => worker,
    close: () => Promise.resolve(),
    health: () => ({ ok: true, role: 'worker', jobs_running: runner.running.length }),
  }
}
