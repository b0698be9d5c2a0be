// The way to one shard: a pool for each of its nodes, made and checked by the shard's record, and what its database
// says about functions and tables.
import type { SecureContext } from 'node:tls'
import {
  FleetError,
  isFleetError,
  parseEpoch,
  toFleetError,
  type Clock,
  type Epoch,
  type NodeRecord,
  type ShardRecord,
} from '@fleetshard/core'
import { routerApplicationPrefix, unclaimedCheck, type ShardIdentity } from '../shard-state.ts'
import {
  connectServer,
  createPreparedStatements,
  exec,
  ServerStatements,
  type ServerConnection,
  type ServerNotification,
} from '../wire/mod.ts'
import type { ScramKeys } from '../pgwire/mod.ts'
import type { RoutingLog } from '../log.ts'
import { claimedDatabase, goneByNow, notInTime, wrongDatabase } from './access-errors.ts'
import { Cancellation, type DeadlineSweeper } from './cancellation.ts'
import { Chain } from './chain.ts'
import type { ExecuteLimits } from './limits.ts'
import { NodePool } from './node-pool.ts'
import { ReplicaProgress } from './replica-progress.ts'
import { RestartProof } from './restart-proof.ts'
import { loadSchemaFacts, type SchemaFacts } from './schema-facts.ts'
import type { Session, SessionKind } from './session.ts'
import { readState, runCheck } from './shard-check.ts'
import { laneSettings, sessionSettings } from './server-settings.ts'
import { noSettings, type SessionSettings } from './session-settings.ts'

/**
 * What a new connection wants of its database: that the shard has claimed it (`claimed`), or, for the shards of a
 * topology file, which claim none, that no shard of a managed keyspace has (`static`).
 */
export type IdentityCheck = 'claimed' | 'static'

/** What the ways to all shards share. */
export interface ShardAccessParts {
  readonly log: RoutingLog
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  readonly limits: ExecuteLimits
  readonly routerId: string
  /** `claimed` where it is left out. */
  readonly identityCheck?: IdentityCheck
  /** Routers alive, this one included; the limit of connections is divided by it. */
  readonly routersAlive: () => number
  /** The uuid of the cluster, null as long as it is not known. */
  readonly cluster: () => string | null
  /** How to log in to a node. */
  readonly login: (node: NodeRecord, signal: AbortSignal) => Promise<NodeLogin>
  /** Asked at each connection under TLS for what we show and trust; what the system trusts where it is left out. */
  readonly tlsContext?: (() => SecureContext) | undefined
  /** A server refused that login. */
  readonly onLoginRefused: (node: NodeRecord) => void
  /** The epoch that this router works with for the shard's keyspace. */
  readonly epochOf: (shard: ShardRecord) => Epoch
  /** Told when a shard refuses this router's map as too old, or its database (null), which an old map would explain. */
  readonly onStale: (shard: ShardRecord, epochMin: Epoch | null) => void
  /** Milliseconds since the map was known to be the newest. */
  readonly mapAgeMs: () => number
  /** True where no commit may be seen before a replica has it. */
  readonly isProtected: () => boolean
  /** Connections to the node that pools of other users hold: they count as well. */
  readonly connectionsElsewhere: (node: NodeRecord) => number
  /** Told how long statements have waited for a connection or a lane. */
  readonly onWaited?: (waitedMs: number) => void
}

/** A role of the databases other than that of the node records. */
export interface ShardLogin {
  readonly user: string
  /** Of the last exchange with a client; asked for at every new connection. */
  readonly keys: () => ScramKeys
}

/** A login to a node: a password, the keys of an exchange with a client of that role, or null for none. */
export interface NodeLogin {
  readonly user: string
  readonly password: string | ScramKeys | null
}

/** A node of the shard with its pool. */
export interface NodeAccess {
  readonly node: NodeRecord
  readonly pool: NodePool
}

/** How long names read from a shard's database are believed before they are read again in the background. */
const schemaFactsMs = 30_000
/** A map that is later than this is not to be believed in. */
const mapLateMsMax = 1_500
/** How long statements under way on a primary that was superseded may take to end. */
const supersededMs = 500
/** How long a primary that is gone is waited for: for its restart, or, where it has replicas, for a failover. */
const restartPatienceMs = 2_000
const failoverPatienceMs = 10_000
/** How long reading them may take. */
const schemaFactsTimeoutMs = 15_000

