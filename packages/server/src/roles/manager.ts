// `fleetshard manager`: the control plane as a process.
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { CommandContext, ExitCode } from '../cli/mod.ts'
import { createAgentClient } from '../agent-api/mod.ts'
import { createManager } from '../control-plane/manager/mod.ts'
import { createEngine } from '../engine/mod.ts'
import { openCatalog, type OpenCatalog } from './catalog.ts'
import { runRole, type Role, type RoleParts } from './process.ts'

/** Runs a manager until a signal. */
export function runManager(context: CommandContext): Promise<ExitCode> {
  return runRole(context, 'manager', 'manager.metrics-port', (parts) => {
    const open = openCatalog({ ...parts, role: 'manager' })
    return Promise.resolve({ ...buildManager(parts, open), close: () => open[Symbol.asyncDispose]() })
  })
}

/** The manager as a role; the catalog stays the caller's. */
export function buildManager(
  { config, clock, log, metrics, version }: RoleParts,
  { catalog, secrets }: OpenCatalog,
): Role {
  let url = ''
  const manager = createManager({
    log,
    clock,
    catalog,
    secrets,
    metrics,
    engine: (name) => createEngine(name, { clock }),
    agent: (record, token) => createAgentClient({ url: record.url, token }),
    options: {
      id: `${hostname().slice(0, 40)}-${randomBytes(4).toString('hex')}`,
      version,
      host: config.get('bind-host'),
      port: config.get('manager.http-port'),
      bodyBytesMax: config.get('manager.request-bytes-max'),
      nodeCheckMs: config.get('manager.node-check-ms'),
      leaseTtlMs: config.get('catalog.lease-ttl-ms'),
    },
  })
  void manager.url().then(
    (listening) => {
      url = listening
    },
    () => undefined,
  )
  return {
    services: [manager],
    address: () => url,
    close: () => Promise.resolve(),
    health: () => ({ ok: true, role: 'manager', leader: manager.isLeader() }),
  }
}
