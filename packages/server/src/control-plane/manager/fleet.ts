// What the manager knows: the live copy of the catalog, looked up the way its endpoints ask for it, with what is
// derived from a keyspace made once for each of its states.
import {
  FleetError,
  type Clock,
  type JobId,
  type JobRecord,
  type KeyspaceName,
  type KeyspaceSnapshot,
  type NodeRecord,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import type { CatalogChange, CatalogState, CatalogView } from '../../catalog/mod.ts'
import { schemaJobType } from '../../engine/mod.ts'

/** How long an answer to a change may wait until reads show the change. */
const shownMsMax = 3_000

/** A shard with the keyspace it is in. */
export interface FoundShard {
  readonly shard: ShardRecord
  readonly snapshot: KeyspaceSnapshot
}

/** A node with the shard it belongs to. */
export interface FoundNode {
  readonly node: NodeRecord
  readonly shard: ShardRecord
}

/** Lookups in the live copy. All throw FleetError `catalog_unavailable` before the catalog was read once. */
export interface Fleet {
  state(): CatalogState
  /** True once the catalog was read. */
  isLoaded(): boolean
  /** @throws FleetError `not_found` */
  keyspace(name: string): KeyspaceSnapshot
  findKeyspace(name: string): KeyspaceSnapshot | null
  /** @throws FleetError `not_found` */
  shard(id: string): FoundShard
  findShard(id: string): FoundShard | null
  /** @throws FleetError `not_found` */
  table(snapshot: KeyspaceSnapshot, name: string): TableRecord
  /** @throws FleetError `not_found` */
  job(id: string): JobRecord
  nodes(): Iterable<FoundNode>
  /** The schema job that is not ended in that keyspace, or null. */
  schemaJob(keyspace: KeyspaceName): JobId | null
  /** Counts a job as there that was committed and that the live copy does not show yet. */
  expectJob(job: JobRecord): void
  /** Waits until the live copy fulfils the condition; false when it does not in that time. */
  until(condition: (state: CatalogState) => boolean, waitMs: number): Promise<boolean>
  /**
   * Waits until reads show what was committed, so that a caller reads its own writes; gives up after a while, since
   * the commit stands anyway.
   */
  shown(condition: (state: CatalogState) => boolean): Promise<boolean>
  /** Called after each change of the live copy; must not throw. @returns ends the subscription */
  subscribe(listener: (change: CatalogChange) => void): () => void
  /** Milliseconds since the catalog last answered; Infinity if it never did. */
  ageMs(): number
}

/** Lookups over a view that the caller runs. */
export function createFleet(view: CatalogView, clock: Clock): Fleet {
  const expected = new Map<JobId, JobRecord>()
  const byId = new WeakMap<KeyspaceSnapshot, ReadonlyMap<string, ShardRecord>>()

  function state(): CatalogState {
    if (view.isLoaded()) return view.current()
    throw new FleetError(
      'catalog_unavailable',
      'the catalog was not reached yet since this manager started',
      {
        hint: 'try again; /ready tells when it was',
      },
    )
  }

  function findKeyspace(name: string): KeyspaceSnapshot | null {
    return state().keyspaces.get(name as KeyspaceName) ?? null
  }

  function findShard(id: string): FoundShard | null {
    for (const snapshot of state().keyspaces.values()) {
      const shard = memo(byId, snapshot, indexShards).get(id)
      if (shard !== undefined) return { shard, snapshot }
    }
    return null
  }

  return {
    state,
    isLoaded: () => view.isLoaded(),
    findKeyspace,
    keyspace: (name) =>
      findKeyspace(name) ?? notFound('keyspace', name, 'list them: fleetshard keyspace list'),
    findShard,
    shard: (id) => findShard(id) ?? notFound('shard', id, 'list them: fleetshard shard list'),
    table: (snapshot, name) =>
      findTable(snapshot, name) ?? notFound('declared table', name, 'list them: fleetshard table list'),
    job: (id) =>
      state().jobs.get(id as JobId)?.record ?? notFound('job', id, 'list them: fleetshard job list'),
    *nodes() {
      for (const { shards } of state().keyspaces.values()) {
        for (const shard of shards) for (const node of shard.nodes) yield { node, shard }
      }
    },
    schemaJob: (keyspace) => openSchemaJob(state(), keyspace) ?? openExpectedJob(state(), expected, keyspace),
    expectJob: (job) => void expected.set(job.id, job),
    until: (condition, waitMs) => waitUntil(view, clock, condition, waitMs),
    shown: (condition) => waitUntil(view, clock, condition, shownMsMax),
    subscribe: (listener) => view.subscribe(listener),
    ageMs: () => view.ageMs(),
  }
}

async function waitUntil(
  view: CatalogView,
  clock: Clock,
  condition: (state: CatalogState) => boolean,
  waitMs: number,
): Promise<boolean> {
  const stop = new AbortController()
  const cancel = clock.after(waitMs, () => {
    stop.abort()
  })
  try {
    await view.until(condition, stop.signal)
    return true
  } catch {
    return false
  } finally {
    cancel()
  }
}

function memo<K extends object, V>(cache: WeakMap<K, V>, key: K, make: (key: K) => V): V {
  const known = cache.get(key)
  if (known !== undefined) return known
  const made = make(key)
  cache.set(key, made)
  return made
}

function indexShards({ shards }: KeyspaceSnapshot): ReadonlyMap<string, ShardRecord> {
  return new Map(shards.map((shard) => [shard.id, shard]))
}

function openSchemaJob({ jobs }: CatalogState, keyspace: KeyspaceName): JobId | null {
  for (const [id, { record }] of jobs) {
    const isOpen = record.status === 'pending' || record.status === 'running'
    if (isOpen && record.keyspace === keyspace && record.type === schemaJobType) return id
  }
  return null
}

function openExpectedJob(
  { jobs }: CatalogState,
  expected: Map<JobId, JobRecord>,
  keyspace: KeyspaceName,
): JobId | null {
  for (const [id, job] of expected) {
    if (jobs.has(id)) expected.delete(id)
    else if (job.keyspace === keyspace) return id
  }
  return null
}

/** A table by its qualified name, or by its bare name when it lies in `public`. */
export function findTable(snapshot: KeyspaceSnapshot, name: string): TableRecord | null {
  return (
    snapshot.tables.find((table) => table.name === name) ??
    snapshot.tables.find((table) => table.name === `public.${name}`) ??
    null
  )
}

function notFound(what: string, name: string, hint: string): never {
  throw new FleetError('not_found', `there is no ${what} ${JSON.stringify(name.slice(0, 80))}`, { hint })
}