/** The pools and names of one shard. */
export class ShardAccess {
  readonly #parts: ShardAccessParts
  #record: ShardRecord
  readonly progress: ReplicaProgress
  /** By node. */
  readonly #proofs = new Map<string, RestartProof>()
  readonly #nodes = new Map<string, NodeAccess>()
  /** The same by the records at hand, for the hot path. */
  #byRecord = new WeakMap<NodeRecord, NodeAccess>()
  /** `clock.monotonic()` from when on old idempotency records are looked for again. */
  sweepAtMs = 0
  #facts: { readonly facts: SchemaFacts; readonly atMs: number } | null = null
  #loading: Promise<SchemaFacts> | null = null
  #schemaVersion = 0
  /** From when on its database has been another's. */
  #strangeSinceMs: number | null = null
  #closed = false
  #next = 0

  constructor(parts: ShardAccessParts, record: ShardRecord) {
    this.#parts = parts
    this.#record = record
    this.progress = new ReplicaProgress(parts.clock)
  }

  get record(): ShardRecord {
    return this.#record
  }

  /** Pools that exist; nodes that were never used have none. */
  get pools(): Iterable<NodeAccess> {
    return this.#nodes.values()
  }

  /** Takes a newer record; pools of nodes that are gone or have moved are closed. */
  update(record: ShardRecord): void {
    const before = this.#record
    this.#record = record
    this.#byRecord = new WeakMap()
    const wanted = new Set(record.nodes.map(nodeIdentity))
    for (const [identity, access] of this.#nodes) {
      if (wanted.has(identity)) continue
      this.#nodes.delete(identity)
      // Those who wait look where the shard's nodes are now.
      const gone = new FleetError('stale_map', `node ${access.node.id} is not what or where it was`)
      // A primary of an older term may never answer again, and what it answers does not count.
      void access.pool.close(
        gone,
        record.term > before.term || access.node.role === 'primary' ? supersededMs : undefined,
      )
    }
  }

  /** @throws FleetError `shard_unavailable` when the record has no primary */
  primary(): NodeAccess {
    const node = this.#record.nodes.find(({ role }) => role === 'primary')
    if (node === undefined) {
      throw new FleetError('shard_unavailable', `shard ${this.#record.name} has no primary`)
    }
    return this.#access(node)
  }

