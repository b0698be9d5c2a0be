// Jobs in the catalog: persisted workflows, and the leased claim by which one worker at a time works on one.
import { FleetError, type Clock, type JobId, type JobRecord, type JobStatus } from '@fleetshard/core'
import type { ChangeOptions, CommitExtras, Stored } from './contract.ts'
import { keys, parseKey } from './keys.ts'
import type { HeldLease } from './leases.ts'
import {
  createRecord,
  parseEntry,
  putRecord,
  readRecord,
  revisionOf,
  unchanged,
  updateRecord,
  type RecordAt,
} from './record-set.ts'
import { codecs, type JobOwnerRecord } from './records.ts'
import { commitOperationsMax, type CatalogStore, type StoreCondition } from './store.ts'

/** A claim on a job. Lost with its lease; commits of the job's effects carry `condition`. */
export interface JobClaim extends AsyncDisposable {
  readonly job: JobId
  /** Aborts before another worker could claim the job. */
  readonly lost: AbortSignal
  /** True while the claim is certain, by the clock and not only by `lost`, whose timer may be late. */
  isHeld(): boolean
  /** Holds while this claim holds. */
  readonly condition: StoreCondition
}

export interface JobFilter {
  readonly status?: readonly JobStatus[]
  readonly type?: string
}

/** Persisted workflows. */
export interface Jobs {
  /** With version 1. @throws FleetError `already_exists` */
  create(record: JobRecord, options?: ChangeOptions): Promise<Stored<JobRecord>>
  get(id: JobId, signal?: AbortSignal): Promise<Stored<JobRecord> | null>
  /** Newest first. */
  list(filter?: JobFilter, signal?: AbortSignal): Promise<readonly Stored<JobRecord>[]>
  /** @throws FleetError `not_found`, `version_mismatch`, `catalog_conflict` */
  update(
    id: JobId,
    change: (record: JobRecord) => JobRecord,
    options?: ChangeOptions,
  ): Promise<Stored<JobRecord>>
  /** The commit parts that create a job, for a commit that does more. */
  createParts(record: JobRecord): Required<CommitExtras>
  /** The commit parts of an update, for a commit that does more (a routing change). Its version is counted up. */
  updateParts(stored: Stored<JobRecord>, next: JobRecord): Required<CommitExtras>
  /** The commit parts that delete a job nobody has changed since, for a commit that does more. */
  deleteParts(stored: Stored<JobRecord>): Required<CommitExtras>
  /**
   * A worker that claims again what it has replaces its earlier claim, so that a claim with an unknown outcome
   * can be repeated; `worker` is therefore unique to a process.
   * @returns null when another worker has it. @throws FleetError `not_found`, `lease_lost`
   */
  claim(id: JobId, worker: string, lease: HeldLease, signal?: AbortSignal): Promise<JobClaim | null>
  owner(id: JobId, signal?: AbortSignal): Promise<JobOwnerRecord | null>
  /** Deletes the oldest ended jobs beyond `keep`, at most 32 at once. @returns how many */
  prune(keep: number, signal?: AbortSignal): Promise<number>
}

/** States that a job does not leave. */
const ended: readonly JobStatus[] = ['completed', 'failed', 'cancelled']

interface Deps {
  readonly store: CatalogStore
  readonly clock: Clock
}

function jobAt(store: CatalogStore, id: JobId): RecordAt<JobRecord> {
  return { store, codec: codecs.job, key: keys.job(id), what: `job ${id}` }
}

function ownerAt(store: CatalogStore, id: JobId): RecordAt<JobOwnerRecord> {
  return { store, codec: codecs.jobOwner, key: keys.jobOwner(id), what: `owner of job ${id}` }
}

