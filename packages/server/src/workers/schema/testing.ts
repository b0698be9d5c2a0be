// For the tests of this worker: a keyspace whose shards are databases of one real server, with a catalog beside it.
import { randomUUID } from 'node:crypto'
import {
  parseEpoch,
  parseJobId,
  parseKeyspaceName,
  parseNodeId,
  parseShardId,
  parseTerm,
  type Clock,
  type JobRecord,
  type ShardRecord,
} from '@fleetshard/core'
import { createCatalog, holdLease, type Catalog, type CatalogStore } from '../../catalog/mod.ts'
import {
  createEngine,
  newSchemaJobDetail,
  schemaJobType,
  type NodeTarget,
  type TableDeclaration,
} from '../../engine/mod.ts'
import { silentLogger, systemClock } from '../../runtime/mod.ts'
import type { JobProgress, WorkerParts } from '../worker.ts'
import type { Checkpoint } from './step.ts'
import { createSchemaWorker } from './worker.ts'

/** Real time but for sleeps, which end at once: pauses between attempts are no part of what is tested. */
export const hastyClock: Clock = { ...systemClock, sleep: () => Promise.resolve() }

export const keyspace = parseKeyspaceName('app')
/** Password of every shard in these tests. */
const leaseTtlMs = 30_000

/** What a worker acts with, on that store. `passwordOf` gives the servers' password. */
export function workerParts(
  store: CatalogStore,
  password: string,
): WorkerParts & { readonly catalog: Catalog } {
  const catalog = createCatalog({ store, clock: systemClock, uuid: randomUUID })
  return {
    log: silentLogger,
    clock: hastyClock,
    catalog,
    engineOf: (name) => createEngine(name, { clock: systemClock }),
    targetOf: ({ host, port, database, user, tls }) =>
      Promise.resolve({ host, port, database, user, tls, password }),
  }
}

/** An empty keyspace. */
export async function createKeyspace(catalog: Catalog): Promise<void> {
  await catalog.keyspaces.create({
    name: keyspace,
    engine: 'postgres',
    hash: 'murmur3',
    strategy: 'ring',
    defaultConsistency: 'strong',
    nextSequenceBlock: 0,
    version: 1,
    createdAt: new Date().toISOString(),
  })
}

/** Claims the database for the shard and writes its record. */
export async function addShard(
  parts: WorkerParts,
  target: NodeTarget,
  name: string,
  block: number,
): Promise<ShardRecord> {
  const id = parseShardId(name)
  await parts.engineOf('postgres').claim(target, {
    cluster: '6f1c1a52-4a43-4a7e-9f2f-7b1f4a1f0c11',
    keyspace,
    shard: id,
    term: parseTerm(1),
    epochMin: parseEpoch(1),
    sequenceBlock: block,
  })
  const { host, port, database, user, tls } = target
  const record: ShardRecord = {
    id,
    name,
    keyspace,
    status: 'active',
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
  await parts.catalog.changeRouting(keyspace, () => ({ put: [record] }))
  return record
}

let jobs = 0

/** A job as the manager writes it. */
export async function submit(
  catalog: Catalog,
  ddl: string,
  declarations: readonly TableDeclaration[],
): Promise<JobRecord> {
  jobs += 1
  const stored = await catalog.jobs.create({
    id: parseJobId(`schema-${String(jobs)}`),
    type: schemaJobType,
    keyspace,
    status: 'pending',
    state: 'planned',
    progress: 0,
    detail: newSchemaJobDetail({ ddl, declarations }),
    errorCode: null,
    errorMessage: null,
    version: 1,
    createdAt: new Date(Date.UTC(2026, 0, 1) + jobs).toISOString(),
    startedAt: null,
    completedAt: null,
  })
  return stored.record
}

/** One claim, and the worker run under it once. */
export async function runOnce(
  parts: WorkerParts,
  job: JobRecord,
  checkpoint?: Checkpoint,
): Promise<JobProgress> {
  const worker = `worker-${randomUUID().slice(0, 8)}`
  await using lease = await holdLease(
    { store: parts.catalog.store, clock: systemClock, log: silentLogger },
    leaseTtlMs,
  )
  await using claim = await parts.catalog.jobs.claim(job.id, worker, lease)
  const stored = await parts.catalog.jobs.get(job.id)
  if (claim === null || stored === null) throw new Error(`${job.id} cannot be claimed`)
  const definition = createSchemaWorker(checkpoint)
  return await definition.run(parts, { job: stored, claim, signal: claim.lost })
}
