// The store port: the little that a catalog backend implements, and nothing else. Typed records lie above it
// (catalog.ts). The conformance suite (conformance.ts) is the executable form of these comments.

/** Opaque position of the whole store; only handed back to `watch` of the same backend. */
export type StoreRevision = string & { readonly storeRevision: never }
/** Opaque revision of one key; changes with every put, also of an equal value. */
export type KeyRevision = string & { readonly keyRevision: never }

/** At most this many conditions plus writes in one commit, in every backend. */
export const commitOperationsMax = 64
/** Largest value in UTF-8 bytes, in every backend. */
export const valueBytesMax = 256 * 1024
/** Largest sum of keys and values of one commit in UTF-8 bytes: etcd takes requests of 1.5 MiB by default. */
export const commitBytesMax = 1024 * 1024
/** Longest key in UTF-8 bytes. Keys and values have no NUL character and no half of a surrogate pair. */
export const keyBytesMax = 1024

export interface StoreEntry {
  readonly key: string
  readonly value: string
  readonly revision: KeyRevision
}

/**
 * A consistent view of all keys under a prefix, ascending by the keys' UTF-8 bytes. `revision` is where a watch
 * goes on without a gap. A leased key may be seen a little after its lease ended, until its delete is made.
 */
export interface StoreSnapshot {
  readonly entries: readonly StoreEntry[]
  readonly revision: StoreRevision
}

/** Holds when the key has that revision, or is absent. An expired leased key counts as absent. */
export type StoreCondition =
  | { readonly kind: 'revision'; readonly key: string; readonly revision: KeyRevision }
  | { readonly kind: 'absent'; readonly key: string }
  | { readonly kind: 'exists'; readonly key: string }

/**
 * A put with a lease vanishes with the lease, and fails as `lease_lost` when the lease is gone; a put without one
 * frees the key from the lease it had. Deleting an absent key is nothing. A key stands in the writes of a commit
 * at most once.
 */
export type StoreWrite =
  | { readonly kind: 'put'; readonly key: string; readonly value: string; readonly lease?: StoreLease }
  | { readonly kind: 'delete'; readonly key: string }

/** `revisions` has the new revision of every key that was put. Conditions are judged before leases. */
export type CommitResult =
  | {
      readonly kind: 'committed'
      readonly revision: StoreRevision
      readonly revisions: ReadonlyMap<string, KeyRevision>
    }
  | { readonly kind: 'conflict' }

export type StoreChange =
  | { readonly kind: 'put'; readonly key: string; readonly value: string; readonly revision: KeyRevision }
  | { readonly kind: 'delete'; readonly key: string }

/**
 * One commit is one batch, so is the end of one lease; a commit that changes nothing is none.
 * `compacted`: the history asked for is gone; read again and watch from there.
 */
export type WatchEvent =
  | { readonly kind: 'batch'; readonly revision: StoreRevision; readonly changes: readonly StoreChange[] }
  | { readonly kind: 'compacted' }

/**
 * A lease by the store's clock. Keys put with it vanish when it ends, and show up as deletes in watches. It lasts
 * at least the time asked for (etcd counts in whole seconds, from 2 on, so that it may last longer). Disposing
 * revokes, best effort.
 */
export interface StoreLease extends AsyncDisposable {
  readonly id: string
  /** Extends the lease by its full time. @throws FleetError `lease_lost`, `catalog_unavailable` */
  keepAlive(signal?: AbortSignal): Promise<void>
  /** Ends the lease now and deletes its keys. Idempotent. @throws FleetError `catalog_unavailable` */
  revoke(signal?: AbortSignal): Promise<void>
}

/**
 * What every backend implements, exactly. All methods but `watch` throw FleetError `catalog_unavailable`
 * (retryable) when the store does not answer within the deadline, and the signal's reason when it aborts; a
 * commit that ends so has an unknown outcome. Disposing ends watches and refuses further calls.
 */
export interface CatalogStore extends AsyncDisposable {
  read(prefix: string, signal?: AbortSignal): Promise<StoreSnapshot>
  /** Atomic: all writes or none. @throws FleetError `catalog_limit`, `lease_lost` */
  commit(
    conditions: readonly StoreCondition[],
    writes: readonly StoreWrite[],
    signal?: AbortSignal,
  ): Promise<CommitResult>
  /**
   * Every change of keys under the prefix after `from`, in commit order, none lost and none twice. A prefix is
   * plain text: `a/` has `a/b` and not `ab`; `` has all. Survives restarts of the store and dropped connections
   * by itself; ends without an error when the signal aborts, when the store is disposed, and after a `compacted`
   * event. A store that was replaced by an older one counts as compacted.
   */
  watch(prefix: string, from: StoreRevision, signal: AbortSignal): AsyncIterable<WatchEvent>
  lease(ttlMs: number, signal?: AbortSignal): Promise<StoreLease>
}
