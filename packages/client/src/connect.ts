// From options to a connected client: the only place where the parts of a mode are put together.
import { FleetError, parseKeyspaceName, type Clock, type ErrorCode } from '@fleetshard/core'
import type { TlsContext } from '@fleetshard/core/tls'
import { systemClock } from './clock.ts'
import { toFleetShardError, type FleetShardError } from './errors.ts'
import { createFleetShard, type ClientParts, type FleetShard } from './fleet-shard.ts'
import { HttpBackend } from './http/backend.ts'
import { Routers } from './http/routers.ts'
import { exchangeByFetch, exchangeOfPlatform } from './http/whole-exchange.ts'
import { limitsOf, urlsOf, type ConnectOptions, type Limits, type TlsOptions } from './options.ts'
import { ClientSession } from './session.ts'
import type { Consistency } from './statement.ts'
import { TopologyFollower } from './topology/follower.ts'
import { TracedBackend } from './tracing/backend.ts'
import { loadApi, traceHeaders } from './tracing/tracing.ts'

const keyspaceDefault = 'default'

/**
 * Connects to a keyspace. A router must answer first, which tells the shard map; with a `topology` there is none, and
 * the shards' servers are all that is needed.
 * @throws FleetShardError `server_unreachable` after `connectTimeoutMs` at the latest, `not_found` for a keyspace that
 * does not exist, `invalid_request` for options that make no sense, `direct_refused` and `shard_unavailable` in direct
 * mode with `fallback: false`; `invalid_config` with line and column for a topology
 */
export async function connect(options: ConnectOptions): Promise<FleetShard> {
  try {
    return await connected(options)
  } catch (error) {
    throw toFleetShardError(error)
  }
}

type Api = Awaited<ReturnType<typeof loadApi>>

async function connected(options: ConnectOptions): Promise<FleetShard> {
  const parts = await opened(options)
  const { api, mode, keyspace } = parts
  if (api === null) return createFleetShard(parts)
  const attributes = { 'db.system.name': 'postgresql', 'db.namespace': keyspace, 'fleetshard.mode': mode }
  return createFleetShard({
    ...parts,
    backend: new TracedBackend(parts.backend, { api, keyspace, attributes }),
  })
}

async function opened(options: ConnectOptions): Promise<ClientParts & { readonly api: Api }> {
  const limits = limitsOf(options)
  const api = await loadApi()
  if (options.topology !== undefined)
    return { ...(await openedByFile(options, options.topology, limits)), api }
  const keyspace = parseKeyspaceName(options.keyspace ?? keyspaceDefault)
  const session = new ClientSession()
  const urls = urlsOf(options)
  const tlsContext = options.tls === undefined ? null : await openTls(options.tls)
  const send: typeof fetch = options.fetch ?? (await platformFetch(tlsContext))
  const byFetch = exchangeByFetch(send)
  const whole =
    options.fetch === undefined ? await exchangeOfPlatform(byFetch, systemClock, tlsContext) : byFetch
  const routers = (headers: (() => Readonly<Record<string, string>>) | null): Routers =>
    new Routers({
      urls,
      clock: systemClock,
      fetch: send,
      whole,
      token: options.token ?? null,
      traceHeaders: headers,
    })
  const parts: ModeParts = {
    clock: systemClock,
    routers: routers(api === null ? null : () => traceHeaders(api)),
    topologyRouters: routers(null),
    keyspace,
    limits,
    session,
    consistency: options.consistency,
    tlsContext: tlsContext === null ? undefined : () => tlsContext,
  }
  const mode = options.mode ?? 'http'
  const inMode = mode === 'http' ? await openHttp(parts, null) : await openDirect(parts, options)
  return { ...inMode, keyspace, limits, session, api }
}

/** Loaded where it is asked for: browsers have no such thing. @throws FleetError `invalid_config` */
async function openTls({ ca, cert, key }: TlsOptions): Promise<TlsContext> {
  const { makeSecureContext, pemOf } = await import('@fleetshard/core/tls')
  const read = (given: string | undefined): string | null => (given === undefined ? null : pemOf(given))
  return makeSecureContext({ ca: read(ca), certificate: read(cert), key: read(key) })
}

