// The typed catalog's interface: records instead of strings, versions instead of revisions, and the one way to
// change routing. Managers, workers and agents use it; routers use the narrower router-port.ts.
import type {
  AgentRecord,
  Epoch,
  KeyspaceName,
  KeyspaceRecord,
  KeyspaceSnapshot,
  RouterId,
  RouterRecord,
  ShardId,
  ShardRecord,
  TableRecord,
  SessionRecord,
  TokenRecord,
} from '@fleetshard/core'
import type { ClusterRecord } from './records.ts'
import type { CatalogStore, KeyRevision, StoreCondition, StoreWrite } from './store.ts'
import type { Jobs } from './jobs.ts'
import type { Quorums } from './quorums.ts'
import type { LeasedRecords } from './registry.ts'

/** A record and the revision of its key; hand it back to say what a change was decided on. */
export interface Stored<T> {
  readonly record: T
  readonly revision: KeyRevision
}

/** Further conditions (a lease, an election) and writes (a job's next state) of the same commit. */
export interface CommitExtras {
  readonly conditions?: readonly StoreCondition[]
  readonly writes?: readonly StoreWrite[]
}

/** Options of every change. */
export interface ChangeOptions extends CommitExtras {
  /**
   * The version that the caller decided on (If-Match): any other is `version_mismatch`, at once. Without it a
   * change that lost a race is decided anew on the newer record, at most `changeAttemptsMax` times.
   */
  readonly expectedVersion?: number
  readonly signal?: AbortSignal
}

/** How often a change without an expected version is decided anew before it is a `catalog_conflict`. */
export const changeAttemptsMax = 8

/**
 * A keyspace at one epoch, and what the next change of it is conditioned on. Every write of the keyspace, its
 * shards and tables renews the epoch's key, so that one revision stands for all of them.
 */
export interface StoredKeyspace {
  readonly snapshot: KeyspaceSnapshot
  readonly epochRevision: KeyRevision
}

/** What a routing change makes of a keyspace. Versions are counted up by `changeRouting`, not by the plan. */
export interface RoutingPlan {
  /** New shards, and shards as they are to be. At most `routingShardsMax` with the deletes. */
  readonly put?: readonly ShardRecord[]
  readonly delete?: readonly ShardId[]
  /** The keyspace's record as it is to be (the next sequence block). */
  readonly keyspace?: KeyspaceRecord
  /** Anything else of the same commit, e.g. a job's next state. */
  readonly extras?: CommitExtras
}

export interface RoutingOptions {
  /** Any other epoch is `version_mismatch`, at once. */
  readonly expectedEpoch?: Epoch
  /** Conditions that hold for every attempt: the caller's lease or election. A failing one is a conflict. */
  readonly conditions?: readonly StoreCondition[]
  /** Plan on this (from a live view) first, instead of reading; a conflict reads. */
  readonly base?: StoredKeyspace
  readonly signal?: AbortSignal
}

/** Named by `changeRouting`. */
export type PlanRouting = (current: KeyspaceSnapshot) => RoutingPlan

/** Logical databases. */
export interface Keyspaces {
  get(name: KeyspaceName, signal?: AbortSignal): Promise<Stored<KeyspaceRecord> | null>
  list(signal?: AbortSignal): Promise<readonly Stored<KeyspaceRecord>[]>
  /**
   * With version 1, at epoch 1, or one after the last epoch of an earlier keyspace of that name.
   * @throws FleetError `already_exists`
   */
  create(record: KeyspaceRecord, options?: ChangeOptions): Promise<Stored<KeyspaceRecord>>
  /** @throws FleetError `not_found`, `version_mismatch`, `catalog_conflict` */
  update(
    name: KeyspaceName,
    change: (record: KeyspaceRecord) => KeyspaceRecord,
    options?: ChangeOptions,
  ): Promise<Stored<KeyspaceRecord>>
  /** With its tables; its epoch stays, so that it can never go back. @throws FleetError `not_found`, `conflict` while it has shards */
  delete(name: KeyspaceName, options?: ChangeOptions): Promise<void>
  /** The whole keyspace, consistent. */
  read(name: KeyspaceName, signal?: AbortSignal): Promise<StoredKeyspace | null>
}

/** Shards. Vnodes, status, nodes, term, creation and deletion are routing: see `Catalog.changeRouting`. */
export interface Shards {
  get(keyspace: KeyspaceName, id: ShardId, signal?: AbortSignal): Promise<Stored<ShardRecord> | null>
  list(keyspace: KeyspaceName, signal?: AbortSignal): Promise<readonly Stored<ShardRecord>[]>
  /**
   * What has no part in routing.
   * @throws FleetError `not_found`, `version_mismatch`, `catalog_conflict`
   */
  describe(
    keyspace: KeyspaceName,
    id: ShardId,
    change: (record: ShardRecord) => Partial<Pick<ShardRecord, 'name' | 'statusReason'>>,
    options?: ChangeOptions,
  ): Promise<Stored<ShardRecord>>
}

