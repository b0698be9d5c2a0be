// Reading and changing single records: parse on read, count versions up, turn lost races into the right error.
import { FleetError } from '@fleetshard/core'
import { changeAttemptsMax, type ChangeOptions, type CommitExtras, type Stored } from './contract.ts'
import type { RecordCodec } from './records.ts'
import type {
  CatalogStore,
  CommitResult,
  KeyRevision,
  StoreCondition,
  StoreEntry,
  StoreLease,
  StoreWrite,
} from './store.ts'

/** Where a record lies and how it is read. `what` names it in errors: `job j-1`. */
export interface RecordAt<T> {
  readonly store: CatalogStore
  readonly codec: RecordCodec<T>
  readonly key: string
  readonly what: string
}

/** @throws FleetError `corrupt_record` */
export function parseEntry<T>(codec: RecordCodec<T>, entry: StoreEntry): Stored<T> {
  return { record: codec.parse(entry.key, entry.value), revision: entry.revision }
}

/** The entry of one key. */
export async function readEntry(
  store: CatalogStore,
  key: string,
  signal?: AbortSignal,
): Promise<StoreEntry | null> {
  const { entries } = await store.read(key, signal)
  return entries.find((entry) => entry.key === key) ?? null
}

export async function readRecord<T>(at: RecordAt<T>, signal?: AbortSignal): Promise<Stored<T> | null> {
  const entry = await readEntry(at.store, at.key, signal)
  return entry === null ? null : parseEntry(at.codec, entry)
}

/** The put of a record. */
export function putRecord<T>(at: RecordAt<T>, record: T, lease?: StoreLease): StoreWrite {
  const value = at.codec.encode(at.key, record)
  return { kind: 'put', key: at.key, value, ...(lease === undefined ? {} : { lease }) }
}

/** A commit with the extras of its caller. */
export function commitWith(
  store: CatalogStore,
  own: Required<CommitExtras>,
  extras: CommitExtras,
  signal?: AbortSignal,
): Promise<CommitResult> {
  const conditions = [...own.conditions, ...(extras.conditions ?? [])]
  return store.commit(conditions, [...own.writes, ...(extras.writes ?? [])], signal)
}

/** The new revision of a key that a commit has put. */
export function revisionOf(
  result: { readonly revisions: ReadonlyMap<string, KeyRevision> },
  key: string,
): KeyRevision {
  const revision = result.revisions.get(key)
  if (revision === undefined) throw new Error(`the store told no revision of ${key}`)
  return revision
}

/** @throws FleetError `already_exists`, `catalog_conflict` when one of the extra conditions failed */
export async function createRecord<T extends { readonly version: number }>(
  at: RecordAt<T>,
  record: T,
  options: ChangeOptions = {},
): Promise<Stored<T>> {
  const first = { ...record, version: 1 }
  const own = { conditions: [{ kind: 'absent', key: at.key }] as const, writes: [putRecord(at, first)] }
  const result = await commitWith(at.store, own, options, options.signal)
  if (result.kind === 'committed') return { record: first, revision: revisionOf(result, at.key) }
  if ((await readEntry(at.store, at.key, options.signal)) !== null) {
    throw new FleetError('already_exists', `the ${at.what} exists already`)
  }
  throw conflict(at.what)
}

/** @throws FleetError `not_found`, `version_mismatch`, `catalog_conflict` */
export function updateRecord<T extends { readonly version: number }>(
  at: RecordAt<T>,
  change: (record: T) => T,
  options: ChangeOptions = {},
): Promise<Stored<T>> {
  return retryChange(at, options, async (stored) => {
    const next = { ...change(stored.record), version: stored.record.version + 1 }
    const own = { conditions: [unchanged(at, stored)], writes: [putRecord(at, next)] }
    const result = await commitWith(at.store, own, options, options.signal)
    return result.kind === 'conflict' ? null : { record: next, revision: revisionOf(result, at.key) }
  })
}

/** Holds while the record is the one that was read. */
export function unchanged<T>(at: RecordAt<T>, stored: Stored<T>): StoreCondition {
  return { kind: 'revision', key: at.key, revision: stored.revision }
}

/**
 * Reads and attempts until an attempt does not return null (conflict). A conflict over an unchanged record was
 * one of the caller's own conditions: attempts don't help then.
 */
async function retryChange<T extends { readonly version: number }, R>(
  at: RecordAt<T>,
  options: ChangeOptions,
  attempt: (stored: Stored<T>) => Promise<R | null>,
): Promise<R> {
  let tried: KeyRevision | null = null
  for (let attempts = 0; attempts < changeAttemptsMax; attempts++) {
    const stored = await readRecord(at, options.signal)
    if (stored === null) throw new FleetError('not_found', `there is no ${at.what}`)
    checkVersion(at.what, stored.record.version, options.expectedVersion)
    if (stored.revision === tried) break
    const done = await attempt(stored)
    if (done !== null) return done
    tried = stored.revision
  }
  throw conflict(at.what)
}

/** @throws FleetError `version_mismatch` */
export function checkVersion(what: string, found: number, expected: number | undefined): void {
  if (expected === undefined || expected === found) return
  throw new FleetError('version_mismatch', `the ${what} has version ${found}, not ${expected}`, {
    hint: 'read it again and repeat the change with its version',
    facts: { version: found },
  })
}

/** The error of a change that lost. */
export function conflict(what: string): FleetError {
  return new FleetError(
    'catalog_conflict',
    `the ${what} could not be changed: it changed too often, or a condition failed`,
    {
      hint: 'read it again and decide anew',
    },
  )
}
