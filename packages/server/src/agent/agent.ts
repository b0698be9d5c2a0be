// The supervisor of the database servers on this host, all below one data directory that it owns alone. Used in
// process by the embedded cluster, and over HTTP (http.ts) by managers. What each server should be doing is on disk
// before it is done, so an agent that was killed goes on where it was: it takes over the servers that run, starts
// those that should run, and ends those that should not.
import { FleetError } from '@fleetshard/core'
import type { StopMode, SyncStandbys, Upstream } from '../agent-api/mod.ts'
import type { Service } from '../runtime/mod.ts'
import type { PostgresBinaries } from './binaries.ts'
import { readControl } from './control-file.ts'
import { detach, endSilentSenders, hearsReplica, look, rejoin, setQuorum } from './failover.ts'
import type { DataDirLock } from './lock.ts'
import { ManagedServer, type ServerContext } from './managed-server.ts'
import {
  defaultDatabase,
  type FenceOutcome,
  type PrimarySpec,
  type PromotionReport,
  type RejoinOutcome,
  type ReplicaSpec,
  type ServerEndpoint,
  type ServerLiveness,
  type ServerStatus,
} from './model.ts'
import { awaitStreaming, drop, follow, makePrimary, makeReplica, promote } from './operations.ts'
import { applicationSecretFile, loadOrMake } from './secrets.ts'
import type { Login } from './sql.ts'
import type { ServerRecord } from './state.ts'
import { admit, describeUpstream } from './upstream.ts'
import { inParallel } from './wait.ts'

/** Servers started or stopped at once. */
const parallelMax = 4
/** How often the logs are looked at. */
const upkeepMs = 10_000

/** An order's version and its bound. */
export interface OrderOptions {
  /** Term that the order is given in; one older than the server has seen is refused. */
  readonly term?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** The agent. Made by `openAgent` (open-agent.ts); all orders may be repeated, and throw FleetError. */
export class Agent implements Service {
  readonly name = 'agent'
  readonly #context: ServerContext
  readonly #servers: Map<string, ManagedServer>
  readonly #lock: DataDirLock
  /** Aborts what is under way when the agent is disposed. */
  readonly #closing = new AbortController()
  #open = true
  readonly #unsubscribe: (() => void) | undefined
  #cancelUpkeep: () => void = () => undefined

  constructor(context: ServerContext, servers: Map<string, ManagedServer>, lock: DataDirLock) {
    this.#context = context
    this.#servers = servers
    this.#lock = lock
    this.#unsubscribe = context.listening.tls?.source.onChange(() => void this.#renewCertificates())
    this.#planUpkeep()
  }

  /** The programs that the servers run. */
  get binaries(): PostgresBinaries {
    return this.#context.binaries
  }

  get dataDir(): string {
    return this.#context.layout.dataDir
  }