async function platformFetch(tlsContext: TlsContext | null): Promise<typeof fetch> {
  if (tlsContext === null) return (input, init) => fetch(input, init)
  const { fetchOverTls } = await import('@fleetshard/core/tls')
  return fetchOverTls(() => tlsContext)
}

/** Straight to the shards of a topology file. */
async function openedByFile(options: ConnectOptions, topology: string, limits: Limits): Promise<ClientParts> {
  refuseRouterOptions(options)
  const session = new ClientSession()
  const tlsContext = options.tls === undefined ? null : await openTls(options.tls)
  const direct = await import('./direct/mod.ts')
  const { backend } = await direct.openDirect({
    tlsContext: tlsContext === null ? undefined : () => tlsContext,
    source: {
      kind: 'file',
      topology,
      keyspace: options.keyspace === undefined ? null : parseKeyspaceName(options.keyspace),
      onRefused: (error) => {
        options.onTopologyRefused?.(toFleetShardError(error))
      },
    },
    clock: systemClock,
    limits,
    session,
    consistency: options.consistency,
    credentials: options.credentials,
    pool: options.pool ?? {},
    fallback: false,
  })
  const keyspace = backend.map().snapshot.keyspace.name
  return { mode: 'direct', backend, fallback: () => null, keyspace, limits, session }
}

/** @throws FleetError `invalid_request` for options of those who go through routers */
function refuseRouterOptions({ mode, url, urls, mapCopy }: ConnectOptions): void {
  const given =
    mode === 'http'
      ? "mode 'http'"
      : (url ?? urls) !== undefined
        ? 'the URL of a router'
        : mapCopy === undefined
          ? null
          : 'a copy of the map'
  if (given === null) return
  throw new FleetError('invalid_request', `both a topology and ${given} are given`, {
    hint: 'with a topology the client goes straight to the shards; without one it asks a router',
  })
}

/** What both modes are made of. */
interface ModeParts {
  readonly clock: Clock
  readonly routers: Routers
  /** The same, for the follower of the map: it asks them in turn, and statements should not move with it. */
  readonly topologyRouters: Routers
  readonly keyspace: string
  readonly limits: Limits
  readonly session: ClientSession
  readonly consistency: Consistency | undefined
  readonly tlsContext: (() => TlsContext) | undefined
}

type Opened = Pick<ClientParts, 'mode' | 'backend' | 'fallback'>

async function openHttp(parts: ModeParts, fallback: FleetShardError | null): Promise<Opened> {
  const { topologyRouters, keyspace, clock, limits } = parts
  const topology = new TopologyFollower({
    routers: topologyRouters,
    keyspace,
    clock,
    timeoutMs: limits.connectTimeoutMs,
    onMap: () => undefined,
  })
  try {
    await topology.start()
  } catch (error) {
    await topology[Symbol.asyncDispose]()
    throw error
  }
  return { mode: 'http', backend: new HttpBackend({ ...parts, topology }), fallback: () => fallback }
}

/** Why a client goes through a router after all: no way to log in to the servers, or no way to them. */
const FALLBACKS: readonly ErrorCode[] = ['direct_refused', 'route_not_found', 'shard_unavailable']

async function openDirect(parts: ModeParts, options: ConnectOptions): Promise<Opened> {
  try {
    const direct = await import('./direct/mod.ts')
    const { credentials, pool = {} } = options
    const { routers, topologyRouters, keyspace } = parts
    const { mapCopy = null } = options
    const source = { kind: 'routers', routers, topologyRouters, keyspace, mapCopy } as const
    const fallback = options.fallback !== false
    return { mode: 'direct', ...(await direct.openDirect({ ...parts, source, credentials, pool, fallback })) }
  } catch (error) {
    const reason = toFleetShardError(error)
    // Logins that the caller gave and a server refused are the caller's to mend.
    const isLogin =
      options.credentials !== undefined && String(reason.facts['server_sqlstate']).startsWith('28')
    if (!FALLBACKS.includes(reason.code) || isLogin || options.fallback === false) throw reason
    return openHttp(parts, reason)
  }
}