  /** The replica with the least in flight among those that can be reached; null when there is none. */
  replica(without: ReadonlySet<NodeAccess>): NodeAccess | null {
    const nodes = this.#record.nodes
    let best: NodeAccess | null = null
    let least = Infinity
    this.#next += 1
    for (let offset = 0; offset < nodes.length; offset += 1) {
      const node = nodes[(this.#next + offset) % nodes.length]
      if (node?.role !== 'replica') continue
      const access = this.#access(node)
      if (without.has(access) || !access.pool.isUp) continue
      const { inFlight } = access.pool.counts
      if (inFlight < least) [best, least] = [access, inFlight]
    }
    return best
  }

  /** The replicas that can be reached, the least busy first. */
  replicas(without: ReadonlySet<NodeAccess>): readonly NodeAccess[] {
    return this.#record.nodes
      .filter(({ role }) => role === 'replica')
      .map((node) => this.#access(node))
      .filter((access) => !without.has(access) && access.pool.isUp)
      .toSorted((one, other) => one.pool.counts.inFlight - other.pool.counts.inFlight)
  }

  /** What the shard's database says; at once when it is known. */
  schemaFacts(cancellation: Cancellation): SchemaFacts | Promise<SchemaFacts> {
    return this.knownFacts ?? cancellation.until(this.#loadFacts())
  }

  /** The same without asking the database; null when it was not asked yet. */
  get knownFacts(): SchemaFacts | null {
    if (this.#facts === null) return null
    if (this.#parts.clock.monotonic() - this.#facts.atMs > schemaFactsMs) {
      // The old names serve until the new ones are there; failing to read them is noticed by the next statement.
      this.#loadFacts().catch(() => undefined)
    }
    return this.#facts.facts
  }

  /** The schema has changed: names are read and statements prepared again. */
  schemaChanged(): void {
    this.#facts = null
    this.#schemaVersion += 1
    this.#loading = null
    for (const { pool } of this.#nodes.values()) pool.renewStatements()
  }

  /** @param gone set when the shard is not in the map any more: those who wait are placed anew */
  async close(gone?: FleetError): Promise<void> {
    this.#closed = true
    const accesses = [...this.#nodes.values()]
    this.#nodes.clear()
    const reason =
      gone ??
      new FleetError('shutting_down', `the connections to shard ${this.#record.name} are being closed`)
    await Promise.all(accesses.map(({ pool }) => pool.close(reason)))
  }

  /** Many wait for one reading, so none of them can call it off. */
  #loadFacts(): Promise<SchemaFacts> {
    if (this.#loading !== null) return this.#loading
    const loading = this.#readFacts().finally(() => {
      if (this.#loading === loading) this.#loading = null
    })
    this.#loading = loading
    return loading
  }

  async #readFacts(): Promise<SchemaFacts> {
    const { pool } = this.#forReading()
    const version = this.#schemaVersion
    const session = await pool.borrow(new Cancellation())
    const signal = AbortSignal.timeout(schemaFactsTimeoutMs)
    try {
      const facts = await loadSchemaFacts(session.connection, signal)
      // What was read before a change is good for those who waited, but is not kept.
      if (version === this.#schemaVersion) this.#facts = { facts, atMs: this.#parts.clock.monotonic() }
      return facts
    } catch (error) {
      if (!signal.aborted) throw error
      const late = new FleetError(
        'shard_unavailable',
        `shard ${this.#record.name} did not tell its tables in time`,
      )
      session.connection.destroy(late)
      throw late
    } finally {
      pool.giveBack(session)
    }
  }

  #forReading(): NodeAccess {
    const primary = this.primary()
    return primary.pool.isUp ? primary : (this.replica(new Set()) ?? primary)
  }

  #access(node: NodeRecord): NodeAccess {
    if (this.#closed)
      throw new FleetError('shutting_down', `the connections to shard ${this.#record.name} are closed`)
    const known = this.#byRecord.get(node)
    if (known !== undefined) return known
    const identity = nodeIdentity(node)
    let access = this.#nodes.get(identity)
    if (access === undefined) {
      access = { node, pool: this.#makePool(node) }
      this.#nodes.set(identity, access)
    }
    this.#byRecord.set(node, access)
    return access
  }

  #makePool(node: NodeRecord): NodePool {
    const { log, clock, sweeper, limits, routersAlive } = this.#parts
    return new NodePool({
      log,
      clock,
      sweeper,
      limits,
      patienceMs: () => this.#patienceWith(node),
      onWaited: this.#parts.onWaited,
      name: `${node.id} (${node.host}:${String(node.port)})`,
      connectionsMax: () => {
        const own = Math.floor(limits.connectionsPerNodeMax / Math.max(1, routersAlive()))
        return Math.max(1, own - this.#parts.connectionsElsewhere(node))
      },
      open: (kind, settings) => this.#open(node, kind, settings),
      adapt: (session, settings) => this.#adapt(session, settings),
    })
  }

  #patienceWith(node: NodeRecord): number {
    if (node.role !== 'primary') return 0
    return this.#record.nodes.length > 1 ? failoverPatienceMs : restartPatienceMs
  }

  async #adapt(session: Session, settings: SessionSettings): Promise<void> {
    const { clock, limits } = this.#parts
    const late = new FleetError('shard_unavailable', 'a connection did not take its settings in time')
    const stop = clock.after(limits.connectTimeoutMs, () => {
      session.connection.destroy(late)
    })
    try {
      await exec(session.connection, settings.changesFrom(session.settings))
      session.settings = settings
    } finally {
      stop()
    }
  }

  async #open(node: NodeRecord, kind: SessionKind, settings: SessionSettings): Promise<Session> {
    const { clock, limits } = this.#parts
    const late = new AbortController()
    const stop = clock.after(limits.connectTimeoutMs, () => {
      late.abort(notInTime(node, limits.connectTimeoutMs))
    })
    try {
      const session = await this.#openUntil(node, kind, late.signal)
      if (settings.key !== '') await this.#adaptNew(session, settings)
      return session
    } finally {
      stop()
    }
  }

  async #adaptNew(session: Session, settings: SessionSettings): Promise<void> {
    try {
      await this.#adapt(session, settings)
    } catch (error) {
      session.connection.destroy(toFleetError(error))
      throw error
    }
  }

  async #openUntil(node: NodeRecord, kind: SessionKind, signal: AbortSignal): Promise<Session> {
    const { clock } = this.#parts
    const login = await this.#parts.login(node, signal)
    let session: Session | null = null
    const onNotification = (notification: ServerNotification): void => session?.onNotification?.(notification)
    const connection = await this.#connect(node, { kind, login, signal, onNotification })
    let epochMin: Epoch
    try {
      epochMin =
        this.#parts.identityCheck === 'static'
          ? await this.#checkUnclaimed(connection, signal)
          : await this.#check(connection, signal)
      if (node.role === 'primary' && this.#parts.isProtected())
        await this.#proofOf(node).prove(connection, signal)
    } catch (error) {
      connection.destroy(
        error instanceof FleetError ? error : new FleetError('internal', 'the check of the shard failed'),
      )
      throw error
    }
    const now = clock.monotonic()
    session = {
      connection,
      prepared: createPreparedStatements(connection),
      statements: new ServerStatements(),
      settings: noSettings,
      onNotification: null,
      epochMin,
      idleSinceMs: now,
      lastEndMs: now,
      abandoned: 0,
      remembers: false,
      canceling: null,
      canceledHeadMs: null,
      sharers: new Chain(),
      chain: null,
      before: null,
      behind: null,
    }
    return session
  }

  async #connect(
    node: NodeRecord,
    wanted: {
      kind: SessionKind
      login: NodeLogin
      signal: AbortSignal
      onNotification: (notification: ServerNotification) => void
    },
  ): Promise<ServerConnection> {
    const { clock, limits } = this.#parts
    const { kind, login, signal, onNotification } = wanted
    try {
      return await connectServer(
        {
          host: node.host,
          port: node.port,
          database: node.database,
          ...login,
          tls: node.tls,
          ...(this.#parts.tlsContext === undefined ? {} : { tlsContext: this.#parts.tlsContext }),
          applicationName: `${routerApplicationPrefix} ${this.#parts.routerId}`,
          startupSettings: kind === 'lane' ? laneSettings(limits) : sessionSettings,
          connectTimeoutMs: limits.connectTimeoutMs,
          onNotification,
        },
        clock,
        signal,
      )
    } catch (error) {
      // What the server said is a fact of the error; its own SQLSTATE says that the shard cannot be reached.
      const said = error instanceof FleetError ? error.facts['server_sqlstate'] : undefined
      const isRefused = said === '28P01' || said === '28000'
      if (isRefused) this.#parts.onLoginRefused(node)
      throw error
    }
  }

  #proofOf({ id }: NodeRecord): RestartProof {
    const proof = this.#proofs.get(id) ?? new RestartProof()
    this.#proofs.set(id, proof)
    return proof
  }

  /** @throws FleetError `stale_map`, `wrong_database` */
  async #check(connection: ServerConnection, signal: AbortSignal): Promise<Epoch> {
    const record = this.#record
    const epoch = this.#parts.epochOf(record)
    const state = await readState(connection, signal)
    if (state === null) throw this.#strange(record, 'no shard has claimed that database')
    const known = this.#parts.cluster()
    if (
      state.shard !== record.id ||
      state.keyspace !== record.keyspace ||
      (known !== null && known !== state.cluster)
    ) {
      const owner = `shard ${state.shard} of keyspace ${state.keyspace}`
      throw this.#strange(record, `that database belongs to ${owner}`)
    }
    this.#strangeSinceMs = null
    if (state.epochMin > epoch || state.term > record.term) {
      this.#parts.onStale(record, state.epochMin)
      throw new FleetError(
        'stale_map',
        `shard ${record.name} wants epoch ${String(state.epochMin)}, the map has ${String(epoch)}`,
      )
    }
    return state.epochMin
  }