  /** All servers by id. */
  list(): readonly ServerStatus[] {
    const all = this.#context.state.records().flatMap(({ id }) => this.#servers.get(id)?.status() ?? [])
    return all.sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** @throws FleetError `not_found` */
  get(id: string): ServerStatus {
    return this.#server(id).status()
  }

  /** How the product logs in. Holds the password. @throws FleetError `not_found` */
  endpoint(id: string): Promise<ServerEndpoint> {
    return this.#server(id).endpoint()
  }

  /** Folder with the data of a server. @throws FleetError `not_found` */
  dataFolder(id: string): string {
    return this.#server(id).layout.pgData
  }

  /** Where the password of the application's role lies, for a `file:` secretRef. */
  secretFile(id: string): string {
    return applicationSecretFile(this.#context.layout.secretsDir, this.#server(id).record.group)
  }

  /** The agent's own login as superuser over the Unix socket; for in-process tests and tools only. */
  superuser(id: string): Promise<Login> {
    return this.#server(id).superuser()
  }

  /** The bearer token of the HTTP interface, made once. */
  token(): Promise<string> {
    return loadOrMake(this.#context.layout.tokenFile)
  }

  /**
   * Makes a primary with its role and database, or returns the one that is there. An abort leaves it incomplete;
   * the same order goes on with it.
   * @throws FleetError `already_exists` when another server has the id
   */
  async createPrimary(spec: PrimarySpec, signal?: AbortSignal): Promise<ServerStatus> {
    const wanted = {
      kind: 'primary' as const,
      of: null,
      group: spec.group ?? spec.id,
      database: spec.database ?? defaultDatabase,
    }
    return this.#create(spec.id, { ...wanted, term: spec.term ?? 0 }, (server, interrupted) =>
      makePrimary(this.#context, server, this.#any(interrupted, signal)),
    )
  }

  /** Clones a running server and follows it; resolves when it streams. Else as `createPrimary`. */
  async createReplica(spec: ReplicaSpec, signal?: AbortSignal): Promise<ServerStatus> {
    const { id, of, ofAgent, term = 0 } = spec
    const { group, database } =
      ofAgent === undefined
        ? this.#server(of).record
        : await describeUpstream(this.#context, { of, ofAgent }, this.#any(signal))
    return this.#create(id, { kind: 'replica', of, group, database, term }, async (server, interrupted) => {
      if (spec.begin === true) return
      await makeReplica(this.#context, server, { of, ofAgent }, this.#any(interrupted, signal))
    })
  }

  /** Lets a server of another agent follow this one, and tells what its agent must know: passwords among it. */
  async admit(
    id: string,
    order: { readonly replica: string; readonly rewind?: boolean | undefined },
  ): Promise<Upstream> {
    this.#assertOpen()
    return admit(this.#context, this.#server(id), { replica: order.replica, rewind: order.rewind ?? false })
  }

  async #create(
    id: string,
    wanted: Pick<ServerRecord, 'kind' | 'of' | 'group' | 'database' | 'term'>,
    make: (server: ManagedServer, interrupted: AbortSignal) => Promise<void>,
  ): Promise<ServerStatus> {
    this.#assertOpen()
    const { state, ports } = this.#context
    const server = this.#servers.get(id) ?? new ManagedServer(this.#context, id)
    this.#servers.set(id, server) // before the first await: one object per id, whose orders wait for each other
    return server.exclusive(async (interrupted) => {
      const found = state.get(id)
      if (found === undefined) {
        const port = await ports.allocate()
        await state.setMajor(this.#context.binaries.major)
        await state.put({ id, ...wanted, desired: 'running', phase: 'creating', port })
      } else assertSame(found, wanted)
      if (server.record.phase === 'creating') await make(server, interrupted)
      return server.status()
    })
  }

  /** Starts a server and keeps it running. @throws FleetError `conflict` for a fenced one without `unfence` */
  async start(
    id: string,
    order: OrderOptions & { readonly unfence?: boolean | undefined } = {},
  ): Promise<ServerStatus> {
    this.#assertOpen()
    return this.#order(id, order, async (server, interrupted) => {
      const { desired, phase } = server.record
      if (phase !== 'ready') throw new FleetError('conflict', `${id} is not complete; create it again`)
      if (desired === 'fenced' && order.unfence !== true) {
        throw new FleetError('conflict', `${id} is fenced: it may hold writes that its successor has not`, {
          hint: 'let it follow the new primary, or start it with unfence',
        })
      }
      await server.update({ desired: 'running' })
      await server.bringUp(this.#any(interrupted, order.signal), { unguarded: order.unfence === true })
    })
  }

  /** Stops a server and keeps it stopped. `kill` is kill -9, for tests. */
  async stop(
    id: string,
    order: OrderOptions & { readonly mode?: StopMode | 'kill' } = {},
  ): Promise<ServerStatus> {
    this.#server(id).interrupt()
    return this.#order(id, order, async (server) => {
      if (server.record.desired === 'running') await server.update({ desired: 'stopped' })
      await server.takeDown(order.mode ?? 'fast')
    })
  }

  /** Stops a server; nothing but an explicit order starts it again. `fast` hands its last writes to its replicas. */
  async fence(
    id: string,
    order: OrderOptions & { readonly mode?: 'fast' | 'immediate' | undefined } = {},
  ): Promise<FenceOutcome> {
    const server = this.#server(id)
    refuseOldTerm(server, order.term)
    server.interrupt()
    const status = await this.#order(id, order, async () => {
      await server.update({ desired: 'fenced' })
      if (order.mode === 'fast') await endSilentSenders(this.#context, server)
      await server.takeDown(order.mode ?? 'immediate')
      await server.clearLeftover()
    })
    return { server: status, control: await readControl(server.layout.pgData) }
  }

