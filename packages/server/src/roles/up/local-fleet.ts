// Everything that `up` runs, in one process: the agent with its Postgres servers, the catalog on one of them, and
// manager, router and worker on top. Started in steps, stopped as one.
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FleetError, type Clock } from '@fleetshard/core'
import type { BootGuard } from '../../agent/mod.ts'
import { localAgentId, openLocalCluster, type LocalCluster, type LocalServer } from '../../local/mod.ts'
import {
  adminTokenPath,
  makeAdminToken,
  keepSecretsKey,
  readAdminToken,
  secretsKeyPath,
  serviceGroup,
  type Config,
  type Environment,
  type Health,
  type Logger,
  type Logging,
  type MetricRole,
  type PortKey,
  type Service,
  type Tracing,
} from '../../runtime/mod.ts'
import { makeKey, type TlsFiles } from '../../security/mod.ts'
import { createBootGuard } from '../boot-guard.ts'
import { isolationWatch } from '../isolation-watch.ts'
import { observeAgent } from '../agent-metrics.ts'
import { agentHttpService, type AgentHttpService } from '../agent.ts'
import { fetchOf, observeCertificate, openTls } from '../certificates.ts'
import { openCatalog, type OpenCatalog } from '../catalog.ts'
import { buildManager } from '../manager.ts'
import { isLoopback } from '../loopback.ts'
import { metricsService, roleMetrics, type Role, type RoleParts } from '../process.ts'
import { buildRouter } from '../router.ts'
import { openTracing } from '../tracing.ts'
import { buildWorker } from '../worker.ts'
import { recordMovedNodes } from './moved-nodes.ts'
import { choosePortsOfUp, urlOf } from './ports.ts'
import { awaitRouter, fillCatalog } from './shards.ts'

/** Present once the cluster has the shards that it was made with; from then on shards are the user's affair. */
const filledFile = 'cluster-filled'
/** The router's copy of the shard map. */
const mapFile = 'router.map'

/** What the cluster is made from. */
export interface LocalFleetParts {
  readonly config: Config
  readonly env: Environment
  readonly dataDir: string
  readonly clock: Clock
  readonly log: Logger
  readonly logging: Logging
  readonly version: string
  /** Aborts when the process is to stop. */
  readonly stop: AbortSignal
  readonly forced: AbortSignal
}

interface Servers {
  readonly local: LocalCluster
  readonly open: OpenCatalog
}

interface Running {
  readonly group: Service
  /** Settles when the services have stopped; rejects with the failure of one. */
  readonly ended: Promise<void>
}

interface Services {
  readonly http: AgentHttpService
  readonly managerUrl: string
  readonly routerUrl: string
  /** With the ports in use. */
  readonly config: Config
  readonly notes: readonly string[]
}

/** The cluster of this process. The three `start…` are called in order, once. */
export class LocalFleet implements AsyncDisposable {
  readonly #parts: LocalFleetParts
  #servers: Servers | null = null
  #open: OpenCatalog | null = null
  #tls: TlsFiles | null = null
  #running: Running | null = null
  #services: Services | null = null
  #wasFilled = false
  readonly #traces: Tracing[] = []
  /** For the end that nobody outside asked for: a start that failed half-way. */
  readonly #halt = new AbortController()
  readonly #stop: AbortSignal

  constructor(parts: LocalFleetParts) {
    this.#parts = { ...parts, config: withSecretsKey(parts.config, parts.dataDir) }
    this.#stop = AbortSignal.any([parts.stop, this.#halt.signal])
  }

  /** Postgres servers; those of an earlier run with their data. @throws FleetError `data_dir_in_use` and the agent's */
  async startServers(say: (text: string) => void): Promise<void> {
    const { config, dataDir, clock, log } = this.#parts
    this.#tls = await openTls({ config, clock, log })
    if (config.get('secrets.key-file') === secretsKeyPath(dataDir)) keepSecretsKey(dataDir, makeKey())
    await choosePortsOfUp(config)
    this.#wasFilled = existsSync(join(dataDir, filledFile))
    const local = await openLocalCluster({
      dataDir,
      clock,
      log: log.child({ role: 'agent' }),
      shards: this.#wasFilled ? 0 : config.get('up.shards'),
      replicas: config.get('up.replicas'),
      pgBin: config.get('pg-bin') ?? undefined,
      portStart: config.get('up.postgres-port'),
      durability: config.get('up.fsync') ? 'full' : 'throwaway',
      guardOf: (server) => this.#guard(server),
      onProgress: ({ server, done, total }) => {
        say(`${server} (${String(done)} of ${String(total)})`)
      },
      signal: this.#stop,
    })
    this.#open ??= this.#openCatalog(local.catalog())
    this.#servers = { local, open: this.#open }
  }

