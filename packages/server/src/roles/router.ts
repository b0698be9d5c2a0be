// `fleetshard router`: the data plane as a process. It starts without the catalog too, from the copy of the shard map
// that an earlier run left on disk; or it has none at all, and its map is a topology file (static mode).
import { createHash, randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { FleetError, parseRouterId, toFleetError, type RouterRecord } from '@fleetshard/core'
import type { CommandContext, ExitCode } from '../cli/mod.ts'
import { createRouterPort, openStaticPort } from '../catalog/mod.ts'
import {
  Router,
  loadMapCopy,
  tokenSource,
  type LoadedCopy,
  type RouterDeps,
  type RouterOptions,
} from '../data-plane/router/mod.ts'
import {
  flagOf,
  listenError,
  redactUrl,
  type Config,
  type Environment,
  type Health,
  type Logger,
  type Service,
} from '../runtime/mod.ts'
import { createSecretResolver, type SecretResolver } from '../security/mod.ts'
import { authenticatorOf } from './authentication.ts'
import { schemeOf, serverTls } from './certificates.ts'
import { openCatalog, type OpenCatalog } from './catalog.ts'
import { reachableHost, urlHost } from './loopback.ts'
import { knownPort, runRole, type Role, type RoleParts } from './process.ts'
import { wireOptions } from './wire-options.ts'

/** Memory for plans of statements. */
const planCacheBytesMax = 32 * 1024 * 1024
/** Request bodies under way, as a multiple of the largest one. */
const requestsInFlightFactor = 12
/** Answers that clients have not taken yet, as a multiple of the largest result. */
const answersInFlightFactor = 4
/** A client that takes nothing of its answer for so long is dropped. */
const slowReaderMs = 30_000
/** Connections being opened to one server at a time. */
const openingMax = 8
/** Longest statement text; more belongs into parameters. */
const statementBytesMax = 1024 * 1024

/** Runs a router until a signal. */
export function runRouter(context: CommandContext): Promise<ExitCode> {
  return runRole(context, 'router', 'router.metrics-port', async (parts) => {
    const topologyFile = parts.config.get('router.topology-file')
    if (topologyFile !== null) return buildStaticRouter(parts, topologyFile)
    const open = openCatalog({ ...parts, role: 'router' })
    const mapFile = parts.config.get('router.map-cache-file') ?? mapFileOf(parts.config, parts.env)
    const built = await buildRouter(parts, open, { mapFile, id: parts.config.get('router.id') })
    return { ...built, close: () => open[Symbol.asyncDispose]() }
  })
}

/** What differs between a router of its own and that of `up`. */
export interface RouterChoices {
  /** Null keeps no copy of the map. */
  readonly mapFile: string | null
  /** Null makes one. */
  readonly id: string | null
}

/** The router as a role; the catalog stays the caller's. */
export async function buildRouter(
  parts: RoleParts,
  open: OpenCatalog,
  choices: RouterChoices,
): Promise<Role> {
  const { config, clock, log } = parts
  const { catalog, secrets, sealer } = open
  const id = parseRouterId(choices.id ?? `router-${randomBytes(4).toString('hex')}`)
  const mapFile = await usableMapFile(choices.mapFile, log)
  const copy = mapFile === null ? null : await loadCopy(mapFile, log)
  const { wire, certificates } = await wireOptions(parts)
  const options = routerOptions(parts, {
    id,
    mapFile,
    port: await knownPort(config, 'router.http-port'),
    wire,
  })
  const port = createRouterPort(
    { store: catalog.store, clock, log },
    {
      record: recordOf(parts, options),
      leaseTtlMs: config.get('catalog.lease-ttl-ms'),
      sealer,
      ...(copy === null ? {} : { seed: copy.keyspaces }),
    },
  )
  return routerRole(
    parts,
    { port, copy, options, certificates, readSecret: secretReader(secrets) },
    { registered: () => port.isRegistered() },
  )
}

/**
 * The router of the static mode: no catalog, no registration, and nothing kept on disk, for the file is there.
 * @throws FleetError `invalid_config` for a file that is not valid, or when a catalog is named as well
 */
async function buildStaticRouter(parts: RoleParts, path: string): Promise<Role> {
  const { config, clock, log, env } = parts
  if (config.isGiven('catalog.url')) {
    throw new FleetError('invalid_config', 'both a topology file and a catalog are given', {
      hint: `give ${flagOf('router.topology-file')} for the static mode, or ${flagOf('catalog.url')}`,
    })
  }
  const id = parseRouterId(config.get('router.id') ?? `router-${randomBytes(4).toString('hex')}`)
  const { wire, certificates } = await wireOptions(parts)
  const options = routerOptions(parts, {
    id,
    mapFile: null,
    port: await knownPort(config, 'router.http-port'),
    wire,
  })
  const port = await openStaticPort({ path, clock, log })
  // The port has the passwords of the file, and the parser lets no secretRef of a catalog through.
  const secrets = createSecretResolver({
    clock,
    sources: { env: (name) => env[name], catalog: () => Promise.resolve(null) },
  })
  return routerRole(
    parts,
    {
      port,
      copy: null,
      options,
      certificates,
      readSecret: secretReader(secrets),
      identityCheck: 'static',
      isTopologyRefused: () => port.problem() !== null,
    },
    { topology_file: () => path, topology_problem: () => port.problem() },
  )
}

/** What makes the router of a role; `certificates` are those of the Postgres port, where it has its own. */
type RouterOwn = Pick<
  RouterDeps,
  'port' | 'copy' | 'options' | 'readSecret' | 'identityCheck' | 'isTopologyRefused'
> & { readonly certificates: readonly Service[] }

/** What a role of this kind adds to its health. */
type HealthFacts = Readonly<Record<string, () => Health[string]>>

function routerRole(parts: RoleParts, { certificates, ...own }: RouterOwn, facts: HealthFacts): Role {
  const { config, log, clock, metrics, tracing, tls } = parts
  const { port, copy, options } = own
  const authenticator = authenticatorOf({ config, clock, log, tokens: tokenSource(port, copy) })
  const router = new Router({
    log,
    clock,
    metrics,
    tracing,
    authenticator,
    tls: serverTls(config, tls),
    tlsContext: tls === null ? undefined : () => tls.context(),
    ...own,
  })
  const knowsMap = (signal: AbortSignal): Promise<unknown> =>
    copy === null || copy.keyspaces.length === 0 ? port.view.loaded(signal) : Promise.resolve()
  return {
    services: [...certificates, listening(router, options, { config, log, knowsMap })],
    address: () => `${schemeOf(config)}://${urlHost(options.host)}:${String(router.address.port)}`,
    close: () => Promise.resolve(),
    health: () => ({
      ok: true,
      role: 'router',
      ...Object.fromEntries(Object.entries(facts).map(([name, read]) => [name, read()])),
      map_age_ms: Number.isFinite(router.mapAgeMs()) ? Math.round(router.mapAgeMs()) : null,
    }),
  }
}

function secretReader(secrets: SecretResolver): RouterDeps['readSecret'] {
  return async (secretRef, signal) => {
    const password = await secrets.resolve(secretRef, signal)
    if (password !== null) return password
    throw new FleetError('secret_unavailable', 'a node has no secretRef')
  }
}

/** The router as a service that is ready once it listens and knows a map, and names who holds its port when it can't. */
function listening(
  router: Router,
  { host, port }: RouterOptions,
  parts: {
    readonly config: Config
    readonly log: Logger
    readonly knowsMap: (signal: AbortSignal) => Promise<unknown>
  },
): Service {
  const ready = Promise.withResolvers<undefined>()
  const flag = parts.config.flagGiven('router.http-port') ?? flagOf('router.http-port')
  const wireFlag = parts.config.flagGiven('router.wire-port') ?? flagOf('router.wire-port')
  return {
    name: 'router',
    ready: () => ready.promise,
    async run(signal) {
      try {
        await router.listen()
      } catch (error) {
        throw listenError(error, flag, host, port)
      }
      try {
        await router.listenWire()
      } catch (error) {
        throw listenError(error, wireFlag, host, parts.config.get('router.wire-port'))
      }
      const wirePort = String(router.wireAddress?.port ?? '')
      parts.log.info(
        { address: `${urlHost(host)}:${wirePort}` },
        'the router listens for the Postgres protocol',
      )
      parts.knowsMap(signal).then(
        () => {
          ready.resolve(undefined)
        },
        () => undefined,
      )
      await router.run(signal)
    },
    drain: () => router.drain(),
    [Symbol.asyncDispose]: () => router[Symbol.asyncDispose](),
  }
}

function recordOf({ config, clock, version }: RoleParts, options: RouterOptions): RouterRecord {
  return {
    id: parseRouterId(options.id),
    host: reachableHost(options.host),
    httpPort: options.port,
    pid: process.pid,
    version,
    region: config.get('region'),
    zone: config.get('zone'),
    ackedEpochs: {},
    startedAt: new Date(clock.now()).toISOString(),
  }
}

function routerOptions(
  { config, version }: RoleParts,
  own: Pick<RouterOptions, 'id' | 'mapFile' | 'port' | 'wire'>,
): RouterOptions {
  const requestBytesMax = config.get('router.request-bytes-max')
  const resultBytesMax = config.get('router.result-bytes-max')
  return {
    ...own,
    version,
    host: config.get('bind-host'),
    region: config.get('region'),
    zone: config.get('zone'),
    httpConnectionsMax: config.get('router.http-connections-max'),
    planCacheBytesMax,
    transactionsMax: config.get('router.transactions-max'),
    drainMs: config.get('drain-ms'),
    slowStatementMs: config.get('log.slow-statement-ms'),
    execute: {
      connectionsPerNodeMax: config.get('router.connections-per-node'),
      lanesPerNodeMax: config.get('router.lanes-per-node'),
      laneInFlightMax: config.get('router.lane-inflight-max'),
      queueMax: config.get('router.queue-length-max'),
      queueWaitMs: config.get('router.queue-wait-ms'),
      statementTimeoutMs: config.get('router.statement-timeout-ms'),
      connectTimeoutMs: config.get('router.connect-timeout-ms'),
      openingMax,
      idleMs: config.get('router.connection-idle-ms'),
    },
    query: {
      resultRowsMax: config.get('router.result-rows-max'),
      resultBytesMax,
      statementTimeoutMs: config.get('router.statement-timeout-ms'),
      idempotencyExpiryMs: config.get('router.idempotency-expiry-ms'),
      transactionIdleMs: config.get('router.transaction-idle-ms'),
      statementBytesMax: Math.min(statementBytesMax, requestBytesMax),
    },
    endpoint: {
      receiveMsMax: config.get('http.receive-ms'),
      requestBytesMax,
      requestBytesTotalMax: requestBytesMax * requestsInFlightFactor,
      answerBytesTotalMax: resultBytesMax * answersInFlightFactor,
      slowReaderMs,
    },
  }
}

/**
 * Where a router that was told nothing keeps its copy: one file for each catalog and port, in the folder for state of
 * the account that runs it; null where there is no such folder.
 */
export function mapFileOf(config: Config, env: Environment): string | null {
  const folder = stateFolder(env)
  if (folder === null) return null
  const catalog = redactUrl(config.get('catalog.url') ?? '')
  const of = `${catalog} ${config.get('bind-host')} ${String(config.get('router.http-port'))}`
  return join(folder, `router-${createHash('sha256').update(of).digest('hex').slice(0, 12)}.map`)
}

function stateFolder(env: Environment): string | null {
  if (process.getuid?.() === 0) return '/var/lib/fleetshard'
  const state = env['XDG_STATE_HOME'] ?? ''
  if (state.startsWith('/')) return join(state, 'fleetshard')
  const home = env['HOME'] ?? homedir()
  return home.startsWith('/') && home !== '/' ? join(home, '.local', 'state', 'fleetshard') : null
}

/** Makes the folder; without one the router works, but does not start without the catalog. */
async function usableMapFile(path: string | null, log: Logger): Promise<string | null> {
  if (path === null) {
    log.warn(
      { setting: 'router.map-cache-file' },
      'no place for a copy of the shard map; a restart needs the catalog',
    )
    return null
  }
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    return path
  } catch (error) {
    log.warn({ path, err: error }, 'the copy of the shard map cannot be kept; a restart needs the catalog')
    return null
  }
}

/** A copy that can't be used must not keep the router from starting: the catalog has the truth. */
async function loadCopy(path: string, log: Logger): Promise<LoadedCopy | null> {
  try {
    return await loadMapCopy(path)
  } catch (error) {
    const { message } = toFleetError(error)
    log.warn({ path, reason: message }, 'the copy of the shard map on disk is not used')
    return null
  }
}