  /** Turns a running replica into a primary, whose commits wait for `sync`. */
  async promote(
    id: string,
    order: OrderOptions & { readonly sync?: SyncStandbys | undefined } = {},
  ): Promise<PromotionReport> {
    this.#assertOpen()
    const server = this.#server(id)
    return server.exclusive(async (interrupted) => {
      await admitTerm(server, order.term)
      const signal = this.#any(interrupted, order.signal)
      return promote(this.#context, server, { sync: order.sync, signal })
    })
  }

  /** Takes a replica's upstream away; resolves when it receives nothing any more. */
  async detach(id: string, order: OrderOptions = {}): Promise<ServerStatus> {
    this.#assertOpen()
    const found = this.#server(id)
    refuseOldTerm(found, order.term)
    // An election does not wait for a replica that is being cloned.
    found.interrupt()
    return this.#order(id, order, (server, interrupted) =>
      detach(this.#context, server, this.#any(interrupted, order.signal)),
    )
  }

  /** Sets which replicas must confirm commits of a primary; resolves when it goes by it. */
  async setQuorum(id: string, sync: SyncStandbys | null, order: OrderOptions = {}): Promise<ServerStatus> {
    this.#assertOpen()
    return this.#order(id, order, (server, interrupted) =>
      setQuorum(this.#context, server, sync, this.#any(interrupted, order.signal)),
    )
  }

  /** Makes a former primary a replica of another server; resolves when it streams. */
  async rejoin(
    id: string,
    of: string,
    order: OrderOptions & { readonly ofAgent?: string | undefined } = {},
  ): Promise<RejoinOutcome> {
    this.#assertOpen()
    const server = this.#server(id)
    return server.exclusive(async (interrupted) => {
      await admitTerm(server, order.term)
      const upstream = { of, ofAgent: order.ofAgent }
      const way = await rejoin(this.#context, server, upstream, this.#any(interrupted, order.signal))
      return { server: server.status(), way }
    })
  }

  /** Looks at a server's process and asks it. Waits for no order. @throws FleetError `not_found` */
  async liveness(id: string): Promise<ServerLiveness> {
    const server = this.#server(id)
    return { server: server.status(), ...(await look(this.#context, server)) }
  }

  /** True when a replica has said something to the primary just now. @throws FleetError `not_found` */
  hearsReplica(id: string): Promise<boolean> {
    return hearsReplica(this.#context, this.#server(id))
  }

  /** Stops a primary at once; it starts again when the boot guard says that it leads, however long that takes. */
  async standDown(id: string): Promise<void> {
    const server = this.#server(id)
    server.interrupt()
    await server.exclusive(() => server.standDown())
  }

  /** Makes a server follow another one; resolves when it streams, or was told to (`wait: false`). */
  async follow(
    id: string,
    of: string,
    order: OrderOptions & {
      readonly wait?: boolean | undefined
      readonly ofAgent?: string | undefined
    } = {},
  ): Promise<ServerStatus> {
    this.#assertOpen()
    const upstream = { of, ofAgent: order.ofAgent }
    return this.#order(id, order, (server, interrupted) =>
      follow(this.#context, server, upstream, {
        wait: order.wait,
        signal: this.#any(interrupted, order.signal),
      }),
    )
  }

  /**
   * Resolves when the server that this replica follows sees it stream.
   * @throws FleetError `postgres_failed` when it does not
   */
  async awaitStreaming(id: string, signal?: AbortSignal): Promise<void> {
    await awaitStreaming(this.#context, this.#server(id), this.#any(signal))
  }

  /** Removes a server with its data; nothing when there is none. @throws FleetError `conflict` if it is followed */
  async drop(id: string): Promise<void> {
    const server = this.#servers.get(id)
    if (server === undefined) return
    server.interrupt()
    await server.exclusive(async () => {
      if (this.#context.state.get(id) !== undefined) await drop(this.#context, server)
      this.#servers.delete(id)
    })
  }

  /**
   * Brings every server to what it should be doing: primaries first, then what follows them. One that fails is
   * logged and tried again later; the rest goes on.
   */
  async startAll(signal?: AbortSignal): Promise<void> {
    this.#assertOpen()
    for (const kind of ['primary', 'replica'] as const) {
      const servers = this.#ofKind(kind)
      await inParallel(parallelMax, servers, (server) =>
        server.exclusive((interrupted) => this.#settle(server, this.#any(interrupted, signal))),
      )
    }
  }

  async #settle(server: ManagedServer, signal: AbortSignal): Promise<void> {
    const record = this.#context.state.get(server.id)
    if (record === undefined) return
    try {
      if (record.phase === 'dropping') {
        await drop(this.#context, server)
        this.#servers.delete(server.id)
      } else if (record.phase === 'ready' && record.desired === 'running') {
        await server.bringUp(signal)
      } else await server.clearLeftover()
    } catch (error) {
      signal.throwIfAborted()
      this.#context.log.error({ err: error, server: server.id }, 'server could not be brought to its state')
    }
  }

  /**
   * Stops all servers, primaries first so that they hand their last writes to their replicas. What they should be
   * doing stays: the next agent starts them again.
   */
  async stopAll(): Promise<void> {
    const all = [...this.#servers.values()]
    for (const server of all) server.interrupt()
    const isReplica = ({ id }: ManagedServer): boolean => this.#context.state.get(id)?.kind === 'replica'
    const [replicas, others] = [all.filter(isReplica), all.filter((server) => !isReplica(server))]
    const failures: unknown[] = []
    for (const servers of [others, replicas]) {
      const stops = servers.map((server) => server.exclusive(() => server.takeDown('fast')))
      for (const stop of await Promise.allSettled(stops)) {
        if (stop.status === 'rejected') failures.push(stop.reason)
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  #ofKind(kind: ServerRecord['kind']): ManagedServer[] {
    return [...this.#servers.values()].filter(({ id }) => this.#context.state.get(id)?.kind === kind)
  }

  /** Starts all, supervises until the signal aborts, then stops all. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      await this.startAll(signal)
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve()
        const onAbort = (): void => {
          resolve()
        }
        signal.addEventListener('abort', onAbort, { once: true })
      })
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      await this[Symbol.asyncDispose]()
    }
  }

  /** Takes no new servers and no starts. */
  drain(): Promise<void> {
    this.#open = false
    return Promise.resolve()
  }

  /** Stops all servers and releases the data directory. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain()
    this.#cancelUpkeep()
    this.#unsubscribe?.()
    this.#closing.abort(new FleetError('shutting_down', 'the agent is stopping'))
    await this.stopAll()
    await this.#lock[Symbol.asyncDispose]()
  }

  async #order(
    id: string,
    order: OrderOptions,
    work: (server: ManagedServer, interrupted: AbortSignal) => Promise<void>,
  ): Promise<ServerStatus> {
    const server = this.#server(id)
    return server.exclusive(async (interrupted) => {
      await admitTerm(server, order.term)
      await work(server, interrupted)
      return server.status()
    })
  }

  #server(id: string): ManagedServer {
    const server = this.#servers.get(id)
    if (server !== undefined && this.#context.state.get(id) !== undefined) return server
    throw new FleetError('not_found', `there is no server ${id}`, { hint: 'list the servers of the agent' })
  }

  /** Aborts with any of them, and when the agent is disposed. */
  #any(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
    return AbortSignal.any([this.#closing.signal, ...signals.filter((signal) => signal !== undefined)])
  }

  #assertOpen(): void {
    if (!this.#open) throw new FleetError('shutting_down', 'the agent is stopping and starts nothing')
  }

  #planUpkeep(): void {
    this.#cancelUpkeep = this.#context.clock.after(upkeepMs, () => {
      void this.#upkeep()
    })
  }

  async #upkeep(): Promise<void> {
    for (const server of this.#servers.values()) {
      await server.boundLog().catch((error: unknown) => {
        this.#context.log.warn({ err: error, server: server.id }, 'log of the server could not be bounded')
      })
    }
    await this.#renewCertificates() // those that could not be taken over when they came
    if (this.#open) this.#planUpkeep()
  }

  async #renewCertificates(): Promise<void> {
    for (const server of this.#servers.values()) await server.renewCertificates()
  }
}

function assertSame(
  found: ServerRecord,
  wanted: Pick<ServerRecord, 'kind' | 'of' | 'group' | 'database'>,
): void {
  const promoted = found.phase === 'ready' // who follows whom changes in a server's life
  const same =
    found.phase !== 'dropping' &&
    found.group === wanted.group &&
    found.database === wanted.database &&
    (promoted || (found.kind === wanted.kind && found.of === wanted.of))
  if (same) return
  throw new FleetError('already_exists', `there is another server ${found.id}`, {
    hint: 'drop it first, or choose another id',
  })
}

/** @throws FleetError `conflict` */
function refuseOldTerm(server: ManagedServer, term: number | undefined): void {
  if (term === undefined || term >= server.record.term) return
  throw new FleetError(
    'conflict',
    `the order is of term ${String(term)}, ${server.id} is in term ${String(server.record.term)}`,
    { retryable: false },
  )
}

async function admitTerm(server: ManagedServer, term: number | undefined): Promise<void> {
  refuseOldTerm(server, term)
  if (term !== undefined && term > server.record.term) await server.update({ term })
}
