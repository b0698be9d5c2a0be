// Opens direct mode: loads the grammar, has the map and the logins, and wires the executor to the shards' servers.
import { randomBytes } from 'node:crypto'
import type { SecureContext } from 'node:tls'
import { FleetError, type Clock, type ShardMap, type ShardRecord } from '@fleetshard/core'
import {
  Cancellation,
  DeadlineSweeper,
  Executor,
  ShardAccess,
  executeLimitsDefault,
  type ExecuteLimits,
} from '@fleetshard/routing/execute'
import { isProtected, StatementCache } from '@fleetshard/routing/plan'
import { checkPositive, type Credentials, type Limits, type PoolOptions } from '../options.ts'
import type { FleetShardError } from '../errors.ts'
import type { ClientSession } from '../session.ts'
import type { Backend, Consistency } from '../statement.ts'
import { DirectBackend } from './backend.ts'
import { Gates } from './gates.ts'
import { loadAnalyser } from './grammar.ts'
import { RouterWay } from './router-way.ts'
import { HttpBackend } from '../http/backend.ts'
import { originOf, type FileSource, type Origin, type RoutersSource } from './origin.ts'

/** What direct mode is opened with. */
export interface DirectOptions {
  readonly clock: Clock
  readonly source: RoutersSource | FileSource
  readonly limits: Limits
  readonly session: ClientSession
  readonly consistency: Consistency | undefined
  readonly credentials: Credentials | undefined
  readonly pool: PoolOptions
  /** What is trusted and shown to servers under TLS. */
  readonly tlsContext: (() => SecureContext) | undefined
  /** Statements on shards that cannot be reached may go through a router. */
  readonly fallback: boolean
}

/** Direct mode, as it was opened. */
export interface OpenedDirect {
  readonly backend: Backend
  /** Why statements go through a router at the moment; null when none does. */
  readonly fallback: () => FleetShardError | null
}

/** Memory for plans of statements. */
const planBytesMax = 32 * 1024 * 1024
const clientIdBytes = 8
/** Shards of which one must be reached for direct mode to make sense. */
const probedMax = 3

const unreachable = (withinMs: number): FleetError =>
  new FleetError('shard_unavailable', `no server of a shard answered within ${String(withinMs)} ms`)

/**
 * @throws FleetError `direct_refused` when no router tells how to log in, `server_unreachable`, `not_found`;
 * `invalid_config` for a topology file
 */
