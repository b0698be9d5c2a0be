// The records of the catalog and the shapes made from them that routers and clients hold.
// Plain JSON values: what is stored is exactly this.
import type { Role } from './access/mod.ts'
import type { Epoch, JobId, KeyspaceName, NodeId, RouterId, ShardId, Term } from './ids.ts'

/** `standby` follows like a replica but serves no reads. */
export type NodeRole = 'primary' | 'replica' | 'standby'

/** One database server of a shard. Never a connection string: the password lies behind `secretRef`. */
export interface NodeRecord {
  readonly id: NodeId
  readonly role: NodeRole
  /** Host name, address, or the absolute folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  /** Where the password is: `catalog:<name>`, `env:<NAME>`, `file:<path>`; null for none. */
  readonly secretRef: string | null
  /** libpq's sslmode; `disable` on Unix sockets and loopback. */
  readonly tls: 'disable' | 'require' | 'verify-full'
  readonly region: string | null
  readonly zone: string | null
  /** Id of the agent that supervises the server; null for servers run by others. */
  readonly agent: string | null
}

/** What a shard may serve: `active` all, `readonly` reads, `migrating` all (a job works on it), `inactive` none. */
export type ShardStatus = 'active' | 'migrating' | 'readonly' | 'inactive'

/**
 * Statements for the shard wait until the next epoch: its ranges are about to change hands, and writes are refused by
 * the database itself. Reads that may be older go on.
 */
export interface ShardHold {
  readonly job: JobId
  /** The job's attempt at a cutover. */
  readonly attempt: number
}

/**
 * The shard still has rows of ranges that it has given away; a job removes them. Until then only statements that are
 * tied to keys may run there: any other would see those rows, too.
 */
export interface ShardLeftovers {
  readonly job: JobId
}

/** One shard: its ranges, its servers, its leadership. One catalog record each. */
export interface ShardRecord {
  readonly id: ShardId
  readonly name: string
  readonly keyspace: KeyspaceName
  readonly status: ShardStatus
  /** Why the shard is not active, for people; null when there is nothing to say. */
  readonly statusReason: string | null
  /** +1 at every change of the record; the value of If-Match. */
  readonly version: number
  readonly term: Term
  /**
   * The shard's tokens on the 64-bit ring, ascending, as base64 of big-endian 64-bit words.
   * A token owns (previous token of the whole ring, token]; the lowest also owns what lies above the highest.
   */
  readonly vnodes: string
  readonly nodes: readonly NodeRecord[]
  /** Sequences of this shard count in [block * 2^40 + 1, (block + 1) * 2^40). Never given twice in a keyspace. */
  readonly sequenceBlock: number
  /** Absent but for the moment of a cutover. */
  readonly hold?: ShardHold
  /** Absent but for the time after a part of the shard has moved away. */
  readonly leftovers?: ShardLeftovers
  /** ISO 8601. */
  readonly createdAt: string
}

export type HashName = 'murmur3' | 'xxhash' | 'postgres' | 'fnv1a'
/** `ring`: vnodes on a 64-bit ring. `modulo`: fnv1a % number of shards is the id of the shard (static mode only). */
export type Strategy = 'ring' | 'modulo'
export type Consistency = 'strong' | 'eventual'

/**
 * What a failover may cost. `protection`: nothing, and writes wait when too few replicas are there. `availability`:
 * nothing as long as a replica is there; without one writes go on after a while. `performance`: writes wait for no
 * replica; what a failover loses is bounded and told.
 */
export type Durability = 'protection' | 'availability' | 'performance'

/** One logical database. */
export interface KeyspaceRecord {
  readonly name: KeyspaceName
  readonly engine: 'postgres'
  readonly hash: HashName
  readonly strategy: Strategy
  readonly defaultConsistency: Consistency
  /** Absent: each shard by the number of its replicas, `availability` with two or more, else `performance`. */
  readonly durability?: Durability
  /** The block that the next shard gets; blocks are never given twice. */
  readonly nextSequenceBlock: number
  readonly version: number
  readonly createdAt: string
}

/** Types that a shard key column may have; each has one canonical text form. */
export type KeyType = 'text' | 'int2' | 'int4' | 'int8' | 'uuid' | 'bytea'

/** `sharded`: rows by key. `reference`: all rows on every shard. `global`: all rows on one shard. */
export type TableKind = 'sharded' | 'reference' | 'global'

