// The manager: HTTP server, live copy of the catalog, election, and the operations between them, as one service.
import { FleetError } from '@fleetshard/core'
import type { FastifyInstance } from 'fastify'
import { hostname } from 'node:os'
import { createCatalogView, type CatalogView } from '../../catalog/mod.ts'
import { createApp, type Around, createStreams } from '../../runtime/http/mod.ts'
import { listenError, untilAborted, type Service } from '../../runtime/mod.ts'
import { callbackPath, createSessionCheck, type SessionCheck } from '../../security/mod.ts'
import type { Api } from './api/context.ts'
import { shownAt } from './api/context.ts'
import { managerRoutes } from './api/routes.ts'
import { catchUp } from './catch-up.ts'
import { createChanges } from './changes.ts'
import { managerDefaults, type ManagerDeps } from './deps.ts'
import { createFleet } from './fleet.ts'
import { createForward } from './forward.ts'
import { createKeyedMutex } from './keyed-mutex.ts'
import { createLeader } from './leader.ts'
import { createManagerMetrics, type ManagerMetrics } from './metrics.ts'
import type { Parts } from './parts.ts'
import { createRecorder } from './recorder.ts'
import { createRings } from './rings.ts'
import { createRouting } from './routing.ts'
import { createServers } from './servers.ts'
import { repairFences } from './shards/repair-fences.ts'
import { createReservations } from './shards/reservations.ts'
import { recordRefusals } from './refusals.ts'
import { createSignIn, type SignIn } from './sign-in.ts'
import { createSlots } from './slots.ts'

/** Open sockets; event streams count. */
const socketsMax = 4_000
/** New shards whose servers are looked at and claimed at once. */
const checksMax = 16
/** How long the catalog is asked for a session that the live copy does not show. */
const sessionReadMsMax = 5_000
/** After so many unanswered probes the catalog counts as gone. */
const silentProbes = 3.5

/** A manager. `ready` resolves when it listens, has read the catalog and knows who leads. */
export interface Manager extends Service {
  ready(): Promise<void>
  /** Where it listens: `http://127.0.0.1:8081`, or https. Resolves once it does. */
  url(): Promise<string>
  /** True while this manager leads. */
  isLeader(): boolean
}

/** A manager that does no I/O until it is run. */
export function createManager(deps: ManagerDeps): Manager {
  return new RunningManager(deps)
}

class RunningManager implements Manager {
  readonly name = 'manager'
  readonly #deps: ManagerDeps
  readonly #view: CatalogView
  readonly #metrics: ManagerMetrics
  readonly #api: Api
  readonly #sessions: SessionCheck | null
  readonly #refused: Refused
  readonly #listening = Promise.withResolvers<string>()
  readonly #loaded = Promise.withResolvers<undefined>()
  #advertisedUrl: string
  #isTakingWork = true

