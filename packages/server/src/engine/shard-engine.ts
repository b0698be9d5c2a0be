// The shard-engine port: what manager, workers and agents may do to a shard's database, whatever its engine.
// Each engine is a folder beside this file with a line in engines.ts. Statements of clients don't come this way.
import type { SecureContext } from 'node:tls'
import type { ShardIdentity } from '@fleetshard/routing/shard-state'
import type { Clock, Epoch, KeyspaceName, KeyspaceRecord, NodeRecord, ShardId, Term } from '@fleetshard/core'
import type {
  CheckedDeclaration,
  SchemaScript,
  TableDeclaration,
  TableFacts,
  TableSuggestion,
} from './schema-facts.ts'

/** Name of an engine, as keyspace records have it. */
export type EngineName = KeyspaceRecord['engine']

/** Where one server is and how to log in. The password never shows up in an error or a log. */
export interface NodeTarget {
  /** Host name, address, or the absolute folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password: string | null
  readonly tls: NodeRecord['tls']
  /** Asked at each connection under TLS for what we show and trust; what the system trusts where it is left out. */
  readonly tlsContext?: (() => SecureContext) | undefined
}

/** Bounds of one call. An abort or a passed deadline closes the connection; open transactions are rolled back. */
export interface CallBounds {
  readonly signal?: AbortSignal
  /** For the whole call, connecting included; `callTimeoutMsDefault` when absent. */
  readonly timeoutMs?: number
}

/** Deadline of a call that gives none. */
export const callTimeoutMsDefault = 15_000

/** A position in an engine's log. Opaque: only `compare` of the same engine orders two of them. */
export type LogPosition = string & { readonly logPosition: never }

/** Number of values in a sequence block: a shard's sequences count in [block * 2^40 + 1, (block + 1) * 2^40). */
export const sequenceBlockSize = 2n ** 40n

export type { ShardIdentity }

/** What one server tells about itself. */
export interface NodeFacts {
  /** `15.14` */
  readonly version: string
  /** 150014 */
  readonly versionNumber: number
  /** True for replicas and standbys. */
  readonly inRecovery: boolean
  /** `default_transaction_read_only` is on for this login. */
  readonly readOnly: boolean
  /** Same for a primary and its replicas; null when the server does not tell this login. */
  readonly systemId: string | null
  readonly database: { readonly name: string; readonly oid: number; readonly encoding: string }
  /** Null when the server does not tell. */
  readonly timeline: number | null
  /** Written (primary) or replayed (replica) so far; null when the server does not tell. */
  readonly position: LogPosition | null
  readonly walLevel: string
  /** 0: two-phase commit is switched off. */
  readonly preparedTransactionsMax: number
  readonly connectionsMax: number
  /** Where a replica streams from; null for a primary, and for a replica that is not connected or may not tell. */
  readonly upstream: { readonly host: string; readonly port: number } | null
  /** Whether this login may create the `fleetshard` schema and tables. */
  readonly mayCreate: boolean
  readonly superuser: boolean
  /** Null for a database that no shard has claimed. */
  readonly identity: ShardIdentity | null
}

export interface ShardClaim {
  readonly cluster: string
  readonly keyspace: KeyspaceName
  readonly shard: ShardId
  readonly term: Term
  readonly epochMin: Epoch
  readonly sequenceBlock: number
}

/** A shard's primary, as fences and schema changes need it. */
export interface ShardTarget {
  readonly shard: ShardId
  readonly target: NodeTarget
}

export interface FenceRequest {
  /** Every shard whose map changes, each by its primary. */
  readonly shards: readonly ShardTarget[]
  /** Qualified names of all sharded tables. */
  readonly tables: readonly string[]
  /** Stored on each shard: the epoch that `body` is about to make. */
  readonly epochMin: Epoch
  /** How long to wait for writers; then the result is `busy`. */
  readonly lockTimeoutMs: number
}

/** What the change of the catalog reports. `committed`: it has the new epoch. `conflict`: it certainly has not. */
export type FenceBodyOutcome = 'committed' | 'conflict' | 'unknown'

