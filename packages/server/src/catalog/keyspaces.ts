// Keyspaces in the catalog. Every write under a keyspace renews its epoch key, and is conditioned on it.
import { FleetError, parseEpoch, type Epoch, type KeyspaceName, type KeyspaceRecord } from '@fleetshard/core'
import {
  changeAttemptsMax,
  type ChangeOptions,
  type CommitExtras,
  type Keyspaces,
  type RoutingOptions,
  type Stored,
  type StoredKeyspace,
} from './contract.ts'
import { keys, parseKey } from './keys.ts'
import {
  checkVersion,
  commitWith,
  conflict,
  parseEntry,
  putRecord,
  readEntry,
  revisionOf,
  type RecordAt,
} from './record-set.ts'
import { codecs } from './records.ts'
import type { CatalogStore, CommitResult, KeyRevision, StoreEntry, StoreWrite } from './store.ts'

/** A keyspace's whole part of the catalog. @throws FleetError `corrupt_record` */
export async function readKeyspace(
  store: CatalogStore,
  name: KeyspaceName,
  signal?: AbortSignal,
): Promise<StoredKeyspace | null> {
  const key = keys.keyspace(name)
  const { entries } = await store.read(key, signal)
  // The prefix also has keyspaces whose names begin alike.
  return assembleKeyspace(entries.filter((entry) => entry.key === key || entry.key.startsWith(`${key}/`)))
}

function assembleKeyspace(entries: readonly StoreEntry[]): StoredKeyspace | null {
  let keyspace: KeyspaceRecord | null = null
  let epoch: Stored<{ readonly epoch: Epoch }> | null = null
  const shards = []
  const tables = []
  for (const entry of entries) {
    switch (parseKey(entry.key).kind) {
      case 'keyspace':
        keyspace = parseEntry(codecs.keyspace, entry).record
        break
      case 'epoch':
        epoch = parseEntry(codecs.epoch, entry)
        break
      case 'shard':
        shards.push(parseEntry(codecs.shard, entry).record)
        break
      case 'table':
        tables.push(parseEntry(codecs.table, entry).record)
        break
      default:
    }
  }
  if (keyspace === null || epoch === null) return null
  return { snapshot: { keyspace, epoch: epoch.record.epoch, shards, tables }, epochRevision: epoch.revision }
}

function recordAt(store: CatalogStore, name: KeyspaceName): RecordAt<KeyspaceRecord> {
  return { store, codec: codecs.keyspace, key: keys.keyspace(name), what: `keyspace ${name}` }
}

/** The put of an epoch, also of an equal one: it renews the revision that guards the keyspace. */
export function putEpoch(name: KeyspaceName, epoch: Epoch): StoreWrite {
  const key = keys.epoch(name)
  return { kind: 'put', key, value: codecs.epoch.encode(key, { epoch }) }
}

/** Conditions and writes of a change decided on that epoch key: it is unchanged, and it is renewed. */
export function guarded(
  name: KeyspaceName,
  guard: { readonly epoch: Epoch; readonly revision: KeyRevision },
  writes: readonly StoreWrite[],
): Required<CommitExtras> {
  return {
    conditions: [{ kind: 'revision', key: keys.epoch(name), revision: guard.revision }],
    writes: [putEpoch(name, guard.epoch), ...writes],
  }
}

/** The epoch key of a keyspace, to guard a change with. @throws FleetError `not_found` */
export async function readGuard(
  store: CatalogStore,
  name: KeyspaceName,
  signal?: AbortSignal,
): Promise<{ readonly epoch: Epoch; readonly revision: KeyRevision }> {
  const entry = await readEntry(store, keys.epoch(name), signal)
  if (entry === null) throw notFound(name)
  const { record, revision } = parseEntry(codecs.epoch, entry)
  return { epoch: record.epoch, revision }
}

/** The error for a keyspace that is not there. */
export function notFound(name: KeyspaceName): FleetError {
  return new FleetError('not_found', `there is no keyspace ${name}`, {
    hint: 'list them with fleetshard keyspace list',
  })
}

/**
 * Tries a guarded change until it does not conflict. A conflict while the epoch key stayed the same was a
 * condition of the caller's: no attempt helps then.
 */
export async function retryGuarded<R>(
  store: CatalogStore,
  name: KeyspaceName,
  options: Pick<RoutingOptions, 'signal'>,
  attempt: (guard: { readonly epoch: Epoch; readonly revision: KeyRevision }) => Promise<R | null>,
): Promise<R> {
  let tried: KeyRevision | null = null
  for (let attempts = 0; attempts < changeAttemptsMax; attempts++) {
    const guard = await readGuard(store, name, options.signal)
    if (guard.revision === tried) break
    const done = await attempt(guard)
    if (done !== null) return done
    tried = guard.revision
  }
  throw conflict(`keyspace ${name}`)
}

