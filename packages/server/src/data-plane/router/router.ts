// The router: maps from the catalog, the way to each shard, the executor, and the HTTP listener in front.
import type { SecureContext } from 'node:tls'
import { FleetError, type Clock, type NodeRecord, type ShardMap, type ShardRecord } from '@fleetshard/core'
import type { RouterPort } from '../../catalog/router-port.ts'
import { traceIdOf } from '../../runtime/http/mod.ts'
import type { Logger, Metrics, ServerTls, Service, Tracing } from '../../runtime/mod.ts'
import type { Authenticator } from '../../security/mod.ts'
import {
  DeadlineSweeper,
  Executor,
  ShardAccess,
  type ExecuteLimits,
  type IdentityCheck,
  type ShardLogin,
} from '@fleetshard/routing/execute'
import { HttpListener } from './listeners/http/listener.ts'
import type { Answered, EndpointLimits } from './listeners/http/endpoint.ts'
import type { QueryLimits } from './listeners/http/query.ts'
import { createRouterMetrics, type RouterMetrics } from './metrics.ts'
import { isProtected, StatementCache } from '@fleetshard/routing/plan'
import { StatementParser } from './parser/parser.ts'
import { MapFile, tokenSource, type LoadedCopy, type MapCopy } from './topology/map-file.ts'
import { Maps } from './topology/maps.ts'
import { DirectSessions } from './topology/direct-sessions.ts'
import { Passwords } from './topology/passwords.ts'
import { SlowStatements } from './slow-statements.ts'
import { WirePort, type WireOptions } from './wire.ts'

/** Settings of one router. */
export interface RouterOptions {
  readonly id: string
  readonly version: string
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly region: string | null
  readonly zone: string | null
  /** Where the copy of the maps is kept; null for none. */
  readonly mapFile: string | null
  readonly httpConnectionsMax: number
  readonly planCacheBytesMax: number
  /** Transactions that clients hold open over several requests. */
  readonly transactionsMax: number
  /** How long what is in flight may take to end when the router stops. */
  readonly drainMs: number
  /** Statements that take so long are logged; 0 for none. */
  readonly slowStatementMs: number
  readonly execute: ExecuteLimits
  readonly query: QueryLimits
  readonly endpoint: EndpointLimits
  /** Null for a router without a Postgres port. */
  readonly wire: WireOptions | null
}

/** What a router is made of. Wired in roles/ only. */
export interface RouterDeps {
  readonly log: Logger
  readonly clock: Clock
  readonly port: RouterPort
  readonly metrics: Metrics
  /** Null, or left out, where there are no traces. */
  readonly tracing?: Tracing | null
  /** The copy of an earlier run (`loadMapCopy`), whose keyspaces were given to the port as its seed. */
  readonly copy: LoadedCopy | null
  /** What a secretRef other than `catalog:` stands for. */
  readonly readSecret: (secretRef: string, signal: AbortSignal) => Promise<string>
  /** What new connections to shards check; `claimed` where it is left out. */
  readonly identityCheck?: IdentityCheck
  readonly authenticator: Authenticator
  /** True while a topology file is not what is served; never where it is left out. */
  readonly isTopologyRefused?: () => boolean
  /** Null, or left out, for plain HTTP. */
  readonly tls?: ServerTls | null
  /** How this process reaches shards under TLS; by what the system trusts where it is left out. */
  readonly tlsContext?: (() => SecureContext) | undefined
  readonly options: RouterOptions
}

/** Stands for the roles of the node records. */
const ownLogin = {}

/** How long a statement waits for a newer map after a shard refused the one at hand. */
const newerMapWithinMs = 2_000

