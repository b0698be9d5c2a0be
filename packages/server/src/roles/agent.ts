// `fleetshard agent`: supervises the Postgres servers of this machine for a manager, as a process; and the agent's
// HTTP interface with its registration, which `up` uses as well.
import { hostname } from 'node:os'
import { FleetError, toFleetError, type AgentRecord, type Clock } from '@fleetshard/core'
import { openAgent, startAgentHttp, type Agent } from '../agent/mod.ts'
import type { Catalog, Registration } from '../catalog/mod.ts'
import { EXIT, type CommandContext, type ExitCode } from '../cli/mod.ts'
import {
  createLogging,
  dataDirOf,
  serviceGroup,
  systemClock,
  type Config,
  type Health,
  type Logger,
  type Service,
  type Tracing,
} from '../runtime/mod.ts'
import { observeAgent } from './agent-metrics.ts'
import type { TlsFiles } from '../security/mod.ts'
import { listeningOf, peersOf } from './agent-servers.ts'
import { createBootGuard } from './boot-guard.ts'
import { observeCertificate, openTls } from './certificates.ts'
import { openCatalog } from './catalog.ts'
import { isolationWatch } from './isolation-watch.ts'
import { isLoopback, refuseOpenBind } from './loopback.ts'
import { metricsService, roleMetrics } from './process.ts'
import { openTracing } from './tracing.ts'

/** Pause between attempts to tell the catalog the agent's token. */
const tokenRetryMs = 1_000

/** Runs an agent until a signal; its servers stop with it. */
export async function runAgent(context: CommandContext): Promise<ExitCode> {
  const { config, env, version, cwd, stop, forced } = context
  refuseOpenBind(config)
  const logging = createLogging(config.get('log.level'))
  const log = logging.log.child({ role: 'agent' })
  const clock = systemClock
  const tls = await openTls({ config, clock, log })
  await using open = openCatalog({ config, env, clock, log, role: 'agent', tls })
  const id = config.get('agent.id') ?? agentIdOf(hostname())
  const agent = await openAgent({
    dataDir: dataDirOf(config, cwd),
    log,
    clock,
    pgBin: config.get('pg-bin') ?? undefined,
    portStart: config.get('agent.postgres-port'),
    listening: listeningOf(config, tls),
    peers: peersOf(open, tls),
    guard: createBootGuard({ catalog: open.catalog, agent: id, clock, log }),
  })
  const tracing = await openTracing(config, { role: 'agent', version })
  const http = agentHttpService({
    agent,
    id,
    catalog: open.catalog,
    config,
    clock,
    log,
    tracing,
    version,
    tls,
  })
  const isolation = isolationWatch({
    agent,
    id,
    catalog: open.catalog,
    clock,
    log,
    isolationMs: config.get('agent.isolation-ms'),
  })
  const metrics = roleMetrics('agent', { config, version, withProcess: config.get('metrics.process') })
  observeAgent(metrics, { agent, isRegistered: () => http.isRegistered() })
  observeCertificate(metrics, tls)
  const health = (): Health => ({ ok: true, role: 'agent', registered: http.isRegistered() })
  const served = metricsService({ config, metrics, log, logging, health, tls }, 'agent.metrics-port')
  const group = serviceGroup('agent', [...(tls === null ? [] : [tls]), served, agent, http, isolation], {
    log,
    clock,
    drainMs: config.get('drain-ms'),
    forced,
  })
  try {
    await group.run(stop)
    return EXIT.ok
  } finally {
    await group[Symbol.asyncDispose]()
    await tracing?.shutdown()
  }
}

/** What the interface stands on. */
export interface AgentHttpParts {
  readonly agent: Agent
  /** Name in the catalog, and in the node records of its servers. */
  readonly id: string
  readonly catalog: Catalog
  readonly config: Config
  readonly clock: Clock
  readonly log: Logger
  /** Null where there are no traces. */
  readonly tracing: Tracing | null
  readonly version: string
  /** Certificates of this process; null where there are none. */
  readonly tls: TlsFiles | null
}

/** The agent's HTTP interface, registered in the catalog while it runs. Ready once it listens. */
export interface AgentHttpService extends Service {
  /** `http://127.0.0.1:8082`; only once it is ready. */
  url(): string
  /** True while managers can find it. */
  isRegistered(): boolean
}

/** Listens and registers; its token goes through the catalog, so that any manager on this machine may use it. */
export function agentHttpService(parts: AgentHttpParts): AgentHttpService {
  const { agent, id, catalog, config, clock, log, tracing, version, tls } = parts
  const ready = Promise.withResolvers<undefined>()
  let url: string | null = null
  let registration: Registration<AgentRecord> | null = null
  return {
    name: 'agent http',
    ready: () => ready.promise,
    url() {
      if (url === null) throw new FleetError('internal', 'the agent does not listen yet')
      return url
    },
    isRegistered: () => registration?.isRegistered() ?? false,
    async run(signal) {
      const bind = config.get('bind-host')
      const mutual = mutualTls(config, tls)
      // Its orders start and stop servers: without mutual TLS it stays on this machine whatever the others do.
      const host = isLoopback(bind) || mutual !== null ? bind : '127.0.0.1'
      const port = config.get('agent.port')
      await using http = await startAgentHttp({ agent, log, tracing, version, tls: mutual, host, port })
      url = http.url
      ready.resolve(undefined)
      const secret = `agent-${id}`
      if (!(await publishToken(parts, { secret, token: http.token }, signal))) return
      const startedAt = new Date(clock.now()).toISOString()
      const record: AgentRecord = { id, url: http.url, tokenRef: `catalog:${secret}`, startedAt }
      registration = catalog.agents.register(
        { store: catalog.store, clock, log },
        record,
        config.get('catalog.lease-ttl-ms'),
      )
      await registration.run(signal)
    },
    drain: () => registration?.drain() ?? Promise.resolve(),
    async [Symbol.asyncDispose]() {
      await registration?.[Symbol.asyncDispose]()
    },
  }
}

/** @throws FleetError `invalid_config` for a certificate without an authority by which callers are known */
function mutualTls(config: Config, tls: TlsFiles | null): TlsFiles | null {
  if (tls === null || config.get('tls.cert') === null) return null
  if (config.get('tls.ca') !== null) return tls
  throw new FleetError(
    'invalid_config',
    'an agent with TLS wants to know its callers by their certificates',
    {
      hint: 'set tls.ca as well; fleetshard certs init makes an authority',
    },
  )
}

/** Waits through outages of the catalog; false when the signal aborted first. */
async function publishToken(
  { catalog, clock, log }: AgentHttpParts,
  { secret, token }: { readonly secret: string; readonly token: string },
  signal: AbortSignal,
): Promise<boolean> {
  while (!signal.aborted) {
    try {
      if ((await catalog.secrets.get(secret, signal)) !== token)
        await catalog.secrets.put(secret, token, { signal })
      return true
    } catch (error) {
      if (signal.aborted) break
      const { code, message } = toFleetError(error)
      log.warn({ code, reason: message }, 'the agent cannot register yet')
      await clock.sleep(tokenRetryMs, signal).catch(() => undefined)
    }
  }
  return false
}

/** A host name in the form that ids have. */
function agentIdOf(host: string): string {
  const id = host.replaceAll(/[^A-Za-z0-9_-]/g, '-').replace(/^[-_]+/, '')
  return id.slice(0, 60) === '' ? 'agent' : id.slice(0, 60)
}
