// What every role does as a process of its own: builds its service, serves its metrics, runs until a signal, drains,
// stops, and ends with an exit code.
import { EXIT, type CommandContext, type ExitCode } from '../cli/mod.ts'
import {
  createLogging,
  createMetrics,
  createMetricsServer,
  COMMON_METRICS,
  machineProbe,
  flagOf,
  giveBackStartupMemory,
  serviceGroup,
  systemClock,
  type Config,
  type Environment,
  type Health,
  type Logger,
  type Logging,
  type MetricRole,
  noMetrics,
  type Metrics,
  type PortKey,
  type Service,
  type Tracing,
} from '../runtime/mod.ts'
import type { Clock } from '@fleetshard/core'
import type { TlsFiles } from '../security/mod.ts'
import { refuseOpenBind } from './loopback.ts'
import { observeCertificate, openTls, serverTls } from './certificates.ts'
import { openTracing } from './tracing.ts'

/** What a role is built from. */
export interface RoleParts {
  readonly config: Config
  readonly env: Environment
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
  /** Null where there are no traces. */
  readonly tracing: Tracing | null
  /** Of FleetShard. */
  readonly version: string
  /** Certificates of this process; null where there are none. */
  readonly tls: TlsFiles | null
}

/** A role ready to run. */
export interface Role {
  /** In the order they start; each is disposed at the end. */
  readonly services: readonly Service[]
  /** For GET /health beside the metrics. */
  readonly health: () => Health
  /** Where it listens, for the log; asked when all services are ready. */
  readonly address: () => string
  /** Closes what the services stand on, after them. */
  readonly close: () => PromiseLike<void>
}

/** Builds the role. Does no I/O but reading its own files. */
export type BuildRole = (parts: RoleParts) => Promise<Role>

/** Runs one role as this process. @throws FleetError of whatever keeps it from starting or going on */
export async function runRole(
  context: CommandContext,
  name: MetricRole,
  metricsKey: PortKey,
  build: BuildRole,
): Promise<ExitCode> {
  const { config, env, version, stop, forced } = context
  refuseOpenBind(config)
  const logging = createLogging(config.get('log.level'))
  const log = logging.log.child({ role: name })
  const metrics = roleMetrics(name, { config, version, withProcess: config.get('metrics.process') })
  const tracing = await openTracing(config, { role: name, version })
  const tls = await openTls({ config, clock: systemClock, log })
  observeCertificate(metrics, tls)
  const role = await build({ config, env, clock: systemClock, log, metrics, tracing, version, tls })
  const server = metricsService({ config, metrics, log, logging, health: role.health, tls }, metricsKey)
  const group = serviceGroup(name, [...(tls === null ? [] : [tls]), server, ...role.services], {
    log,
    clock: systemClock,
    drainMs: config.get('drain-ms'),
    forced,
  })
  try {
    void group.ready?.().then(() => {
      giveBackStartupMemory()
      log.info({ address: role.address(), version }, `${name} is ready`)
    })
    await group.run(stop)
    log.info(`${name} has stopped`)
    return EXIT.ok
  } finally {
    await group[Symbol.asyncDispose]()
    await role.close()
    await tracing?.shutdown()
  }
}

/** The metrics of a role, with what says what it is. */
export function roleMetrics(
  role: MetricRole,
  {
    config,
    version,
    withProcess,
  }: { readonly config: Config; readonly version: string; readonly withProcess: boolean },
): Metrics {
  if (!config.get('metrics.enabled')) return noMetrics
  const metrics = createMetrics(withProcess)
  metrics.gauge(COMMON_METRICS.build_info).with(role, version).set(1)
  return metrics
}

/** The metrics server of a role. */
export function metricsService(
  parts: {
    readonly config: Config
    readonly metrics: Metrics
    readonly log: Logger
    readonly logging: Logging
    readonly health: () => Health
    readonly tls: TlsFiles | null
  },
  key: PortKey,
): Service {
  const { config, metrics, log, logging, health, tls } = parts
  return createMetricsServer({
    metrics,
    health,
    log,
    logging,
    clock: systemClock,
    tls: serverTls(config, tls),
    host: config.get('bind-host'),
    port: config.get(key),
    flag: config.flagGiven(key) ?? flagOf(key),
  })
}

/** The port of the setting; a free one where it is 0, for those who must say their port before they listen. */
export async function knownPort(config: Config, key: PortKey): Promise<number> {
  const port = config.get(key)
  return port === 0 ? machineProbe.any(config.get('bind-host')) : port
}
