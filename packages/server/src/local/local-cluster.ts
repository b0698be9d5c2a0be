// The embedded cluster: an agent of this process, a catalog server and node groups. `shard-1` has the servers
// `shard-1-a` (at first the primary), `shard-1-b` … ; what exists is read from the agent, so promotions show.
import { FleetError, parseNodeId } from '@fleetshard/core'
import { openAgent, type Agent, type BootGuard, type ServerStatus } from '../agent/mod.ts'
import type { Logger } from '../runtime/mod.ts'
import type {
  AddGroupOptions,
  LocalCluster,
  LocalClusterOptions,
  LocalGroup,
  LocalProgress,
  LocalServer,
} from './model.ts'

const catalogId = 'catalog'
const shardsDefault = 2
const replicasDefault = 1
/** Most replicas of a group: their ids end in a letter. */
export const replicasMax = 25
/** Node groups made at once; more only fight for the disk. */
const groupsInParallelMax = 4
/** Small segments: an empty server takes 30 MB of disk instead of 40. */
const walSegmentMegabytes = 4
/** Name of the in-process agent in node records. */
export const localAgentId = 'local'

/**
 * Starts what is in the data directory, makes what is missing, and resolves when all replicas stream. A failure
 * stops what was started.
 * @throws FleetError `data_dir_in_use`, `data_dir_unusable`, `postgres_missing`, `postgres_version`, `postgres_failed`
 */
export async function openLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  const { dataDir, log, clock, pgBin, pgBinFallback, portStart, durability, dieWithParent, settings } =
    options
  const agent = await openAgent({
    dataDir,
    log,
    clock,
    pgBin,
    pgBinFallback,
    portStart,
    durability,
    dieWithParent,
    settings,
    walSegmentMegabytes,
    guard: (server, occasion, signal) => cluster.guard(server, occasion, signal),
  })
  const cluster = new EmbeddedCluster(agent, log, options.guardOf)
  try {
    await cluster.startCatalog(options.signal)
    await agent.startAll(options.signal)
    await cluster.complete(options)
    return cluster
  } catch (error) {
    await cluster.stop()
    throw error
  }
}

/** A group to be made: its servers, the first of which is the primary. */
interface Wanted {
  readonly group: string
  readonly ids: readonly [string, ...string[]]
  readonly database?: string
}

class EmbeddedCluster implements LocalCluster {
  readonly agent: Agent
  readonly #log: Logger
  /** Passwords by server; known once it is made. */
  readonly #passwords = new Map<string, string>()

  /** Made when the first server asks for it. */
  #guard: BootGuard | null = null
  readonly #makeGuard: LocalClusterOptions['guardOf']

  constructor(agent: Agent, log: Logger, makeGuard: LocalClusterOptions['guardOf']) {
    this.agent = agent
    this.#log = log
    this.#makeGuard = makeGuard
  }

  /** The catalog's own server leads whatever happens; the others are asked about, once it can be. */
  guard: BootGuard = (server, occasion, signal) => {
    if (this.#makeGuard === undefined || server.group === catalogId) return Promise.resolve('lead')
    this.#guard ??= this.#makeGuard(this.catalog())
    return this.#guard(server, occasion, signal)
  }

  /** Before all others: they are asked about in the catalog. */
  async startCatalog(signal?: AbortSignal): Promise<void> {
    const found = this.agent.list().find(({ id }) => id === catalogId)
    if (found?.desired !== 'running' || found.state === 'incomplete') return
    await this.agent.start(catalogId, { signal })
    await this.#learn(catalogId)
  }

  get postgresVersion(): string {
    return this.agent.binaries.version
  }

  /** Makes what the options ask for and is not there; goes on with what an earlier run left incomplete. */
  async complete(options: LocalClusterOptions): Promise<void> {
    const replicas = options.replicas ?? replicasDefault
    const wanted: Wanted[] = []
    if (options.catalog ?? true) wanted.push({ group: catalogId, ids: [catalogId], database: catalogId })
    for (let index = 1; index <= (options.shards ?? shardsDefault); index++) {
      wanted.push(this.#wantedGroup(`shard-${String(index)}`, replicas))
    }
    const total = wanted.reduce((sum, { ids }) => sum + ids.length, 0)
    let done = 0
    const onServer = (server: string): void => {
      done += 1
      const step: LocalProgress = { server, done, total }
      options.onProgress?.(step)
    }
    const queue = [...wanted]
    const lane = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        await this.#make(next, options.signal, onServer)
      }
    }
    await settleAll(Array.from({ length: groupsInParallelMax }, lane))
    const servers = this.agent.list()
    for (const { id } of servers) await this.#learn(id)
    await settleAll(servers.map((server) => this.#check(server, options.signal)))
  }

  /** A primary that does not run is an error; a replica that does not follow is told, and tried on by the agent. */
  async #check(server: ServerStatus, signal?: AbortSignal): Promise<void> {
    const { id, kind, desired, state, lastError } = server
    if (desired !== 'running') return
    if (kind === 'primary' && state !== 'running') {
      throw new FleetError('postgres_failed', `${id} did not start: ${lastError ?? 'no reason given'}`, {
        hint: `see the log of the server in ${this.agent.dataDir}/servers/${id}`,
      })
    }
    if (kind === 'primary') return
    try {
      await this.agent.awaitStreaming(id, signal)
    } catch (error) {
      signal?.throwIfAborted()
      this.#log.warn({ err: error, server: id }, 'replica does not follow')
    }
  }

  /** A group that is there keeps its shape; a new one gets a primary and replicas. */
  #wantedGroup(group: string, replicas: number): Wanted {
    if (!Number.isSafeInteger(replicas) || replicas < 0 || replicas > replicasMax) {
      throw new FleetError('invalid_config', `a node group cannot have ${String(replicas)} replicas`, {
        hint: `from 0 to ${String(replicasMax)}`,
      })
    }
    const letter = (index: number): string => 'abcdefghijklmnopqrstuvwxyz'.charAt(index)
    const rest = Array.from({ length: replicas }, (_, index) => `${group}-${letter(index + 1)}`)
    return { group, ids: [`${group}-${letter(0)}`, ...rest] }
  }

