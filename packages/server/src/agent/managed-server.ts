// One server under supervision: its configuration, its process, its restarts. Orders come from operations.ts and
// agent.ts and run one at a time per server, inside `exclusive`.
import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError, isFleetError, type Clock } from '@fleetshard/core'
import type { Logger } from '../runtime/mod.ts'
import type { PostgresBinaries } from './binaries.ts'
import { CertificateCopies } from './certificate-files.ts'
import { exists, makePrivateFolder, writeFileAtomic } from './files.ts'
import { dataMajor } from './init-db.ts'
import { serverLayout, slotName, type AgentLayout, type ServerLayout } from './layout.ts'
import type { Listening } from './listening.ts'
import { boundLog, lastWords, readLogFrom } from './log-file.ts'
import {
  applicationRole,
  type BootGuard,
  type Durability,
  type Peers,
  type ServerEndpoint,
  type ServerStatus,
} from './model.ts'
import type { ServerState, StopMode } from '../agent-api/mod.ts'
import type { ServerUser } from './os-user.ts'
import type { PortAllocator } from './ports.ts'
import { isFrozen } from './proc.ts'
import {
  adoptPostgres,
  findPostgres,
  listensOn,
  reloadPostgres,
  startPostgres,
  stopPostgres,
  type PostgresProcess,
} from './postgres-process.ts'
import { loadOrMakeSecrets, type GroupSecrets } from './secrets.ts'
import { probationName, renderHba, renderPassFile, renderSettings, type FollowSettings } from './settings.ts'
import { applicationLogin, superuserLogin, type Login } from './sql.ts'
import type { AgentState, ServerRecord } from './state.ts'

const restartPauseMsMin = 100
const restartPauseMsMax = 10_000
/** A server that ran this long starts again without the pause that earlier failures earned. */
const steadyMs = 30_000
/** Ports tried before a start gives up. */
const portAttemptsMax = 20

/** What all servers of an agent share. */
export interface ServerContext {
  readonly layout: AgentLayout
  readonly user: ServerUser
  readonly binaries: PostgresBinaries
  readonly clock: Clock
  readonly log: Logger
  readonly state: AgentState
  readonly ports: PortAllocator
  readonly durability: Durability
  readonly dieWithParent: boolean
  readonly walSegmentMegabytes: number
  readonly settings: Readonly<Record<string, string | number>>
  readonly guard: BootGuard | null
  readonly listening: Listening
  readonly peers: Peers | null
  /** All servers of the agent. */
  readonly servers: ReadonlyMap<string, ManagedServer>
}

/** What the process of a server is doing. */
type Phase =
  | { readonly kind: 'down' }
  | { readonly kind: 'starting' }
  | { readonly kind: 'up'; readonly process: PostgresProcess; readonly sinceMs: number }
  | { readonly kind: 'stopping'; readonly process: PostgresProcess }
  /** Ended by itself, or failed to start; `cancel` takes back the start that is planned. */
  | { readonly kind: 'crashed'; readonly cancel: () => void }

/** A server and its supervision. Made for a record that the state has; gone when the record is. */
export class ManagedServer {
  readonly id: string
  readonly layout: ServerLayout
  readonly #context: ServerContext
  readonly #log: Logger
  #phase: Phase = { kind: 'down' }
  #turn: Promise<unknown> = Promise.resolve()
  /** Of the order that is being carried out. */
  #interrupt = new AbortController()
  #failures = 0
  #restarts = 0
  #startFailures = 0
  #lastError: string | null = null
  /** Since this agent runs. */
  #wasUp = false
  /** Null without TLS. */
  readonly #certificates: CertificateCopies | null

  constructor(context: ServerContext, id: string) {
    this.id = id
    this.layout = serverLayout(context.layout, id)
    this.#context = context
    this.#log = context.log.child({ server: id })
    const { tls } = context.listening
    this.#certificates = tls === null ? null : new CertificateCopies(this.layout, tls, context.user)
  }

  /** @throws FleetError `not_found` once it is dropped */
  get record(): ServerRecord {
    const record = this.#context.state.get(this.id)
    if (record === undefined) throw new FleetError('not_found', `there is no server ${this.id}`)
    return record
  }

  /** The live process; null when there is none. */
  get process(): PostgresProcess | null {
    return this.#phase.kind === 'up' || this.#phase.kind === 'stopping' ? this.#phase.process : null
  }

  get isUp(): boolean {
    return this.#phase.kind === 'up'
  }

  /** Changes the record; on disk when it resolves. */
  async update(change: Partial<Omit<ServerRecord, 'id'>>): Promise<void> {
    await this.#context.state.put({ ...this.record, ...change })
  }