/** A router as a service: `run` keeps it in step with the catalog and listens. */
export class Router implements Service {
  readonly name = 'router'
  readonly #deps: RouterDeps
  readonly #shards = new Map<string, { readonly access: ShardAccess; readonly login: ShardLogin | null }>()
  /** The same by the records at hand, for the hot path. */
  #byRecord = new WeakMap<ShardRecord, WeakMap<object, ShardAccess>>()
  /** How many of them are of roles other than those of the node records. */
  #logins = 0
  readonly #sweeper: DeadlineSweeper
  readonly #parser: StatementParser
  readonly #passwords: Passwords
  readonly #file: MapFile | null
  readonly #metrics: RouterMetrics
  readonly #slow: SlowStatements
  readonly #maps: Maps
  readonly #direct: DirectSessions
  readonly #listener: HttpListener
  readonly #wire: WirePort | null

  constructor(deps: RouterDeps) {
    const { log, clock, port, options, copy } = deps
    this.#deps = deps
    this.#sweeper = new DeadlineSweeper(clock)
    this.#parser = new StatementParser({ log, clock })
    this.#file =
      options.mapFile === null
        ? null
        : new MapFile({ path: options.mapFile, log, clock, read: () => this.#copy() })
    this.#passwords = new Passwords({
      port,
      clock,
      readOther: deps.readSecret,
      onNew: () => this.#file?.changed(),
      seed: copy?.secrets ?? {},
    })
    this.#file?.followTokens(port)
    this.#maps = new Maps({
      log,
      clock,
      port,
      onMap: (map, held) => {
        this.#tookMap(map, held)
      },
      onGone: (keyspace) => {
        this.#forgetShards((shard) => shard.keyspace === keyspace)
      },
    })
    const statements = new StatementCache({
      analyse: (text) => this.#parser.analyse(text),
      bytesMax: options.planCacheBytesMax,
    })
    this.#metrics = createRouterMetrics(deps.metrics, {
      maps: () => this.#maps.all(),
      shards: () => this.#accesses(),
      mapAgeMs: () => this.mapAgeMs(),
      statements,
      openTransactions: () => this.#listener.openTransactions,
      wire: () => this.#wire,
      isTopologyRefused: deps.isTopologyRefused ?? (() => false),
    })
    this.#slow = new SlowStatements({ log, clock }, options.slowStatementMs)
    const executor = new Executor({
      clock,
      sweeper: this.#sweeper,
      access: (shard) => this.#access(shard, null),
      newerMap: (map) => this.#maps.newerThan(map, newerMapWithinMs),
      metrics: this.#metrics,
    })
    this.#direct = this.#directSessions()
    this.#listener = this.#makeListener(executor, statements)
    this.#wire = options.wire === null ? null : this.#makeWire(options.wire, statements)
  }

  #makeListener(executor: Executor, statements: StatementCache): HttpListener {
    const { log, clock, port, options, tracing = null } = this.#deps
    return new HttpListener({
      log,
      tracing,
      tls: this.#deps.tls ?? null,
      options,
      maps: this.#maps,
      direct: this.#direct,
      gate: this.#deps.authenticator,
      port,
      mapAgeMs: () => this.mapAgeMs(),
      onAnswer: (answered) => {
        this.#answered(answered)
      },
      query: {
        clock,
        sweeper: this.#sweeper,
        executor,
        statements,
        map: (keyspace) => this.#maps.get(keyspace),
        limits: options.query,
      },
    })
  }

  #makeWire(options: WireOptions, statements: StatementCache): WirePort {
    const { log, clock } = this.#deps
    return new WirePort({
      log,
      clock,
      sweeper: this.#sweeper,
      statements,
      map: (keyspace) => this.#maps.get(keyspace),
      maps: () => this.#maps.all(),
      newerMap: (map) => this.#maps.newerThan(map, newerMapWithinMs),
      access: (shard, login) => this.#access(shard, login),
      accesses: () =>
        Array.from(this.#shards.values(), ({ access, login }) => ({ access, user: login?.user ?? null })),
      metrics: this.#metrics,
      slow: this.#slow,
      tracing: this.#deps.tracing ?? null,
      version: this.#deps.options.version,
      authenticator: this.#deps.authenticator,
      options,
    })
  }

  /** The port that the listener has; only while it runs. */
  get address(): { readonly host: string; readonly port: number } {
    return this.#listener.address
  }

  /** The Postgres port; null for a router without one. */
  get wireAddress(): { readonly host: string; readonly port: number } | null {
    return this.#wire?.address ?? null
  }

  /** Milliseconds since the catalog confirmed the map; of a copy from disk, since it was written. */
  mapAgeMs(): number {
    const age = this.#deps.port.view.ageMs()
    if (age !== Infinity || this.#deps.copy === null) return age
    return Math.max(0, this.#deps.clock.now() - this.#deps.copy.savedAtMs)
  }

  /** Listens; to be called before `run` when the caller wants to know the port. */
  async listen(): Promise<void> {
    await this.#listener.listen()
  }

  /** The same for the Postgres port. */
  async listenWire(): Promise<void> {
    await this.#wire?.listen()
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#listener.listen()
    await this.#wire?.listen()
    await Promise.all([this.#deps.port.run(signal), this.#passwords.run(signal)])
  }

  async drain(): Promise<void> {
    const { drainMs } = this.#deps.options
    await Promise.all([this.#listener.drain(drainMs), this.#wire?.drain(drainMs)])
    await Promise.all(this.#accesses().map((access) => access.close()))
    await this.#deps.port.drain()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener[Symbol.asyncDispose]()
    await this.#direct[Symbol.asyncDispose]()
    await this.#wire?.[Symbol.asyncDispose]()
    this.#maps[Symbol.dispose]()
    await Promise.all(this.#accesses().map((access) => access.close()))
    await this.#file?.[Symbol.asyncDispose]()
    await this.#parser[Symbol.asyncDispose]()
    await this.#deps.port[Symbol.asyncDispose]()
  }

  #directSessions(): DirectSessions {
    const { clock, port, options } = this.#deps
    return new DirectSessions({
      clock,
      port,
      passwords: this.#passwords,
      map: (keyspace) => this.#maps.get(keyspace),
      router: { host: options.host, port: options.port, version: options.version },
    })
  }

  #answered(answered: Answered): void {
    this.#metrics.answered(answered)
    if (answered.elapsedMs >= this.#slow.fromMs) noteSlow(this.#slow, answered)
  }

  /** Direct clients have connections and bounds of their own. */
  #routersAlive(): number {
    let alive = 0
    for (const { kind } of this.#deps.port.view.current().routers.values()) if (kind === undefined) alive += 1
    return alive
  }

  #accesses(): ShardAccess[] {
    return Array.from(this.#shards.values(), ({ access }) => access)
  }

  /** Connections to the node under other roles: all together have one limit. */
  #connectionsElsewhere(node: NodeRecord, user: string | null): number {
    if (user === null && this.#logins === 0) return 0
    let connections = 0
    for (const { access, login } of this.#shards.values()) {
      if ((login?.user ?? null) === user) continue
      for (const other of access.pools) {
        if (other.node.id !== node.id) continue
        const { lanes, idle, lent } = other.pool.counts
        connections += lanes + idle + lent
      }
    }
    return connections
  }

  #access(shard: ShardRecord, login: ShardLogin | null): ShardAccess {
    const byLogin = this.#byRecord.get(shard)
    const who = login ?? ownLogin
    const known = byLogin?.get(who)
    if (known !== undefined) return known
    const access = this.#findAccess(shard, login)
    if (byLogin === undefined) this.#byRecord.set(shard, new WeakMap([[who, access]]))
    else byLogin.set(who, access)
    return access
  }

  #findAccess(shard: ShardRecord, login: ShardLogin | null): ShardAccess {
    const key = keyOf(shard, login?.user ?? null)
    const known = this.#shards.get(key)
    if (known !== undefined) return known.access
    const { log, clock, options, port } = this.#deps
    const access = new ShardAccess(
      {
        log: log.child({ shard: shard.id }),
        clock,
        sweeper: this.#sweeper,
        limits: options.execute,
        routerId: options.id,
        identityCheck: this.#deps.identityCheck ?? 'claimed',
        routersAlive: () => this.#routersAlive(),
        cluster: () => port.view.current().cluster?.id ?? this.#deps.copy?.cluster ?? null,
        login: (node, signal) =>
          login === null
            ? this.#passwords.loginOf(node, signal)
            : Promise.resolve({ user: login.user, password: login.keys() }),
        tlsContext: this.#deps.tlsContext,
        onLoginRefused: ({ secretRef }) => {
          if (login === null && secretRef !== null) this.#passwords.refused(secretRef)
        },
        epochOf: ({ keyspace }) => this.#maps.get(keyspace).epoch,
        mapAgeMs: () => this.mapAgeMs(),
        onStale: ({ id }, epochMin) => {
          log.info({ shard: id, epoch: epochMin }, 'a shard wants a newer map')
        },
        isProtected: () => isProtected(this.#maps.get(shard.keyspace)),
        onWaited: (waitedMs) => {
          this.#metrics.waited(shard, waitedMs)
        },
        connectionsElsewhere: (node) => this.#connectionsElsewhere(node, login?.user ?? null),
      },
      shard,
    )
    this.#shards.set(key, { access, login })
    if (login !== null) this.#logins += 1
    return access
  }

  #tookMap(map: ShardMap, held: ShardMap | null): void {
    this.#passwords.want(map.snapshot.shards.flatMap(({ nodes }) => nodes.map(({ secretRef }) => secretRef)))
    const schemaChanged = held !== null && held.snapshot.tables !== map.snapshot.tables
    for (const { access } of this.#shards.values()) {
      if (access.record.keyspace !== map.snapshot.keyspace.name) continue
      const record = map.shards.get(access.record.id)
      if (record !== undefined) access.update(record)
      if (schemaChanged) access.schemaChanged()
    }
    this.#forgetShards(({ keyspace, id }) => keyspace === map.snapshot.keyspace.name && !map.shards.has(id))
    this.#file?.changed()
  }

  #forgetShards(gone: (shard: ShardRecord) => boolean): void {
    for (const [key, { access, login }] of this.#shards) {
      if (!gone(access.record)) continue
      this.#shards.delete(key)
      if (login !== null) this.#logins -= 1
      this.#byRecord = new WeakMap()
      this.#metrics.forget(access.record)
      void access.close(new FleetError('stale_map', `shard ${access.record.name} is not in the map any more`))
    }
  }

  #copy(): MapCopy {
    const { view } = this.#deps.port
    return {
      tokens: [...tokenSource(this.#deps.port, this.#deps.copy)().values()],
      cluster: view.current().cluster?.id ?? this.#deps.copy?.cluster ?? null,
      secrets: this.#passwords.fromCatalog(),
      keyspaces: [...this.#maps.all()].map(({ snapshot }) => snapshot),
    }
  }
}

function noteSlow(slow: SlowStatements, { ran, elapsedMs, error, traceparent }: Answered): void {
  const [first] = ran.statements
  // A transaction that is begun or ended, and what was refused before it was read, has no statement.
  if (first === undefined) return
  slow.note({
    via: 'http',
    elapsedMs,
    text: first.text,
    statements: ran.statements.length,
    shard: ran.shard,
    rows: ran.rows,
    sqlstate: error?.sqlstate ?? '',
    traceId: ran.span?.traceId ?? traceIdOf(traceparent),
  })
}

const keyOf = ({ keyspace, id }: Pick<ShardRecord, 'keyspace' | 'id'>, user: string | null): string =>
  user === null ? `${keyspace}/${id}` : `${keyspace}/${id}/${user}`