  async #make(
    wanted: Wanted,
    signal: AbortSignal | undefined,
    onServer: (id: string) => void,
  ): Promise<void> {
    const there = this.agent.list().filter(({ group }) => group === wanted.group)
    const [first, ...rest] = wanted.ids
    const complete = there.length > 0 && there.every(({ state }) => state !== 'incomplete')
    if (complete) {
      for (const { id } of there) onServer(id)
      return
    }
    await this.agent.createPrimary({ id: first, group: wanted.group, database: wanted.database }, signal)
    await this.#learn(first)
    onServer(first)
    await settleAll(
      rest.map(async (id) => {
        await this.agent.createReplica({ id, of: first }, signal)
        await this.#learn(id)
        onServer(id)
      }),
    )
  }

  async #learn(id: string): Promise<void> {
    this.#passwords.set(id, (await this.agent.endpoint(id)).password)
  }

  catalog(): LocalServer {
    return this.#serverOf(this.agent.get(catalogId))
  }

  groups(): readonly LocalGroup[] {
    const names = new Set(this.agent.list().map(({ group }) => group))
    names.delete(catalogId)
    return [...names]
      .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
      .flatMap((name) => this.#groupOf(name) ?? [])
  }

  group(name: string): LocalGroup {
    const group = this.#groupOf(name)
    if (group !== null) return group
    throw new FleetError('not_found', `there is no node group ${name}`)
  }

  /** Null while it is being made, or when it has no primary. */
  #groupOf(name: string): LocalGroup | null {
    const members = this.agent.list().filter(({ id, group }) => group === name && this.#passwords.has(id))
    const primaries = members.filter(({ kind }) => kind === 'primary')
    // After a failover the former primary is still there, fenced, until it follows the new one.
    const primary = primaries.find(({ desired }) => desired === 'running') ?? primaries[0]
    if (primary === undefined) return null
    const replicas = members.filter(({ kind }) => kind === 'replica')
    return {
      name,
      primary: this.#serverOf(primary),
      replicas: replicas.map((member) => this.#serverOf(member)),
    }
  }

  #serverOf(status: ServerStatus): LocalServer {
    const { id, kind, host, port, database, user, socketDir } = status
    return {
      node: {
        id: parseNodeId(id),
        role: kind,
        host,
        port,
        database,
        user,
        tls: 'disable',
        region: null,
        zone: null,
        agent: localAgentId,
        secretRef: `file:${this.agent.secretFile(id)}`,
      },
      socketDir,
      password: this.#passwords.get(id) ?? '',
    }
  }

  async addGroup(name: string, options: AddGroupOptions = {}): Promise<LocalGroup> {
    if (name === catalogId) throw new FleetError('already_exists', `the name ${name} is taken by the catalog`)
    const wanted = this.#wantedGroup(name, options.replicas ?? replicasDefault)
    await this.#make(wanted, options.signal, () => undefined)
    return this.group(name)
  }

  async removeGroup(name: string): Promise<void> {
    if (name === catalogId) throw new FleetError('conflict', 'the catalog cannot be removed')
    let left = this.agent.list().filter(({ group }) => group === name)
    while (left.length > 0) {
      // Followers first: a server that is followed is not dropped.
      const next = left.find(({ id }) => !left.some(({ of }) => of === id)) ?? left[0]
      left = left.filter((server) => server !== next)
      if (next === undefined) return
      await this.agent.drop(next.id)
      this.#passwords.delete(next.id)
    }
  }

  async stop(): Promise<void> {
    await this.agent[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** Waits for all, then fails with the first failure: nothing goes on behind the caller's back. */
async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(work)
  const failed = results.find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}