  /** Orders of one server run one after another; the signal aborts when a harder order does not want to wait. */
  exclusive<T>(work: (interrupted: AbortSignal) => Promise<T>): Promise<T> {
    const result = this.#turn.then(() => {
      this.#interrupt = new AbortController()
      return work(this.#interrupt.signal)
    })
    this.#turn = result.catch(() => undefined)
    return result
  }

  /** Makes the order that is being carried out fail now, so that a stop need not wait for a start or a clone. */
  interrupt(): void {
    this.#interrupt.abort(new FleetError('conflict', `${this.id} was told to stop meanwhile`))
  }

  status(): ServerStatus {
    const { record } = this
    const { kind, of, group, desired, port, database, term } = record
    return {
      id: this.id,
      kind,
      of,
      group,
      desired,
      port,
      database,
      term,
      detached: record.detached ?? false,
      sync: record.sync ?? null,
      state: this.#stateOf(record),
      pid: this.process?.pid ?? null,
      host: this.#context.listening.host,
      tls: this.#context.listening.tls === null ? 'disable' : 'verify-full',
      socketDir: this.layout.socketDir,
      user: applicationRole,
      major: this.#context.binaries.major,
      restarts: this.#restarts,
      startFailures: this.#startFailures,
      lastError: this.#lastError,
    }
  }

  #stateOf(record: ServerRecord): ServerState {
    switch (this.#phase.kind) {
      case 'down':
        return record.phase === 'ready' ? 'stopped' : 'incomplete'
      case 'up':
        return record.phase === 'ready' ? 'running' : 'starting'
      case 'starting':
      case 'stopping':
      case 'crashed':
        return this.#phase.kind
    }
  }

  secrets(): Promise<GroupSecrets> {
    return loadOrMakeSecrets(this.#context.layout.secretsDir, this.record.group)
  }

  /** How the product logs in. Holds the password. */
  async endpoint(): Promise<ServerEndpoint> {
    const { host, port, tls, socketDir, database, user } = this.status()
    return { host, port, tls, socketDir, database, user, password: (await this.secrets()).application }
  }

  async superuser(): Promise<Login> {
    return superuserLogin(this.layout.socketDir, this.record.port, await this.secrets())
  }

  async replicator(): Promise<Login> {
    return applicationLogin(this.layout.socketDir, this.record.port, await this.secrets())
  }

  /**
   * Starts the server, or takes over the one that runs; nothing when it is up. Call inside `exclusive`.
   * After a failure it is tried again with growing pauses, as long as it is meant to run.
   */
  async bringUp(signal: AbortSignal, how: { readonly unguarded?: boolean } = {}): Promise<void> {
    if (this.#phase.kind === 'up') return
    this.#cancelRestart()
    this.#phase = { kind: 'starting' }
    try {
      if (how.unguarded !== true) await this.#askGuard(signal)
      const process = await this.#startOrAdopt(signal)
      this.#phase = { kind: 'up', process, sinceMs: this.#context.clock.monotonic() }
      this.#wasUp = true
      this.#startFailures = 0
      this.#log.info({ pid: process.pid, port: this.record.port, adopted: process.adopted }, 'server is up')
      void process.exited.then(() => this.#onExit(process))
      await this.renewCertificates() // those that came while it started
      await this.#reconcileKind()
    } catch (error) {
      this.#phase = { kind: 'down' }
      this.#startFailures += 1
      this.#lastError = error instanceof Error ? error.message : String(error)
      // Also after an order that did not want to wait for it: one that is to stop it takes the plan back.
      this.#planRestart()
      throw error
    }
  }

  /**
   * A former primary must not come back as one: it is fenced when another leads. One that runs on without an agent is
   * no more dangerous while it is asked about than it was before.
   * @throws FleetError `conflict` when it is superseded
   */
  async #askGuard(signal: AbortSignal): Promise<void> {
    const { guard, clock } = this.#context
    const { kind, phase, group, term } = this.record
    if (guard === null || kind !== 'primary' || phase !== 'ready') return
    const running = await findPostgres(this.layout.pgData, clock)
    const occasion = this.#wasUp || running !== null ? 'restart' : 'boot'
    if ((await guard({ id: this.id, group, term }, occasion, signal)) === 'lead') return
    await this.update({ desired: 'fenced' })
    if (running !== null)
      await stopPostgres(running, { mode: 'immediate', pgData: this.layout.pgData, clock })
    this.#log.warn('another server leads the shard: this one is fenced until it is told to follow')
    throw new FleetError('conflict', `${this.id} does not lead its shard any more`, { retryable: false })
  }

  async #startOrAdopt(signal: AbortSignal): Promise<PostgresProcess> {
    const { clock, binaries } = this.#context
    await this.#assertMajor()
    await this.writeConfig()
    const running = await this.#adopt(signal)
    if (running !== null) return running
    const { user, dieWithParent } = this.#context
    for (let attempt = 1; ; attempt++) {
      try {
        return await startPostgres({ binaries, layout: this.layout, user, clock, dieWithParent, signal })
      } catch (error) {
        if (!isFleetError(error, 'port_taken') || attempt === portAttemptsMax) throw error
        await this.#takeOtherPort()
      }
    }
  }

  /** The server that an agent before this one left running; one that listens elsewhere by now is stopped instead. */
  async #adopt(signal: AbortSignal): Promise<PostgresProcess | null> {
    const { clock, listening } = this.#context
    const { pgData } = this.layout
    const running = await adoptPostgres(pgData, clock, signal)
    if (running === null) return null
    if (await listensOn(pgData, listening.address)) {
      reloadPostgres(running)
      return running
    }
    this.#log.warn({ address: listening.address }, 'the server is started again: it is to listen elsewhere')
    await stopPostgres(running, { mode: 'fast', pgData, clock })
    return null
  }

  async #assertMajor(): Promise<void> {
    const { binaries } = this.#context
    const major = await dataMajor(this.layout)
    if (major === null || major === binaries.major) return
    throw new FleetError(
      'postgres_version',
      `the data of ${this.id} was made by PostgreSQL ${String(major)}, but ${binaries.postgres} is ${binaries.version}`,
      { hint: `give the programs of PostgreSQL ${String(major)} with --pg-bin` },
    )
  }

  async #takeOtherPort(): Promise<void> {
    const taken = this.record.port
    const port = await this.#context.ports.allocate()
    this.#log.warn({ taken, port }, 'the port is taken by another process; using the next free one')
    await this.update({ port })
    await this.writeConfig()
    for (const follower of this.followers()) await follower.applyConfig()
  }

  /** A promotion that was not written down any more: the files know better than the record. */
  async #reconcileKind(): Promise<void> {
    if (this.record.kind !== 'replica') return
    if (await exists(join(this.layout.pgData, 'standby.signal'))) return
    if (this.record.promoting !== true) {
      this.#log.error(
        'the server was promoted by somebody else; it acknowledges nothing until it is made a replica',
      )
      return
    }
    this.#log.warn('the server was promoted without a record of it; it is a primary from now on')
    await this.update({ kind: 'primary', of: null, upstream: null, promoting: false })
    await this.applyConfig()
  }

  /** Servers of this agent that stream from this one. */
  followers(): ManagedServer[] {
    const isOurs = ({ of, upstream }: ServerRecord): boolean => of === this.id && (upstream ?? null) === null
    const followers = this.#context.state.records().filter(isOurs)
    return followers.flatMap(({ id }) => this.#context.servers.get(id) ?? [])
  }

  /** Stops the server; what it should do from now on is set before. Call inside `exclusive`. */
  async takeDown(mode: StopMode | 'kill'): Promise<void> {
    this.#cancelRestart()
    if (this.#phase.kind !== 'up') return
    const { process } = this.#phase
    this.#phase = { kind: 'stopping', process }
    const { clock } = this.#context
    // A frozen process hears nothing softer, and would only be waited for.
    const hard = mode === 'immediate' && (await isFrozen(process.pid)) ? 'kill' : mode
    const way = await stopPostgres(process, { mode: hard, pgData: this.layout.pgData, clock })
    this.#phase = { kind: 'down' }
    this.#log.info({ mode: way }, 'server is stopped')
  }

  /** Stops it and plans its start as if this agent had just begun. Call inside `exclusive`. */
  async standDown(): Promise<void> {
    await this.takeDown('immediate')
    this.#wasUp = false
    this.#planRestart()
  }

  /** Ends a server that runs though it should not, left by an agent that died. Call inside `exclusive`. */
  async clearLeftover(): Promise<void> {
    if (this.#phase.kind !== 'down') return
    const { clock } = this.#context
    const { pgData } = this.layout
    const mode = this.record.desired === 'fenced' ? 'immediate' : 'fast'
    const running = await findPostgres(pgData, clock)
    if (running !== null) await stopPostgres(running, { mode, pgData, clock })
  }

  async #onExit(process: PostgresProcess): Promise<void> {
    if (this.#phase.kind !== 'up' || this.#phase.process !== process) return // we stopped it
    if (this.#context.clock.monotonic() - this.#phase.sinceMs > steadyMs) this.#failures = 0
    this.#phase = { kind: 'down' }
    this.#restarts += 1
    this.#planRestart()
    this.#lastError = lastWords(await readLogFrom(this.layout.logFile, 0).catch(() => ''))
    this.#log.error({ reason: this.#lastError }, 'server ended by itself')
  }

  #planRestart(): void {
    const record = this.#context.state.get(this.id)
    if (record?.desired !== 'running' || record.phase !== 'ready') return
    const pauseMs = Math.min(restartPauseMsMin * 2 ** this.#failures, restartPauseMsMax)
    this.#failures += 1
    const cancel = this.#context.clock.after(pauseMs, () => {
      this.exclusive((interrupted) => this.#restart(interrupted)).catch((error: unknown) => {
        this.#log.error({ err: error }, 'server could not be started again')
      })
    })
    this.#phase = { kind: 'crashed', cancel }
  }

  async #restart(interrupted: AbortSignal): Promise<void> {
    if (this.#phase.kind === 'crashed') await this.bringUp(interrupted)
  }

  #cancelRestart(): void {
    if (this.#phase.kind !== 'crashed') return
    this.#phase.cancel()
    this.#phase = { kind: 'down' }
  }

  /** Makes the folders that are missing; the data folder is not among them. */
  async makeFolders(): Promise<void> {
    const { layout, user } = { layout: this.layout, user: this.#context.user }
    await mkdir(layout.root, { recursive: true, mode: 0o700 })
    if (user.switched) await chown(layout.root, user.uid, user.gid)
    await makePrivateFolder(layout.confDir, user)
    await makePrivateFolder(layout.socketDir, user)
  }

  /** Writes all configuration files anew from what is known now. */
  async writeConfig(): Promise<void> {
    await this.makeFolders()
    const { user, binaries, durability, settings, listening } = this.#context
    const { layout } = this
    const { tls } = listening
    const access = { mode: 0o600, owner: user }
    const text = renderSettings({
      id: this.id,
      port: this.record.port,
      major: binaries.major,
      address: listening.address,
      certificates: tls === null ? null : layout,
      durability,
      extra: settings,
      socketDir: layout.socketDir,
      hbaFile: layout.hbaFile,
      identFile: layout.identFile,
      follow: this.#followSettings(),
      sync: this.record.sync ?? (this.record.kind === 'replica' ? 'not promoted' : null),
    })
    await writeFileAtomic(layout.passFile, renderPassFile((await this.secrets()).application), access)
    await this.#certificates?.copy()
    await writeFileAtomic(layout.hbaFile, renderHba(tls), access)
    await writeFileAtomic(layout.identFile, '', access)
    await writeFileAtomic(layout.configFile, text, access)
  }

  #followSettings(): FollowSettings | null {
    const { kind, detached, onProbation } = this.record
    const place = this.#upstreamPlace()
    if (kind !== 'replica' || detached === true || place === null) return null
    return {
      ...place,
      passFile: this.layout.passFile,
      slot: slotName(this.id),
      applicationName: onProbation === true ? probationName(this.id) : this.id,
    }
  }

  #upstreamPlace(): Pick<FollowSettings, 'host' | 'port' | 'certificates'> | null {
    const { of, upstream: elsewhere } = this.record
    if (elsewhere !== null && elsewhere !== undefined) {
      return { host: elsewhere.host, port: elsewhere.port, certificates: this.layout }
    }
    const upstream = of === null ? undefined : this.#context.servers.get(of)
    if (upstream === undefined) return null
    return { host: upstream.layout.socketDir, port: upstream.record.port, certificates: null }
  }

  /** Writes the configuration and makes a running server read it. */
  async applyConfig(): Promise<void> {
    await this.writeConfig()
    if (this.#phase.kind === 'up') reloadPostgres(this.#phase.process)
  }

  /**
   * Lets a server that runs take over certificates that replaced others. Sessions and replicas there are go on. One that
   * does not get them is logged, and keeps those it has until this is called again.
   */
  async renewCertificates(): Promise<void> {
    const { process } = this
    if (this.#certificates === null || process === null || this.#certificates.isCurrent()) return
    try {
      await this.#certificates.copy()
      reloadPostgres(process)
      this.#log.info('the server takes over new certificates')
    } catch (error) {
      this.#log.error({ err: error }, 'the server has not got its new certificates')
    }
  }

  /** Keeps the log within its bound. */
  async boundLog(): Promise<void> {
    await boundLog(this.layout.logFile)
  }
}