async function create(
  store: CatalogStore,
  record: KeyspaceRecord,
  options: ChangeOptions,
): Promise<Stored<KeyspaceRecord>> {
  const at = recordAt(store, record.name)
  const epochKey = keys.epoch(record.name)
  const left = await readEntry(store, epochKey, options.signal)
  // Keyspaces that are deleted leave their epoch behind, so that a namesake begins above it.
  const epoch = parseEpoch(left === null ? 1 : parseEntry(codecs.epoch, left).record.epoch + 1)
  const first = { ...record, version: 1 }
  const own: Required<CommitExtras> = {
    conditions: [
      { kind: 'absent', key: at.key },
      left === null
        ? { kind: 'absent', key: epochKey }
        : { kind: 'revision', key: epochKey, revision: left.revision },
    ],
    writes: [putRecord(at, first), putEpoch(record.name, epoch)],
  }
  const result = await commitWith(store, own, options, options.signal)
  if (result.kind === 'committed') return { record: first, revision: revisionOf(result, at.key) }
  if ((await readEntry(store, at.key, options.signal)) !== null) {
    throw new FleetError('already_exists', `the ${at.what} exists already`)
  }
  throw conflict(at.what)
}

/** One guarded attempt on a whole keyspace. */
async function attemptOn(
  store: CatalogStore,
  name: KeyspaceName,
  options: ChangeOptions,
  plan: (current: StoredKeyspace) => Required<CommitExtras>,
): Promise<CommitResult> {
  const current = await readKeyspace(store, name, options.signal)
  if (current === null) throw notFound(name)
  checkVersion(`keyspace ${name}`, current.snapshot.keyspace.version, options.expectedVersion)
  return commitWith(store, plan(current), options, options.signal)
}

function update(
  store: CatalogStore,
  name: KeyspaceName,
  change: (record: KeyspaceRecord) => KeyspaceRecord,
  options: ChangeOptions,
): Promise<Stored<KeyspaceRecord>> {
  const at = recordAt(store, name)
  return retryGuarded(store, name, options, async () => {
    let next: KeyspaceRecord | null = null
    const result = await attemptOn(store, name, options, ({ snapshot, epochRevision: revision }) => {
      const { keyspace, epoch } = snapshot
      next = { ...change(keyspace), version: keyspace.version + 1 }
      return guarded(name, { epoch, revision }, [putRecord(at, next)])
    })
    if (result.kind === 'conflict' || next === null) return null
    return { record: next, revision: revisionOf(result, at.key) }
  })
}

async function remove(store: CatalogStore, name: KeyspaceName, options: ChangeOptions): Promise<void> {
  await retryGuarded(store, name, options, async () => {
    const result = await attemptOn(store, name, options, ({ snapshot, epochRevision: revision }) => {
      if (snapshot.shards.length > 0) {
        throw new FleetError('conflict', `the keyspace ${name} has ${snapshot.shards.length} shards`, {
          hint: 'delete its shards first',
        })
      }
      const epoch = parseEpoch(snapshot.epoch + 1)
      const gone = [keys.keyspace(name), ...snapshot.tables.map((table) => keys.table(name, table.name))]
      return guarded(
        name,
        { epoch, revision },
        gone.map((key) => ({ kind: 'delete', key })),
      )
    })
    return result.kind === 'conflict' ? null : true
  })
}

async function list(store: CatalogStore, signal?: AbortSignal): Promise<Stored<KeyspaceRecord>[]> {
  const { entries } = await store.read(keys.keyspaces, signal)
  return entries
    .filter((entry) => parseKey(entry.key).kind === 'keyspace')
    .map((entry) => parseEntry(codecs.keyspace, entry))
}

/** Keyspaces above a store. */
export function createKeyspaces(store: CatalogStore): Keyspaces {
  return {
    async get(name, signal) {
      const entry = await readEntry(store, keys.keyspace(name), signal)
      return entry === null ? null : parseEntry(codecs.keyspace, entry)
    },
    list: (signal) => list(store, signal),
    create: (record, options = {}) => create(store, record, options),
    update: (name, change, options = {}) => update(store, name, change, options),
    delete: (name, options = {}) => remove(store, name, options),
    read: (name, signal) => readKeyspace(store, name, signal),
  }
}