  #openCatalog(server: LocalServer): OpenCatalog {
    const { config, env, clock, log } = this.#parts
    const known = config.with({ 'catalog.url': urlOfServer(server), 'catalog.password': server.password })
    return openCatalog({ config: known, env, clock, log, role: 'up', tls: this.#tls })
  }

  /** Asks the catalog while the servers are still being started: its own runs by then. */
  #guard(server: LocalServer): BootGuard {
    const { clock, log } = this.#parts
    this.#open ??= this.#openCatalog(server)
    const { catalog } = this.#open
    return createBootGuard({ catalog, agent: localAgentId, clock, log: log.child({ role: 'agent' }) })
  }

  /** Manager, router, worker and the agent's interface; resolves when all are ready. */
  async startServices(): Promise<void> {
    const { clock, log, forced } = this.#parts
    const { local, open } = this.servers
    await recordMovedNodes(open.catalog, { agent: local.agent, id: localAgentId }, log)
    const { config, notes } = await choosePortsOfUp(
      withAdminToken(openOnLoopback(this.#parts.config), this.#parts.dataDir),
    )
    const { services, http } = await this.#assemble(config)
    const group = serviceGroup('up', services, { log, clock, drainMs: config.get('drain-ms'), forced })
    const ended = group.run(this.#stop)
    ended.catch(() => undefined)
    this.#running = { group, ended }
    await Promise.race([group.ready?.(), ended])
    this.#stop.throwIfAborted()
    this.#services = {
      http,
      config,
      managerUrl: urlOf(config, 'manager.http-port'),
      routerUrl: urlOf(config, 'router.http-port'),
      notes: [...notes, ...this.#ignored()],
    }
  }

  /** On the first start: the keyspace `default` and its shards. Resolves when the router knows all there is. */
  async fill(say: (text: string) => void): Promise<void> {
    const { clock, dataDir, log } = this.#parts
    const { managerUrl, routerUrl } = this.services
    const token = readAdminToken(dataDir)
    const parts = { managerUrl, routerUrl, token, clock, signal: this.#stop, say, fetch: fetchOf(this.#tls) }
    const filling = this.#wasFilled ? Promise.resolve() : fillCatalog(parts, this.servers.local.groups())
    const known = filling.then(async () => {
      if (!(await awaitRouter(parts))) log.warn('the router does not know all shards yet')
    })
    known.catch(() => undefined)
    await Promise.race([known, this.ended])
    this.#stop.throwIfAborted()
    if (!this.#wasFilled) writeFileSync(join(dataDir, filledFile), '')
  }

  /** Settles when the cluster has stopped serving. */
  get ended(): Promise<void> {
    if (this.#running === null) throw new Error('the services are not started yet')
    return this.#running.ended
  }

  get servers(): Servers {
    if (this.#servers === null) throw new Error('the servers are not started yet')
    return this.#servers
  }

  get services(): Services {
    if (this.#services === null) throw new Error('the services are not started yet')
    return this.#services
  }

  /** Stops what was started, in reverse; the data stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#halt.abort(new FleetError('shutting_down', 'the cluster is stopping'))
    await this.#running?.ended.catch(() => undefined)
    await this.#running?.group[Symbol.asyncDispose]()
    await this.#open?.[Symbol.asyncDispose]()
    await this.#servers?.local.stop()
    await Promise.all(this.#traces.map((tracing) => tracing.shutdown()))
  }

  /** Settings that are for a new cluster, given to an old one. */
  #ignored(): readonly string[] {
    const given = (['up.shards', 'up.replicas'] as const).filter((key) => this.#parts.config.isGiven(key))
    if (!this.#wasFilled || given.length === 0) return []
    return [`${given.join(' and ')} concern new clusters; fleetshard shard create adds to this one`]
  }

  async #openTracing(config: Config, role: MetricRole): Promise<Tracing | null> {
    const tracing = await openTracing(config, { role, version: this.#parts.version })
    if (tracing !== null) this.#traces.push(tracing)
    return tracing
  }

  async #assemble(config: Config): Promise<{
    services: readonly Service[]
    http: AgentHttpService
  }> {
    const { clock, log, logging, version, dataDir } = this.#parts
    const { local, open } = this.servers
    const partsOf = async (role: MetricRole): Promise<RoleParts> => ({
      ...this.#parts,
      config,
      tls: this.#tls,
      log: log.child({ role }),
      tracing: await this.#openTracing(config, role),
      // One role tells of the process; three would count the same memory thrice.
      metrics: roleMetrics(role, {
        config,
        version,
        withProcess: role === 'router' && config.get('metrics.process'),
      }),
    })
    const [forRouter, forManager] = [await partsOf('router'), await partsOf('manager')]
    const [forWorker, forAgent] = [await partsOf('worker'), await partsOf('agent')]
    const http = agentHttpService({
      agent: local.agent,
      id: localAgentId,
      catalog: open.catalog,
      config,
      clock,
      version,
      log: log.child({ role: 'agent' }),
      tracing: forAgent.tracing,
      tls: this.#tls,
    })
    observeAgent(forAgent.metrics, { agent: local.agent, isRegistered: () => http.isRegistered() })
    const agentHealth = (): Health => ({ ok: true, role: 'agent', registered: http.isRegistered() })
    const managerRole = buildManager(forManager, open)
    const router = await buildRouter(forRouter, open, { mapFile: join(dataDir, mapFile), id: null })
    const worker = buildWorker(forWorker, open)
    const served = (parts: RoleParts, role: Role, key: PortKey): readonly Service[] => [
      metricsService({ ...parts, logging, health: role.health }, key),
      ...role.services,
    ]
    const isolation = isolationWatch({
      agent: local.agent,
      id: localAgentId,
      catalog: open.catalog,
      clock,
      log: log.child({ role: 'agent' }),
      isolationMs: config.get('agent.isolation-ms'),
    })
    for (const { metrics } of [forRouter, forManager, forWorker, forAgent])
      observeCertificate(metrics, this.#tls)
    return {
      http,
      services: [
        ...(this.#tls === null ? [] : [this.#tls]),
        metricsService({ ...forAgent, logging, health: agentHealth }, 'agent.metrics-port'),
        http,
        isolation,
        ...served(forManager, managerRole, 'manager.metrics-port'),
        ...served(forRouter, router, 'router.metrics-port'),
        ...served(forWorker, worker, 'worker.metrics-port'),
      ],
    }
  }
}

/** Like HTTP the Postgres port lets in whoever is on this machine, unless told otherwise. */
function openOnLoopback(config: Config): Config {
  const isOpen = config.get('auth') === 'open' && isLoopback(config.get('bind-host'))
  if (config.isGiven('router.wire-auth') || !isOpen) return config
  return config.with({ 'router.wire-auth': 'trust' })
}

/** Where the keys are that seal secrets, unless they are given. */
function withSecretsKey(config: Config, dataDir: string): Config {
  if (config.isGiven('secrets.key-file') || config.isGiven('secrets.key')) return config
  return config.with({ 'secrets.key-file': secretsKeyPath(dataDir) })
}

/** The token that commands of this machine find by themselves. */
function withAdminToken(config: Config, dataDir: string): Config {
  makeAdminToken(dataDir)
  if (config.isGiven('auth.admin-token-file')) return config
  return config.with({ 'auth.admin-token-file': adminTokenPath(dataDir) })
}

/** Without the password. */
export function catalogUrlOf(local: LocalCluster): string {
  return urlOfServer(local.catalog())
}

function urlOfServer({ node }: LocalServer): string {
  const { host, port, database, user } = node
  return `postgres://${user}@${host}:${String(port)}/${database}`
}