/** One declared table. */
export interface TableRecord {
  readonly keyspace: KeyspaceName
  /** Schema-qualified, as Postgres prints it: `public.users`. */
  readonly name: string
  readonly kind: TableKind
  /** Set for sharded tables, null for others. */
  readonly keyColumn: string | null
  readonly keyType: KeyType | null
  /** The shard that holds all rows of a global table; null for others. */
  readonly homeShard: ShardId | null
  /** The statements that create it on a fresh shard; null for an adopted table. */
  readonly ddl: string | null
  readonly version: number
  readonly createdAt: string
}

/** Where a schema job stands; see workers/schema/SPEC.md. */
export type JobStatus = 'pending' | 'running' | 'completed' | 'failed' | 'cancelled'

/** A persisted workflow. `state` and `detail` belong to the worker of that `type`. */
export interface JobRecord {
  readonly id: JobId
  readonly type: string
  readonly keyspace: KeyspaceName
  readonly status: JobStatus
  /** The worker's own, finer state. */
  readonly state: string
  /** 0 to 1. */
  readonly progress: number
  /** Input and working state of the worker, JSON. */
  readonly detail: unknown
  readonly errorCode: string | null
  readonly errorMessage: string | null
  readonly version: number
  readonly createdAt: string
  readonly startedAt: string | null
  readonly completedAt: string | null
  /** W3C traceparent of the request that asked for it, where that is traced. */
  readonly trace?: string
}

/** Nodes that must confirm a commit: `required` of the members. */
export interface CommitQuorum {
  readonly members: readonly NodeId[]
  readonly required: number
}

/**
 * Which replicas confirm the commits of a shard. Several sets while one is taken over from another: each may be in
 * force, so an election must satisfy all of them. Null: no replica is waited for.
 */
export interface QuorumRecord {
  readonly keyspace: KeyspaceName
  readonly shard: ShardId
  /** One, or more while it changes; the last is the one that is wanted. */
  readonly sets: readonly (CommitQuorum | null)[]
  /** ISO 8601; set while `availability` goes on without its replicas. */
  readonly degradedSince: string | null
  readonly version: number
}

/** A running router, or a client in direct mode, registered under a lease. */
export interface RouterRecord {
  readonly id: RouterId
  /** Set for a client in direct mode, whose host, port and version are those of the router that registers it. */
  readonly kind?: 'direct'
  readonly host: string
  readonly httpPort: number
  readonly pid: number
  readonly version: string
  readonly region: string | null
  readonly zone: string | null
  /** Per keyspace, the epoch that the router works with. */
  readonly ackedEpochs: Readonly<Record<string, Epoch>>
  readonly startedAt: string
}

/** An agent that can start servers, registered under a lease. */
export interface AgentRecord {
  readonly id: string
  readonly url: string
  /** Where the bearer token is; same form as a node's secretRef. */
  readonly tokenRef: string | null
  readonly startedAt: string
}

/** A token of the API. The token itself is not kept: its owner has it. */
export interface TokenRecord {
  /** Public part of the token. */
  readonly id: string
  /** Who its owner is, in lists and in the audit log; no two tokens have the same. */
  readonly name: string
  /** SHA-256 of the secret part, in hexadecimal. */
  readonly digest: string
  /** `viewer`, `operator`, `admin`, `read:KEYSPACE`, `write:KEYSPACE`; `*` stands for every keyspace. */
  readonly scopes: readonly string[]
  readonly createdBy: string
  readonly createdAt: string
  /** Null for never. */
  readonly expiresAt: string | null
  readonly version: number
}

/** Somebody who has signed in with a browser, until he signs out or his time is over. */
export interface SessionRecord {
  /** Public part of what the browser sends. */
  readonly id: string
  /** SHA-256 of the secret part, in hexadecimal. */
  readonly digest: string
  /** `sub` of the identity token: what the issuer knows him by. */
  readonly subject: string
  /** His name for people; null where the issuer tells none. */
  readonly name: string | null
  readonly role: Role
  readonly createdAt: string
  readonly expiresAt: string
  readonly version: number
}

/** A keyspace at one epoch: all that placement and routing need. */
export interface KeyspaceSnapshot {
  readonly keyspace: KeyspaceRecord
  readonly epoch: Epoch
  readonly shards: readonly ShardRecord[]
  readonly tables: readonly TableRecord[]
}
