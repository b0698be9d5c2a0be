// For the tests of this worker: a keyspace whose shards are databases of one real server, with a catalog beside it,
// sources that own the ring and targets that own nothing, and clients that write by the map as routers do.
import { randomUUID } from 'node:crypto'
import {
  buildShardMap,
  createRingDealer,
  buildRing,
  parseEpoch,
  parseJobId,
  parseKeyspaceName,
  parseNodeId,
  parseShardId,
  parseTerm,
  parseKey,
  type HashName,
  type JobRecord,
  type KeyType,
  type ShardMap,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import { Client } from 'pg'
import { createMemoryBackend } from '../../catalog/backends/memory/mod.ts'
import { createCatalog, holdLease, type Catalog, type CatalogStore } from '../../catalog/mod.ts'
import {
  createEngine,
  createReshardEngine,
  newReshardJobDetail,
  parseReshardJobDetail,
  reshardJobType,
  type NodeTarget,
  type ReshardJobDetail,
} from '../../engine/mod.ts'
import { targetOf } from '../../engine/postgres/testing.ts'
import type { TestServer } from '../../local/testing.ts'
import { silentLogger, systemClock } from '../../runtime/mod.ts'
import type { JobProgress, WorkerParts } from '../worker.ts'
import { planMoves } from './move-plan.ts'
import type { Checkpoint } from './step.ts'
import type { ThrottleBounds } from './throttle.ts'
import { createReshardWorker, type ReshardWorkerParts } from './worker.ts'

export const keyspace = parseKeyspaceName('app')
const leaseTtlMs = 30_000
const cluster = '6f1c1a52-4a43-4a7e-9f2f-7b1f4a1f0c11'
const vnodeCount = 16

/** A keyspace for one test. */
export interface TestFleet extends AsyncDisposable {
  readonly parts: WorkerParts
  readonly catalog: Catalog
  readonly target: (shard: string) => NodeTarget
  /** Runs SQL on a shard. */
  sql(shard: string, text: string, params?: readonly unknown[]): Promise<Record<string, unknown>[]>
  /** A connection of its own, ended with the fleet. */
  client(shard: string, applicationName?: string): Promise<Client>
  /** Makes the table of idempotency keys on every shard, as the first write under a key does. */
  rememberKeys(): Promise<void>
  declare(table: string, key: { readonly column: string; readonly type: KeyType } | null): Promise<void>
  submit(order: Partial<ReshardJobDetail> & Pick<ReshardJobDetail, 'kind'>): Promise<JobRecord>
  job(job: JobRecord): Promise<{ readonly record: JobRecord; readonly detail: ReshardJobDetail }>
  /** Runs the job under one claim after the other until it has ended. */
  finish(job: JobRecord, checkpoint?: Checkpoint, faulty?: Partial<Catalog>): Promise<JobRecord>
  /** The same by new connections. */
  reopened(): TestFleet
  /** Another server leads the shard from now on, under the next term. */
  promoted(shard: string, to: Pick<NodeTarget, 'host' | 'port'>): Promise<void>
  /** Runs the job under one claim. */
  runOnce(job: JobRecord, checkpoint?: Checkpoint, faulty?: Partial<Catalog>): Promise<JobProgress>
  /** The shard that owns a key by the map as it is. */
  owner(key: string, type?: KeyType): Promise<string>
  /** The shard that will own a text key when the job has ended. */
  planned(job: JobRecord): Promise<(key: string) => string>
  /** The map as it is. */
  map(): Promise<ShardMap>
  /** The hash of a text key, decimal. */
  hash(key: string): Promise<string>
}

/** What workers act with, on that store. @param password of every server, or of the one that listens on a port */
export function workerParts(
  store: CatalogStore,
  password: string | ((port: number) => string | null),
): WorkerParts {
  return {
    log: silentLogger,
    clock: systemClock,
    catalog: createCatalog({ store, clock: systemClock, uuid: randomUUID }),
    engineOf: (name) => createEngine(name, { clock: systemClock }),
    targetOf: ({ host, port, database, user, tls }) =>
      Promise.resolve({
        host,
        port,
        database,
        user,
        tls,
        password: typeof password === 'string' ? password : password(port),
      }),
  }
}

let jobs = 0

/** What a fleet is made of. */
interface FleetOptions {
  readonly sources: readonly string[]
  readonly targets: readonly string[]
  /** Made on every shard. */
  readonly ddl: string
  readonly hash?: HashName
  readonly throttleBounds?: Partial<ThrottleBounds>
  readonly meetMsMax?: number
  readonly store?: CatalogStore
  /** Shards that lie on other servers. */
  readonly on?: Readonly<
    Record<string, Pick<TestServer, 'host' | 'port' | 'user' | 'password' | 'database' | 'createDatabase'>>
  >
}

/** A keyspace whose shards are new databases of that server. */
export async function makeFleet(server: TestServer, options: FleetOptions): Promise<TestFleet> {
  const store = options.store ?? createMemoryBackend({ clock: systemClock }).open()
  const others = Object.values(options.on ?? {})
  const passwordAt = (port: number): string => (others.find((one) => one.port === port) ?? server).password
  const parts = workerParts(store, passwordAt)
  await parts.catalog.keyspaces.create({
    name: keyspace,
    engine: 'postgres',
    hash: options.hash ?? 'murmur3',
    strategy: 'ring',
    defaultConsistency: 'strong',
    nextSequenceBlock: 0,
    version: 1,
    createdAt: new Date().toISOString(),
  })
  const names = [...options.sources, ...options.targets]
  const targets = new Map<string, NodeTarget>()
  for (const [block, name] of names.entries()) {
    const its = options.on?.[name] ?? server
    const target = targetOf(its, await its.createDatabase())
    targets.set(name, target)
    await parts.engineOf('postgres').claim(target, {
      cluster,
      keyspace,
      shard: parseShardId(name),
      term: parseTerm(1),
      epochMin: parseEpoch(1),
      sequenceBlock: block,
    })
  }
  await dealRing(parts.catalog, options, targets)
  const fleet = new Fleet(parts, options, targets)
  for (const name of names) await fleet.sql(name, options.ddl)
  return fleet
}

/** Gives the ring to the sources. */
async function dealRing(
  catalog: Catalog,
  { sources }: FleetOptions,
  targets: ReadonlyMap<string, NodeTarget>,
): Promise<void> {
  const dealer = createRingDealer(buildRing([]))
  const vnodes = new Map<string, string>()
  for (const name of sources) {
    for (const [id, tokens] of dealer.add({ id: parseShardId(name), vnodeCount }).vnodes)
      vnodes.set(id, tokens)
  }
  const put = [...targets].map(([name, target], block): ShardRecord => {
    const record = shardRecord(name, target, block)
    const own = vnodes.get(name)
    return own === undefined ? record : { ...record, status: 'active', vnodes: own }
  })
  await catalog.changeRouting(keyspace, () => ({ put }))
}

class Fleet implements TestFleet {
  readonly parts: WorkerParts
  readonly #options: FleetOptions
  readonly #targets: Map<string, NodeTarget>
  readonly #clients: Client[] = []
  readonly #shared = new Map<string, Promise<Client>>()

  constructor(parts: WorkerParts, options: FleetOptions, targets: Map<string, NodeTarget>) {
    this.parts = parts
    this.#options = options
    this.#targets = targets
  }

  reopened(): TestFleet {
    return new Fleet(this.parts, this.#options, this.#targets)
  }

  async promoted(shard: string, { host, port }: Pick<NodeTarget, 'host' | 'port'>): Promise<void> {
    this.#targets.set(shard, { ...this.target(shard), host, port })
    this.#shared.delete(shard)
    await this.catalog.changeRouting(keyspace, ({ shards }) => ({
      put: shards
        .filter(({ id }) => id === shard)
        .map(({ term, nodes, ...rest }) => ({
          ...rest,
          term: parseTerm(term + 1),
          nodes: nodes.map((node) => ({ ...node, host, port })),
        })),
    }))
  }

  get catalog(): Catalog {
    return this.parts.catalog
  }

  target(shard: string): NodeTarget {
    const found = this.#targets.get(shard)
    if (found === undefined) throw new Error(`there is no shard ${shard}`)
    return found
  }

  async client(shard: string, applicationName = 'test'): Promise<Client> {
    const { host, port, database, user, password } = this.target(shard)
    const made = new Client({
      host,
      port,
      database,
      user,
      password: password ?? '',
      application_name: applicationName,
    })
    made.on('error', () => undefined)
    await made.connect()
    this.#clients.push(made)
    return made
  }

  async sql(
    shard: string,
    text: string,
    params: readonly unknown[] = [],
  ): Promise<Record<string, unknown>[]> {
    let made = this.#shared.get(shard)
    if (made === undefined) this.#shared.set(shard, (made = this.client(shard)))
    const result = await (await made).query<Record<string, unknown>>(text, [...params])
    return result.rows
  }

  async rememberKeys(): Promise<void> {
    const engine = createReshardEngine('postgres', { clock: systemClock })
    const { signal } = new AbortController()
    for (const target of this.#targets.values()) await engine.prepare(target, signal)
  }

  async declare(
    table: string,
    key: { readonly column: string; readonly type: KeyType } | null,
  ): Promise<void> {
    await this.catalog.tables.create([tableRecord(table, key)])
  }

  async submit(order: Partial<ReshardJobDetail> & Pick<ReshardJobDetail, 'kind'>): Promise<JobRecord> {
    jobs += 1
    const { sources, targets } = this.#options
    const detail = newReshardJobDetail({
      kind: order.kind,
      sources: sources.map(parseShardId),
      targets: targets.map((name) => ({ shard: parseShardId(name), vnodeCount })),
      splitPoint: null,
    })
    const stored = await this.catalog.jobs.create({
      id: parseJobId(`reshard-${String(process.pid)}-${String(jobs)}`),
      type: reshardJobType,
      keyspace,
      status: 'pending',
      state: 'planned',
      progress: 0,
      detail: { ...detail, ...order },
      errorCode: null,
      errorMessage: null,
      version: 1,
      createdAt: new Date(Date.UTC(2026, 0, 1) + jobs).toISOString(),
      startedAt: null,
      completedAt: null,
    })
    return stored.record
  }

  async job({ id }: JobRecord): Promise<{ readonly record: JobRecord; readonly detail: ReshardJobDetail }> {
    const stored = await this.catalog.jobs.get(id)
    if (stored === null) throw new Error(`${id} is gone`)
    return { record: stored.record, detail: parseReshardJobDetail(stored.record.detail) }
  }

  async finish(job: JobRecord, checkpoint?: Checkpoint, faulty: Partial<Catalog> = {}): Promise<JobRecord> {
    for (let run = 0; run < runsMax; run += 1) {
      const progress = await this.runOnce(job, checkpoint, faulty)
      if (progress.kind === 'ended') return (await this.job(job)).record
    }
    throw new Error(`the job does not end: ${JSON.stringify(await this.job(job))}`)
  }

  runOnce(job: JobRecord, checkpoint?: Checkpoint, faulty: Partial<Catalog> = {}): Promise<JobProgress> {
    const { throttleBounds = {}, meetMsMax = meetMsMaxOfTests } = this.#options
    const parts = { ...this.parts, catalog: { ...this.catalog, ...faulty } }
    return runOnce(parts, job, {
      throttleBounds,
      meetMsMax,
      ...(checkpoint === undefined ? {} : { checkpoint }),
    })
  }

  async owner(key: string, type: KeyType = 'text'): Promise<string> {
    return (await this.map()).shardFor(parseKey(key, type), type).id
  }

  async planned(job: JobRecord): Promise<(key: string) => string> {
    const { snapshot } = await this.map()
    const { change } = planMoves(snapshot, (await this.job(job)).detail)
    const shards = snapshot.shards.map((shard) => ({
      ...shard,
      vnodes: change.vnodes.get(shard.id) ?? shard.vnodes,
    }))
    const after = buildShardMap({ ...snapshot, shards })
    return (key) => after.shardFor(parseKey(key, 'text'), 'text').id
  }

  async hash(key: string): Promise<string> {
    return (await this.map()).locate(parseKey(key, 'text'), 'text').hash
  }

  async map(): Promise<ShardMap> {
    const stored = await this.catalog.keyspaces.read(keyspace)
    if (stored === null) throw new Error('there is no keyspace')
    return buildShardMap(stored.snapshot)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#clients.map((one) => one.end()))
  }
}

const runsMax = 40
const meetMsMaxOfTests = 20_000
/** So that small tables have several units. */
export const testUnitRowsMax = 700

function shardRecord(name: string, target: NodeTarget, block: number): ShardRecord {
  const { host, port, database, user, tls } = target
  return {
    id: parseShardId(name),
    name,
    keyspace,
    status: 'inactive',
    statusReason: null,
    version: 1,
    term: parseTerm(1),
    vnodes: '',
    nodes: [
      {
        id: parseNodeId(`${name}-1`),
        role: 'primary',
        host,
        port,
        database,
        user,
        secretRef: null,
        tls,
        region: null,
        zone: null,
        agent: null,
      },
    ],
    sequenceBlock: block,
    createdAt: new Date().toISOString(),
  }
}

function tableRecord(
  name: string,
  key: { readonly column: string; readonly type: KeyType } | null,
): TableRecord {
  return {
    keyspace,
    name,
    kind: key === null ? 'reference' : 'sharded',
    keyColumn: key?.column ?? null,
    keyType: key?.type ?? null,
    homeShard: null,
    ddl: null,
    version: 1,
    createdAt: new Date().toISOString(),
  }
}

/** One claim, and the worker run under it once. */
async function runOnce(
  parts: WorkerParts,
  job: JobRecord,
  own: Pick<ReshardWorkerParts, 'checkpoint' | 'throttleBounds' | 'meetMsMax'>,
): Promise<JobProgress> {
  const worker = `worker-${randomUUID().slice(0, 8)}`
  await using lease = await holdLease(
    { store: parts.catalog.store, clock: systemClock, log: silentLogger },
    leaseTtlMs,
  )
  await using claim = await parts.catalog.jobs.claim(job.id, worker, lease)
  const stored = await parts.catalog.jobs.get(job.id)
  if (claim === null || stored === null) throw new Error(`${job.id} cannot be claimed`)
  const definition = createReshardWorker({
    engine: createReshardEngine('postgres', { clock: systemClock }),
    unitRowsMax: testUnitRowsMax,
    ...own,
  })
  return await definition.run(parts, { job: stored, claim, signal: claim.lost })
}