async function list(
  store: CatalogStore,
  filter: JobFilter,
  signal?: AbortSignal,
): Promise<Stored<JobRecord>[]> {
  const { entries } = await store.read(keys.jobs, signal)
  return entries
    .filter((entry) => parseKey(entry.key).kind === 'job')
    .map((entry) => parseEntry(codecs.job, entry))
    .filter(({ record }) => filter.status?.includes(record.status) ?? true)
    .filter(({ record }) => filter.type === undefined || filter.type === record.type)
    .toSorted((a, b) => (a.record.createdAt < b.record.createdAt ? 1 : -1))
}

function updateParts(
  store: CatalogStore,
  stored: Stored<JobRecord>,
  next: JobRecord,
): Required<CommitExtras> {
  const at = jobAt(store, stored.record.id)
  const record = { ...next, version: stored.record.version + 1 }
  return { conditions: [unchanged(at, stored)], writes: [putRecord(at, record)] }
}

async function claim(
  deps: Deps,
  id: JobId,
  worker: { readonly id: string; readonly lease: HeldLease },
  signal?: AbortSignal,
): Promise<JobClaim | null> {
  const at = ownerAt(deps.store, id)
  const owner = await readRecord(at, signal)
  if (owner !== null && owner.record.worker !== worker.id) return null
  const record = { worker: worker.id, since: new Date(deps.clock.now()).toISOString() }
  const result = await deps.store.commit(
    [
      { kind: 'exists', key: keys.job(id) },
      owner === null ? { kind: 'absent', key: at.key } : unchanged(at, owner),
    ],
    [putRecord(at, record, worker.lease.lease)],
    signal,
  )
  if (result.kind === 'committed') {
    return makeClaim(deps.store, id, worker.lease, {
      kind: 'revision',
      key: at.key,
      revision: revisionOf(result, at.key),
    })
  }
  if ((await readRecord(jobAt(deps.store, id), signal)) === null) {
    throw new FleetError('not_found', `there is no job ${id}`)
  }
  return null
}

function makeClaim(store: CatalogStore, job: JobId, lease: HeldLease, condition: StoreCondition): JobClaim {
  return {
    job,
    lost: lease.lost,
    isHeld: () => lease.isHeld(),
    condition,
    async [Symbol.asyncDispose]() {
      // Best effort: the lease ends it otherwise.
      await store.commit([condition], [{ kind: 'delete', key: condition.key }]).catch(() => undefined)
    },
  }
}

async function prune(store: CatalogStore, keep: number, signal?: AbortSignal): Promise<number> {
  const old = (await list(store, { status: ended }, signal)).slice(keep)
  const chosen = old.toReversed().slice(0, commitOperationsMax / 2)
  if (chosen.length === 0) return 0
  const result = await store.commit(
    chosen.map((stored) => unchanged(jobAt(store, stored.record.id), stored)),
    chosen.map(({ record }) => ({ kind: 'delete', key: keys.job(record.id) })),
    signal,
  )
  return result.kind === 'committed' ? chosen.length : 0
}

/** Jobs above a store. */
export function createJobs(deps: Deps): Jobs {
  const { store } = deps
  return {
    create: (record, options) => createRecord(jobAt(store, record.id), record, options),
    get: (id, signal) => readRecord(jobAt(store, id), signal),
    list: (filter = {}, signal) => list(store, filter, signal),
    update: (id, change, options) => updateRecord(jobAt(store, id), change, options),
    createParts(record) {
      const at = jobAt(store, record.id)
      return {
        conditions: [{ kind: 'absent', key: at.key }],
        writes: [putRecord(at, { ...record, version: 1 })],
      }
    },
    updateParts: (stored, next) => updateParts(store, stored, next),
    deleteParts: (stored) => ({
      conditions: [unchanged(jobAt(store, stored.record.id), stored)],
      writes: [{ kind: 'delete', key: keys.job(stored.record.id) }],
    }),
    claim: (id, worker, lease, signal) => claim(deps, id, { id: worker, lease }, signal),
    async owner(id, signal) {
      return (await readRecord(ownerAt(store, id), signal))?.record ?? null
    },
    prune: (keep, signal) => prune(store, keep, signal),
  }
}