export async function openDirect(options: DirectOptions): Promise<OpenedDirect> {
  const opened = new DirectMode(options)
  try {
    await opened.start()
    return { backend: await opened.backend(), fallback: () => opened.fallback }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

/** What direct mode holds open. */
class DirectMode implements AsyncDisposable {
  readonly #options: DirectOptions
  readonly #limits: ExecuteLimits
  readonly #sweeper: DeadlineSweeper
  readonly #shards = new Map<string, ShardAccess>()
  readonly #origin: Origin
  readonly #router: RouterWay | null
  readonly #clientId = `client-${randomBytes(clientIdBytes).toString('hex')}`

  constructor(options: DirectOptions) {
    const { clock, source, limits, credentials } = options
    this.#options = options
    this.#limits = executeLimits(options.pool, limits)
    this.#sweeper = new DeadlineSweeper(clock)
    this.#origin = originOf({
      source,
      clock,
      credentials,
      clientId: this.#clientId,
      timeoutMs: limits.connectTimeoutMs,
      onMap: (map, held) => {
        this.#tookMap(map, held)
      },
    })
    const { routers } = this.#origin
    this.#router =
      routers === null || !options.fallback
        ? null
        : new RouterWay({ clock, http: new HttpBackend({ ...options, ...routers }) })
  }

  get fallback(): FleetShardError | null {
    return this.#router?.reason ?? null
  }

  async start(): Promise<void> {
    await this.#origin.topology.start()
    await this.#origin.membership.start()
    // Now it is known whose map it is.
    this.#origin.copy?.changed()
    await this.#reach()
  }

  /** Whether there is a way to the servers at all. @throws FleetError of the first of those that were tried */
  async #reach(): Promise<void> {
    const { clock, limits } = this.#options
    const tried = this.#origin.topology.map().owners.slice(0, probedMax)
    if (tried.length === 0) return
    const late = Promise.withResolvers<never>()
    const stop = clock.after(limits.connectTimeoutMs, () => {
      late.reject(unreachable(limits.connectTimeoutMs))
    })
    try {
      const probes = tried.map(async (shard) => this.#access(shard).schemaFacts(new Cancellation()))
      await Promise.race([Promise.any(probes), late.promise])
    } catch (error) {
      throw error instanceof AggregateError ? error.errors[0] : error
    } finally {
      stop()
    }
  }

  async backend(): Promise<Backend> {
    const { clock, limits, consistency, session } = this.#options
    const executor = new Executor({
      clock,
      sweeper: this.#sweeper,
      access: (shard) => {
        this.#router?.check(shard.id)
        return this.#access(shard)
      },
      newerMap: (map) => this.#origin.topology.newerThan(map, limits.newerMapMs),
      metrics: { routed: () => undefined, retried: () => undefined },
    })
    return new DirectBackend({
      clock,
      sweeper: this.#sweeper,
      statements: new StatementCache({ analyse: await loadAnalyser(), bytesMax: planBytesMax }),
      executor,
      topology: this.#origin.topology,
      limits,
      session,
      consistency,
      router: this.#router,
      gates: new Gates(Math.max(1, Math.floor(this.#limits.connectionsPerNodeMax / 2))),
      close: () => this[Symbol.asyncDispose](),
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const accesses = [...this.#shards.values()]
    this.#shards.clear()
    await Promise.all(accesses.map((access) => access.close()))
    await this.#origin.membership[Symbol.asyncDispose]()
    await this.#origin.topology[Symbol.asyncDispose]()
  }

  #access(shard: ShardRecord): ShardAccess {
    const known = this.#shards.get(shard.id)
    if (known !== undefined) return known
    const access = new ShardAccess(
      {
        log: { warn: () => undefined },
        clock: this.#options.clock,
        sweeper: this.#sweeper,
        limits: this.#limits,
        routerId: this.#clientId,
        identityCheck: this.#origin.identityCheck,
        routersAlive: () => 1,
        connectionsElsewhere: () => 0,
        isProtected: () => isProtected(this.#origin.topology.map()),
        cluster: () => this.#origin.membership.cluster,
        login: (node) => this.#origin.membership.login(node, shard.id),
        tlsContext: this.#options.tlsContext,
        onLoginRefused: (node) => {
          this.#origin.membership.refused(node.id)
        },
        epochOf: () => this.#origin.topology.map().epoch,
        mapAgeMs: () => this.#origin.topology.ageMs(),
        onStale: () => {
          this.#origin.topology.refresh().catch(() => undefined)
        },
      },
      shard,
    )
    this.#shards.set(shard.id, access)
    return access
  }

  #tookMap(map: ShardMap, held: ShardMap | null): void {
    const schemaChanged = held !== null && held.snapshot.tables !== map.snapshot.tables
    for (const [id, access] of this.#shards) {
      const record = map.shards.get(access.record.id)
      if (record === undefined) {
        this.#shards.delete(id)
        void access.close(
          new FleetError('stale_map', `shard ${access.record.name} is not in the map any more`),
        )
        continue
      }
      access.update(record)
      if (schemaChanged) access.schemaChanged()
    }
    this.#router?.mapChanged((id) => map.owners.some((owner) => owner.id === id))
    if (held !== null) this.#origin.membership.acknowledge()
  }
}

function executeLimits(pool: PoolOptions, { timeoutMs }: Limits): ExecuteLimits {
  for (const [name, value] of Object.entries(pool)) checkPositive(`pool.${name}`, value as number)
  const waitMs = pool.waitMs ?? executeLimitsDefault.queueWaitMs
  return {
    connectionsPerNodeMax: pool.connectionsMax ?? 20,
    lanesPerNodeMax: pool.lanesMax ?? 2,
    laneInFlightMax: pool.laneInFlightMax ?? 64,
    queueMax: pool.queueMax ?? executeLimitsDefault.queueMax,
    queueWaitMs: waitMs,
    statementTimeoutMs: timeoutMs,
    connectTimeoutMs: waitMs,
    openingMax: executeLimitsDefault.openingMax,
    idleMs: pool.idleMs ?? executeLimitsDefault.idleMs,
  }
}