/** Declared tables. */
export interface Tables {
  get(keyspace: KeyspaceName, name: string, signal?: AbortSignal): Promise<Stored<TableRecord> | null>
  list(keyspace: KeyspaceName, signal?: AbortSignal): Promise<readonly Stored<TableRecord>[]>
  /** All or none, at most `tablesAtOnceMax`. @throws FleetError `already_exists`, `not_found` (the keyspace) */
  create(records: readonly TableRecord[], options?: ChangeOptions): Promise<readonly Stored<TableRecord>[]>
  /** @throws FleetError `not_found`, `version_mismatch`, `catalog_conflict` */
  update(
    keyspace: KeyspaceName,
    name: string,
    change: (record: TableRecord) => TableRecord,
    options?: ChangeOptions,
  ): Promise<Stored<TableRecord>>
  /** @throws FleetError `not_found`, `version_mismatch`, `catalog_conflict` */
  delete(keyspace: KeyspaceName, name: string, options?: ChangeOptions): Promise<void>
}

/**
 * Passwords and tokens by name (`catalog:<name>` in a secretRef). Values are never logged nor in an error. All throw
 * FleetError `secret_unavailable` when the keys that seal them cannot be had.
 */
export interface Secrets {
  get(name: string, signal?: AbortSignal): Promise<string | null>
  put(name: string, value: string, options?: CommitExtras & { readonly signal?: AbortSignal }): Promise<void>
  /** The write alone, to go with the commit of the record that refers to it. */
  putWrite(name: string, value: string, signal?: AbortSignal): Promise<StoreWrite>
  /** The same for a secret that goes with its record; no error when there is none. */
  deleteWrite(name: string): StoreWrite
  /**
   * Seals anew what is not sealed, or with a key other than the one for new values. May be repeated.
   * @throws FleetError `secret_unavailable` without keys, or without one that a secret was sealed with;
   * `catalog_conflict` when a secret changed meanwhile, or a condition failed
   */
  reseal(options?: CommitExtras & { readonly signal?: AbortSignal }): Promise<Resealed>
}

/** What sealing anew has done. */
export interface Resealed {
  /** Id of the key that all secrets are sealed with now. */
  readonly key: string
  /** Secrets that were sealed anew. */
  readonly sealed: number
  /** Those that were so already. */
  readonly unchanged: number
}

/** Tokens of the API; they are listed by the live view. */
export interface Tokens {
  /** @throws FleetError `already_exists`, `catalog_conflict` */
  create(record: TokenRecord, options?: ChangeOptions): Promise<Stored<TokenRecord>>
  /** @throws FleetError `not_found`, `catalog_conflict` */
  delete(id: string, options?: ChangeOptions): Promise<void>
}

/** Sessions of browsers; they are listed by the live view. Whoever makes one removes those that are over. */
export interface Sessions {
  get(id: string, signal?: AbortSignal): Promise<SessionRecord | null>
  /** @param over ids that are removed in the same commit @throws FleetError `already_exists`, `catalog_limit` */
  create(record: SessionRecord, over: readonly string[], signal?: AbortSignal): Promise<void>
  /** No error when it is not there any more. */
  delete(id: string, signal?: AbortSignal): Promise<void>
}

/**
 * All throw `catalog_unavailable`, `corrupt_record` and `catalog_limit` besides what they name. A change that
 * fails as `catalog_unavailable` has an unknown outcome.
 */
export interface Catalog {
  readonly store: CatalogStore
  readonly keyspaces: Keyspaces
  readonly shards: Shards
  readonly tables: Tables
  readonly jobs: Jobs
  readonly quorums: Quorums
  readonly routers: LeasedRecords<RouterId, RouterRecord>
  readonly agents: LeasedRecords<string, AgentRecord>
  readonly secrets: Secrets
  readonly tokens: Tokens
  readonly sessions: Sessions
  /** The cluster's identity; made by whoever asks first. */
  cluster(signal?: AbortSignal): Promise<ClusterRecord>
  /**
   * The one way to change routing: reads the keyspace, asks `plan` what it is to be, and writes it with epoch
   * e → e+1 in one commit, conditioned on the epoch's key. A lost race plans anew; a plan may throw to refuse.
   * @returns the keyspace as committed
   * @throws FleetError `not_found`, `version_mismatch` (expectedEpoch), `catalog_conflict` (a condition, or too
   * many races), `already_exists`, `catalog_limit`
   */
  changeRouting(keyspace: KeyspaceName, plan: PlanRouting, options?: RoutingOptions): Promise<StoredKeyspace>
}
