// `fleetshard manager`: the control plane as a process.
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { FleetError, type Clock } from '@fleetshard/core'
import type { CommandContext, ExitCode } from '../cli/mod.ts'
import { createAgentClient } from '../agent-api/mod.ts'
import { createAuditLog, type AuditLog } from '../audit/mod.ts'
import type { Catalog } from '../catalog/mod.ts'
import { createHealthController } from '../control-plane/health/mod.ts'
import { createManager, type SignInSetting } from '../control-plane/manager/mod.ts'
import { createEngine, createHealthEngine } from '../engine/mod.ts'
import type { Config, Service } from '../runtime/mod.ts'
import { authenticatorOf, oidcOf } from './authentication.ts'
import { fetchOf, serverTls } from './certificates.ts'
import { openCatalog, viewOf, type OpenCatalog } from './catalog.ts'
import { targetOf } from './node-target.ts'
import { runRole, type Role, type RoleParts } from './process.ts'

/** Runs a manager until a signal. */
export function runManager(context: CommandContext): Promise<ExitCode> {
  return runRole(context, 'manager', 'manager.metrics-port', (parts) => {
    const open = openCatalog({ ...parts, role: 'manager' })
    return Promise.resolve({ ...buildManager(parts, open), close: () => open[Symbol.asyncDispose]() })
  })
}

/** The manager as a role; the catalog stays the caller's. */
export function buildManager(parts: RoleParts, open: OpenCatalog): Role {
  const { config, clock, log, metrics, tracing, version, tls } = parts
  const { catalog, secrets, tlsContext } = open
  const send = fetchOf(tls)
  if (open.sealer === null) {
    log.warn('passwords in the catalog are stored as they are: give keys to seal them with secrets.key-file')
  }
  const id = `${hostname().slice(0, 40)}-${randomBytes(4).toString('hex')}`
  let url = ''
  const manager = createManager({
    log,
    clock,
    catalog,
    secrets,
    metrics,
    tracing,
    tls: serverTls(config, tls),
    tlsContext,
    fetch: send,
    audit: auditOf(config, clock, catalog),
    gate: (tokens, sessions) => authenticatorOf({ config, clock, log, tokens, sessions }),
    signIn: signInOf(parts, open),
    engine: (name) => createEngine(name, { clock }),
    agent: (record, token) => createAgentClient({ url: record.url, token, fetch: send }),
    options: {
      id,
      version,
      host: config.get('bind-host'),
      port: config.get('manager.http-port'),
      bodyBytesMax: config.get('manager.request-bytes-max'),
      receiveMsMax: config.get('http.receive-ms'),
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
    services: [manager, ...(config.get('health.enabled') ? healthServices(parts, open, id) : [])],
    address: () => url,
    close: () => Promise.resolve(),
    health: () => ({ ok: true, role: 'manager', leader: manager.isLeader() }),
  }
}

/** Null where nobody signs in with a browser. @throws FleetError `invalid_config` */
function signInOf({ config, clock }: RoleParts, { secrets, sealer }: OpenCatalog): SignInSetting | null {
  const oidc = oidcOf({ config, clock, secrets })
  if (oidc === null) return null
  if (sealer === null) {
    throw new FleetError('invalid_config', 'people are to sign in with a browser, and there are no keys', {
      hint: 'give all managers the same secrets.key-file: logins under way are sealed by it',
    })
  }
  return {
    oidc,
    sealer,
    sessionMs: config.get('auth.oidc-session-ms'),
    failuresPerMinute: config.get('auth.failures-per-minute'),
  }
}

const auditOf = (config: Config, clock: Clock, { store }: Catalog): AuditLog =>
  createAuditLog({ store, clock, recordsMax: config.get('audit.records-max') })

/** What watches the shards, with the live copy of the catalog that it goes by. */
function healthServices(
  { config, clock, log, metrics, tracing, tls }: RoleParts,
  open: OpenCatalog,
  id: string,
): readonly Service[] {
  const { catalog, secrets } = open
  const send = fetchOf(tls)
  const own = log.child({ part: 'health' })
  const view = viewOf(catalog, clock, own)
  const health = createHealthController({
    log: own,
    metrics,
    tracing,
    clock,
    catalog,
    view,
    engine: (name) => createHealthEngine(name, { clock }),
    target: (node, signal) => targetOf(open, node, signal),
    audit: auditOf(config, clock, catalog),
    agent: async ({ url, tokenRef }, signal) =>
      createAgentClient({ url, token: (await secrets.resolve(tokenRef, signal)) ?? '', fetch: send }),
    options: {
      id,
      probeMs: config.get('health.probe-ms'),
      probeTimeoutMs: config.get('health.probe-ms'),
      lagBytesMax: config.get('health.lag-bytes-max'),
      degradeMs: config.get('health.degrade-ms'),
      leaseTtlMs: config.get('catalog.lease-ttl-ms'),
    },
  })
  return [view, health]
}