/** The caller's part of a fence. */
export interface FenceBody {
  /**
   * Called before the first shard stores the epoch, with the tables locked and found empty: writes down what is about
   * to happen, so that whoever comes after a crash can make up for it. Nothing is changed when it throws.
   */
  announce(signal: AbortSignal): Promise<null>
  /** Changes the catalog. */
  change(signal: AbortSignal): Promise<FenceBodyOutcome>
}

/**
 * From the call of `announce` on, shards may have stored the epoch, and they keep it whatever follows: a fence too many
 * makes routers wait for a newer map, one too few could let a row be written to a shard that does not own it. So
 * unless the catalog has changed, its epoch must be raised by a change of its own.
 */
export type FenceResult =
  | { readonly kind: 'fenced'; readonly outcome: 'committed' | 'unknown' }
  | { readonly kind: 'conflict' }
  | { readonly kind: 'not-empty'; readonly shard: ShardId; readonly table: string }
  /** A lock was not had in time, a shard was lost, or a router's connection did not end. */
  | { readonly kind: 'busy'; readonly shard: ShardId; readonly reason: string }

/** A schema script to be run on one shard, with all that makes its tables fit to be sharded. */
export interface SchemaChange {
  /** Whose database it must be; any other is `wrong_database`. */
  readonly shard: ShardId
  /** Run in order; each may itself be several, divided by semicolons. */
  readonly statements: readonly string[]
  /** The tables that the statements create and that are declared with it. */
  readonly declarations: readonly TableDeclaration[]
  /** Tables of the keyspace declared before; foreign keys may refer to them. */
  readonly declared: readonly TableDeclaration[]
  /** The shard's block, as it was claimed: sequences of the declared tables are set to it. */
  readonly sequenceBlock: number
}

/** What a schema change made on one shard. */
export interface SchemaOutcome {
  readonly checked: readonly CheckedDeclaration[]
}

/**
 * What became of a two-phase transaction, told by a marker row that it carries and that a rollback leaves in its
 * place. `absent`: the shard never had it, or lost it (an asynchronous failover, a rollback by hand).
 */
export type PreparedState = 'prepared' | 'committed' | 'rolled-back' | 'absent'

/**
 * Errors of all methods that take a target: `shard_unavailable` (not reached, lost, too many connections),
 * `deadline_exceeded`, the signal's reason when aborted, `node_check_failed` (login refused, no such database, a
 * missing privilege; the hint has the GRANT). All are safe to repeat unless the method says otherwise.
 */
export interface ShardEngine {
  readonly name: EngineName

  /** Negative when `a` lies before `b`, 0 when equal. */
  compare(a: LogPosition, b: LogPosition): number

  /**
   * Runs several calls on one connection, within the bounds together. Errors of `work` are passed on as they are.
   */
  onNode<T>(target: NodeTarget, work: (node: NodeCalls) => Promise<T>, bounds?: CallBounds): Promise<T>

  /** Reads only; any login will do, what it may not see is null. */
  inspectNode(target: NodeTarget, bounds?: CallBounds): Promise<NodeFacts>

  /** Null for a database that was never claimed, or was released. */
  readIdentity(target: NodeTarget, bounds?: CallBounds): Promise<ShardIdentity | null>

  /**
   * Makes the database the shard's own: creates the `fleetshard` schema and its objects where they are missing and
   * writes the identity. Atomic against a second claim. For the same shard it is idempotent: term and epochMin
   * never go down, the sequence block must be the same.
   * @throws FleetError `wrong_database` when another shard or cluster owns it (named in the message);
   * `node_check_failed` for a replica, a read-only database, or a missing privilege
   */
  claim(target: NodeTarget, claim: ShardClaim, bounds?: CallBounds): Promise<ShardIdentity>

  /** Takes the identity away if it is that shard's. False when there was none. @throws FleetError `wrong_database` */
  release(target: NodeTarget, shard: ShardId, bounds?: CallBounds): Promise<boolean>

  /**
   * Raises epoch and term of the shard (lower ones are left as they are) and ends router connections, which may
   * hold an older map; they come back by themselves.
   * @throws FleetError `wrong_database`
   */
  setEpochMin(
    target: NodeTarget,
    state: { readonly shard: ShardId; readonly epochMin: Epoch; readonly term?: Term },
    bounds?: CallBounds,
  ): Promise<ShardIdentity>