  constructor(deps: ManagerDeps) {
    const { log, clock, catalog, options } = deps
    this.#deps = deps
    this.#advertisedUrl = options.advertisedUrl ?? ''
    // Nobody may ask for them; a failure to start is told by run.
    this.#listening.promise.catch(() => undefined)
    this.#loaded.promise.catch(() => undefined)
    const leaseDeps = { store: catalog.store, clock, log }
    const probeEveryMs = options.catalogProbeMs ?? managerDefaults.catalogProbeMs
    this.#view = createCatalogView(leaseDeps, { probeEveryMs })
    const fleet = createFleet(this.#view, clock)
    const rings = createRings()
    const metrics = createManagerMetrics(deps.metrics, fleet, rings)
    this.#metrics = metrics
    const leader = createLeader({
      deps: leaseDeps,
      id: options.id,
      url: () => this.#advertisedUrl,
      ttlMs: options.leaseTtlMs ?? managerDefaults.leaseTtlMs,
      prepare: (signal) => catchUp(catalog, fleet, signal),
      metrics,
    })
    this.#refused = recordRefusals({ log, clock, audit: deps.audit })
    this.#sessions = sessionsOf(deps, fleet)
    this.#api = {
      parts: createParts(deps, fleet, rings),
      signIn: signInOf(deps, { fleet, metrics, sessions: this.#sessions, refused: this.#refused }),
      leader,
      changes: createChanges({ log, clock, leader, metrics, audit: deps.audit }),
      audit: deps.audit,
      streams: createStreams(clock),
      id: options.id,
      version: options.version,
      catalogAgeMsMax: probeEveryMs * silentProbes,
      isTakingWork: () => this.#isTakingWork,
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    const app = await createServer(this.#deps, this.#api, {
      metrics: this.#metrics,
      sessions: this.#sessions,
      refused: this.#refused,
    })
    try {
      const url = await listen(app, this.#deps)
      if (this.#advertisedUrl === '') this.#advertisedUrl = url
      this.#listening.resolve(url)
      this.#deps.log.info({ url }, 'manager listens')
      await this.#serve(signal)
    } finally {
      this.#isTakingWork = false
      this.#api.streams.endAll()
      await app.close()
    }
  }

  /** Runs the live copy and the election; a failure of one ends the other. */
  async #serve(signal: AbortSignal): Promise<void> {
    const stop = new AbortController()
    const both = AbortSignal.any([signal, stop.signal])
    this.#view.loaded(both).then(() => {
      this.#loaded.resolve(undefined)
    }, this.#loaded.reject)
    const { leader, parts } = this.#api
    const running = [this.#view.run(both), leader.run(both), repairFences(parts, leader, both)]
    try {
      await Promise.race([...running, untilAborted(signal)])
    } finally {
      stop.abort(new FleetError('shutting_down', 'the manager is stopping'))
      await Promise.allSettled(running)
    }
  }

  async ready(): Promise<void> {
    await this.#listening.promise
    await this.#loaded.promise
    await this.#api.leader.known()
  }

  url(): Promise<string> {
    return this.#listening.promise
  }

  isLeader(): boolean {
    return this.#api.leader.leadership() !== null
  }

  async drain(): Promise<void> {
    this.#isTakingWork = false
    this.#api.streams.endAll()
    await this.#api.changes.drain()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#view[Symbol.asyncDispose]()
  }
}

function createParts(deps: ManagerDeps, fleet: Parts['fleet'], rings: Parts['rings']): Parts {
  const { log, clock, catalog, secrets, agent, engine } = deps
  return {
    log,
    clock,
    catalog,
    secrets,
    tlsContext: deps.tlsContext,
    engine,
    fleet,
    rings,
    routing: createRouting(catalog, fleet),
    servers: createServers({ log, fleet, agent, secrets }),
    mutex: createKeyedMutex(),
    reservations: createReservations(fleet),
    nodeCheckMs: deps.options.nodeCheckMs ?? managerDefaults.nodeCheckMs,
    checkSlots: createSlots(checksMax),
  }
}

type Refused = ReturnType<typeof recordRefusals>

/** What the door of the server goes by. */
interface ServerParts {
  readonly metrics: ManagerMetrics
  readonly sessions: SessionCheck | null
  readonly refused: Refused
}

/** Null where nobody signs in with a browser. */
function sessionsOf({ clock, catalog, signIn }: ManagerDeps, fleet: Parts['fleet']): SessionCheck | null {
  if (signIn === null || signIn === undefined) return null
  return createSessionCheck({
    clock,
    publicOrigin: signIn.oidc.publicOrigin,
    sessions: () => fleet.state().sessions,
    read: (id) => catalog.sessions.get(id, AbortSignal.timeout(sessionReadMsMax)),
  })
}

function signInOf(
  { log, clock, catalog, audit, signIn }: ManagerDeps,
  { fleet, metrics, sessions, refused }: ServerParts & { readonly fleet: Parts['fleet'] },
): SignIn | null {
  if (sessions === null || signIn === null || signIn === undefined) return null
  return createSignIn({
    clock,
    catalog,
    fleet,
    recorder: createRecorder({ log, metrics, audit }),
    cookies: sessions.cookies,
    refused: ({ request }, principal, error) =>
      refused({ route: { method: 'GET', url: callbackPath, kind: 'session' }, request, principal, error }),
    setting: signIn,
  })
}

async function createServer(
  deps: ManagerDeps,
  api: Api,
  { metrics, sessions, refused }: ServerParts,
): Promise<FastifyInstance> {
  const { log, clock, options } = deps
  const { fleet } = api.parts
  const forward = createForward({
    id: options.id,
    clock,
    leader: api.leader,
    fleet,
    ageMsMax: api.catalogAgeMsMax,
    sessionHeader: (headers) => sessions?.cookies.sessionHeader(headers) ?? null,
    fetch: deps.fetch ?? fetch,
    shown: (keyspace, epoch) => shownAt(api, keyspace, epoch),
  })
  const around: Around = async (route, call) => {
    if (route.kind === 'change') return forward(call)
    if (route.kind === 'read' && fleet.isLoaded()) {
      void call.reply.header('x-fleetshard-catalog-age-ms', String(Math.round(fleet.ageMs())))
    }
    return null
  }
  return createApp({
    log,
    tracing: deps.tracing ?? null,
    tls: deps.tls ?? null,
    version: options.version,
    title: 'FleetShard manager',
    description: 'Control plane of FleetShard: keyspaces, shards, tables, nodes, jobs, topology.',
    bodyLimitBytes: options.bodyBytesMax ?? managerDefaults.bodyBytesMax,
    bodyLimitSetting: 'manager.request-bytes-max',
    socketsMax,
    receiveMsMax: options.receiveMsMax ?? managerDefaults.receiveMsMax,
    around,
    door: {
      gate: deps.gate(() => fleet.state().tokens, sessions),
      onRefused: refused,
    },
    onAnswer: (answer) => {
      metrics.answered(answer)
    },
    routes: managerRoutes(api),
  })
}

/** @throws FleetError `port_taken` */
async function listen(app: FastifyInstance, { options, tls }: ManagerDeps): Promise<string> {
  const { host, port } = options
  try {
    await app.listen({ host, port })
  } catch (error) {
    throw listenError(error, '--manager-http-port', host, port)
  }
  const address = app.server.address()
  if (address === null || typeof address === 'string') {
    throw new FleetError('internal', 'the server listens on no port')
  }
  const isWildcard = host === '0.0.0.0' || host === '::'
  const name = isWildcard ? hostname() : host
  const scheme = (tls ?? null) === null ? 'http' : 'https'
  return `${scheme}://${name.includes(':') ? `[${name}]` : name}:${String(address.port)}`
}