  /** The database of another, or of nobody: that of a shard that was deleted, until the map has had time to tell. */
  #strange(record: ShardRecord, what: string): FleetError {
    this.#parts.onStale(record, null)
    const nowMs = this.#parts.clock.monotonic()
    this.#strangeSinceMs ??= nowMs
    const isTold = nowMs - this.#strangeSinceMs >= mapLateMsMax && this.#parts.mapAgeMs() < mapLateMsMax
    return isTold ? wrongDatabase(record, what) : goneByNow(record, what)
  }

  /** Nobody fences a static shard: maps of any epoch are good. @throws FleetError `wrong_database` */
  async #checkUnclaimed(connection: ServerConnection, signal: AbortSignal): Promise<Epoch> {
    const record = this.#record
    const [found] = await runCheck(connection, unclaimedCheck, signal)
    if (found?.[0] !== 't') return parseEpoch(0)
    let state: ShardIdentity | null
    try {
      state = await readState(connection, signal)
    } catch (error) {
      if (!isFleetError(error, 'sql_error')) throw error
      throw claimedDatabase(record, 'the login may not read who has claimed that database')
    }
    if (state === null) return parseEpoch(0)
    throw claimedDatabase(
      record,
      `that database belongs to shard ${state.shard} of keyspace ${state.keyspace}`,
    )
  }
}

const nodeIdentity = (node: NodeRecord): string =>
  JSON.stringify([
    node.id,
    node.role,
    node.host,
    node.port,
    node.database,
    node.user,
    node.secretRef,
    node.tls,
  ])