  /**
   * Changes the catalog while it is certain that none of the tables holds a row on any of the shards and nobody can
   * write one: locks the tables on each shard, looks, announces, commits the new epoch there, ends router
   * connections, and calls `change`. Errors of `body` are passed on.
   * @throws FleetError `wrong_database`, `not_found` (a table is missing on a shard)
   */
  fenceEmptyTables(request: FenceRequest, body: FenceBody, bounds?: CallBounds): Promise<FenceResult>

  /** The first of the tables that holds a row, or null. Tables that don't exist hold none. */
  findRows(target: NodeTarget, tables: readonly string[], bounds?: CallBounds): Promise<string | null>

  /** All tables of the user's, by name. At most `describedTablesMax`. @throws FleetError `result_too_large` */
  describeTables(target: NodeTarget, bounds?: CallBounds): Promise<readonly TableFacts[]>

  /** Pure. One suggestion a table, partitions left out. */
  suggestTables(tables: readonly TableFacts[]): readonly TableSuggestion[]

  /**
   * Pure. Holds a table to the rules of sharding. `declared` has the other declared tables of the keyspace, for
   * foreign keys.
   * @throws FleetError `schema_refused`, whose hint has the way out
   */
  checkDeclaration(
    table: TableFacts,
    declaration: TableDeclaration,
    declared?: readonly TableDeclaration[],
  ): CheckedDeclaration

  /**
   * Sets the sequences behind the columns of these tables to the shard's block. A sequence that counts in the block
   * goes on where it is; one that never counted starts at the block's beginning.
   * @throws FleetError `schema_refused` for one that has counted outside the block over existing rows
   */
  alignSequences(
    target: NodeTarget,
    request: { readonly tables: readonly string[]; readonly sequenceBlock: number },
    bounds?: CallBounds,
  ): Promise<void>

  /**
   * Splits a script by the engine's real grammar and refuses what can't be run on every shard in one transaction.
   * @throws FleetError `sql_syntax`, `schema_refused`
   */
  parseSchema(sql: string): Promise<SchemaScript>

  /**
   * Runs a schema change in one plain transaction, checks the declarations and sets the sequences. With a `gid` it
   * leaves the marker of that change and runs nothing when the marker is there: safe to repeat. Statements are run
   * as they are, so a fresh shard gets them as stored.
   * @throws FleetError `schema_failed` (Postgres' own error, with its SQLSTATE), `schema_refused`, `wrong_database`
   */
  applySchema(
    target: NodeTarget,
    change: SchemaChange,
    options?: CallBounds & { readonly gid?: string },
  ): Promise<SchemaOutcome>

  /**
   * Runs a schema change and prepares it under `gid` for two-phase commit. Idempotent: a transaction prepared or
   * committed before under that gid is left alone, and null is returned since its tables can't be seen yet.
   * @throws FleetError `schema_failed` (also when it was rolled back before), `schema_refused`, `wrong_database`
   */
  prepareSchema(
    target: NodeTarget,
    gid: string,
    change: SchemaChange,
    bounds?: CallBounds,
  ): Promise<SchemaOutcome | null>

  /**
   * Ends a prepared transaction, if it is there, and tells what is the case then: never `prepared`. A rollback leaves
   * its marker also where there was nothing, so that a late prepare of a worker that slept fails.
   */
  finishPrepared(
    target: NodeTarget,
    gid: string,
    decision: 'commit' | 'rollback',
    bounds?: CallBounds,
  ): Promise<PreparedState>

  /** Gids of prepared transactions in this database that begin with `prefix`, with their age. */
  listPrepared(
    target: NodeTarget,
    prefix: string,
    bounds?: CallBounds,
  ): Promise<readonly { readonly gid: string; readonly ageMs: number }[]>
}

/** Calls of the engine on a connection that is open: they do and throw what its own of that name do. */
export interface NodeCalls {
  inspect(): Promise<NodeFacts>
  claim(claim: ShardClaim): Promise<ShardIdentity>
  release(shard: ShardId): Promise<boolean>
}

/** What an engine needs from outside. */
export interface EngineParts {
  readonly clock: Clock
}

/** Most user tables that one database may have to be described. */
export const describedTablesMax = 10_000
