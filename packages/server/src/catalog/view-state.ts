// How a live view becomes the next state: pure bookkeeping of entries, without a store and without time.
// A batch goes in whole, so that no state shows half of a commit.
import {
  FleetError,
  isFleetError,
  toFleetError,
  type Epoch,
  type KeyspaceName,
  type KeyspaceSnapshot,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import type { Stored, StoredKeyspace } from './contract.ts'
import { keys, parseKey, type ParsedKey } from './keys.ts'
import { codecs, type RecordCodec } from './records.ts'
import type { KeyRevision, StoreChange, StoreEntry } from './store.ts'
import type { CatalogChange, CatalogState } from './view.ts'

/** Entries go in, states come out. */
export interface StateBuilder {
  current(): CatalogState
  /** All entries of the catalog. @returns what differs from the state before, null when nothing does */
  load(entries: readonly StoreEntry[]): CatalogChange | null
  /** The changes of one batch. */
  apply(changes: readonly StoreChange[]): CatalogChange | null
}

/** What is known of one keyspace. Null and missing: not there, or not readable. */
interface Parts {
  keyspace: Stored<KeyspaceSnapshot['keyspace']> | null
  epoch: Stored<{ readonly epoch: Epoch }> | null
  readonly shards: Map<string, ShardRecord>
  readonly tables: Map<string, TableRecord>
  /** Keys under this keyspace whose records cannot be read. */
  readonly corrupt: Set<string>
}

type KeyspaceKey = Extract<ParsedKey, { readonly keyspace: KeyspaceName }>
type SingleKey = Exclude<ParsedKey, KeyspaceKey | { readonly kind: 'other' }>

/** A map that is copied when it is first written, and knows what was. */
interface MapDraft<K, V> {
  set(key: K, value: V): void
  delete(key: K): void
  result(): ReadonlyMap<K, V>
  readonly touched: ReadonlySet<K>
}

function draftOf<K, V>(base: ReadonlyMap<K, V>): MapDraft<K, V> {
  let copy: Map<K, V> | null = null
  const touched = new Set<K>()
  return {
    touched,
    result: () => copy ?? base,
    set(key, value) {
      copy ??= new Map(base)
      copy.set(key, value)
      touched.add(key)
    },
    delete(key) {
      if (!(copy ?? base).has(key)) return
      copy ??= new Map(base)
      copy.delete(key)
      touched.add(key)
    },
  }
}

/** The next state while it is made. */
class StateDraft {
  cluster: CatalogState['cluster']
  readonly keyspaces: MapDraft<KeyspaceName, KeyspaceSnapshot>
  readonly stored: MapDraft<KeyspaceName, StoredKeyspace>
  readonly jobs
  readonly jobOwners
  readonly routers
  readonly agents
  readonly tokens
  readonly sessions
  readonly corrupt: MapDraft<string, FleetError>
  readonly #base: CatalogState

  constructor(base: CatalogState) {
    this.#base = base
    this.cluster = base.cluster
    this.keyspaces = draftOf(base.keyspaces)
    this.stored = draftOf(base.stored)
    this.jobs = draftOf(base.jobs)
    this.jobOwners = draftOf(base.jobOwners)
    this.routers = draftOf(base.routers)
    this.agents = draftOf(base.agents)
    this.tokens = draftOf(base.tokens)
    this.sessions = draftOf(base.sessions)
    this.corrupt = draftOf(base.corrupt)
  }

  /** Null when nothing changed. */
  finish(): CatalogChange | null {
    const drafts = [this.keyspaces, this.stored, this.jobs, this.jobOwners, this.routers, this.agents]
    const touched = [...drafts, this.tokens, this.sessions, this.corrupt].some(
      (draft) => draft.touched.size > 0,
    )
    if (!touched && this.cluster === this.#base.cluster) return null
    const jobs = new Set([...this.jobs.touched, ...this.jobOwners.touched])
    const { keyspaces, routers, agents } = this
    return {
      state: {
        cluster: this.cluster,
        keyspaces: keyspaces.result(),
        stored: this.stored.result(),
        jobs: this.jobs.result(),
        jobOwners: this.jobOwners.result(),
        routers: routers.result(),
        agents: agents.result(),
        tokens: this.tokens.result(),
        sessions: this.sessions.result(),
        corrupt: this.corrupt.result(),
      },
      keyspaces: keyspaces.touched,
      jobs,
      routers: routers.touched,
      agents: agents.touched,
    }
  }
}

const emptyState: CatalogState = {
  cluster: null,
  keyspaces: new Map(),
  stored: new Map(),
  jobs: new Map(),
  jobOwners: new Map(),
  routers: new Map(),
  agents: new Map(),
  tokens: new Map(),
  sessions: new Map(),
  corrupt: new Map(),
}

/** @param seed keyspaces to show until the first load */
export function createStateBuilder(seed: readonly KeyspaceSnapshot[] = []): StateBuilder {
  const revisions = new Map<string, KeyRevision>()
  const parts = new Map<KeyspaceName, Parts>()
  /** The highest epoch seen, also of keyspaces that are gone: no map may ever be older. */
  const epochFloor = new Map<KeyspaceName, Epoch>(seed.map(({ keyspace, epoch }) => [keyspace.name, epoch]))
  let state: CatalogState = {
    ...emptyState,
    keyspaces: new Map(seed.map((snapshot) => [snapshot.keyspace.name, snapshot])),
  }

  function applyAll(changes: readonly StoreChange[]): CatalogChange | null {
    const draft = new StateDraft(state)
    const touched = new Set<KeyspaceName>()
    for (const change of changes) {
      const at = readKey(change.key)
      if (at.kind === 'other') continue
      draft.corrupt.delete(change.key)
      if (change.kind === 'put') revisions.set(change.key, change.revision)
      else revisions.delete(change.key)
      if (!('keyspace' in at)) {
        changeSingle(draft, at, change)
        continue
      }
      changePart(draft, partsOf(parts, at.keyspace), at, change)
      touched.add(at.keyspace)
    }
    for (const name of touched) rebuild(draft, name, partsOf(parts, name), epochFloor)
    const change = draft.finish()
    if (change !== null) state = change.state
    return change
  }

  return {
    current: () => state,
    apply: applyAll,
    load(entries) {
      const present = new Set(entries.map((entry) => entry.key))
      // A seeded keyspace that the catalog does not have was deleted while nobody looked.
      const seeded = [...state.keyspaces.keys()].map((name) => keys.keyspace(name))
      const gone = new Set([...revisions.keys(), ...seeded].filter((key) => !present.has(key)))
      const fresh = entries.filter((entry) => revisions.get(entry.key) !== entry.revision)
      return applyAll([
        ...[...gone].map((key): StoreChange => ({ kind: 'delete', key })),
        ...fresh.map((entry): StoreChange => ({ kind: 'put', ...entry })),
      ])
    },
  }
}

/** A key without a valid name in it is nothing that this version wrote. */
function readKey(key: string): ParsedKey {
  try {
    return parseKey(key)
  } catch (error) {
    if (isFleetError(error, 'invalid_id')) return { kind: 'other' }
    throw error
  }
}

function partsOf(parts: Map<KeyspaceName, Parts>, name: KeyspaceName): Parts {
  const known = parts.get(name)
  if (known !== undefined) return known
  const made = {
    keyspace: null,
    epoch: null,
    shards: new Map(),
    tables: new Map(),
    corrupt: new Set<string>(),
  }
  parts.set(name, made)
  return made
}

/** The record of a put; null for a delete, and for a record that cannot be read, which is noted as corrupt. */
function recordOf<T>(draft: StateDraft, codec: RecordCodec<T>, change: StoreChange): Stored<T> | null {
  if (change.kind === 'delete') return null
  try {
    return { record: codec.parse(change.key, change.value), revision: change.revision }
  } catch (error) {
    draft.corrupt.set(change.key, toFleetError(error))
    return null
  }
}

function changeSingle(draft: StateDraft, at: SingleKey, change: StoreChange): void {
  switch (at.kind) {
    case 'cluster':
      draft.cluster = recordOf(draft, codecs.cluster, change)?.record ?? null
      return
    case 'job':
      put(draft.jobs, at.job, recordOf(draft, codecs.job, change))
      return
    case 'job_owner':
      put(draft.jobOwners, at.job, recordOf(draft, codecs.jobOwner, change)?.record)
      return
    case 'router':
      put(draft.routers, at.router, recordOf(draft, codecs.router, change)?.record)
      return
    case 'agent':
      put(draft.agents, at.agent, recordOf(draft, codecs.agent, change)?.record)
      return
    case 'token':
      put(draft.tokens, at.token, recordOf(draft, codecs.token, change)?.record)
      return
    case 'session':
      put(draft.sessions, at.session, recordOf(draft, codecs.session, change)?.record)
      return
  }
}

function put<K, V>(
  map: { set(key: K, value: V): void; delete(key: K): void },
  key: K,
  value: V | null | undefined,
): void {
  if (value === null || value === undefined) map.delete(key)
  else map.set(key, value)
}

function changePart(draft: StateDraft, parts: Parts, at: KeyspaceKey, change: StoreChange): void {
  switch (at.kind) {
    case 'keyspace':
      parts.keyspace = recordOf(draft, codecs.keyspace, change)
      break
    case 'epoch':
      parts.epoch = recordOf(draft, codecs.epoch, change)
      break
    case 'shard':
      put(parts.shards, change.key, recordOf(draft, codecs.shard, change)?.record)
      break
    case 'table':
      put(parts.tables, change.key, recordOf(draft, codecs.table, change)?.record)
      break
  }
  if (draft.corrupt.result().has(change.key)) parts.corrupt.add(change.key)
  else parts.corrupt.delete(change.key)
}

/**
 * Puts a keyspace together. One with a corrupt record, or whose epoch went back, stays as it was: without one of
 * its shards, the ranges of that shard would seem to belong to its neighbours.
 */
function rebuild(
  draft: StateDraft,
  name: KeyspaceName,
  parts: Parts,
  epochFloor: Map<KeyspaceName, Epoch>,
): void {
  if (parts.corrupt.size > 0) return
  const { keyspace, epoch } = parts
  if (keyspace === null || epoch === null) {
    draft.keyspaces.delete(name)
    draft.stored.delete(name)
    return
  }
  const floor = epochFloor.get(name)
  if (floor !== undefined && epoch.record.epoch < floor) {
    draft.corrupt.set(keys.epoch(name), wentBack(name, epoch.record.epoch, floor))
    return
  }
  epochFloor.set(name, epoch.record.epoch)
  const snapshot: KeyspaceSnapshot = {
    keyspace: keyspace.record,
    epoch: epoch.record.epoch,
    shards: sorted(parts.shards),
    tables: sorted(parts.tables),
  }
  draft.keyspaces.set(name, snapshot)
  draft.stored.set(name, { snapshot, epochRevision: epoch.revision })
}

/** By key, so that the same catalog always gives the same snapshot. */
function sorted<T>(records: ReadonlyMap<string, T>): T[] {
  return [...records].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, record]) => record)
}

function wentBack(name: KeyspaceName, found: Epoch, floor: Epoch): FleetError {
  return new FleetError(
    'corrupt_record',
    `the epoch of keyspace ${name} is ${found} in the catalog, after it was ${floor}; the newer map is kept`,
    {
      hint: 'the catalog was restored from an old copy: restore a newer one',
      facts: { key: keys.epoch(name) },
    },
  )
}
