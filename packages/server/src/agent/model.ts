// The words of the agent: what it is given, what it tells of its servers, what it keeps on disk.
import type { Clock } from '@fleetshard/core'
import type { Desired, ServerState } from '../agent-api/mod.ts'
import type { Logger } from '../runtime/mod.ts'

/** Role that owns the databases, replicates, and is no superuser: what the product logs in as. */
export const applicationRole = 'app'
/** Superuser that only the agent uses, and only over the Unix socket. */
export const superuserRole = 'postgres'
/** Database of a shard unless told otherwise. */
export const defaultDatabase = 'app'

/** `full`: what a database must do. `throwaway`: no fsync, for tests whose data dies with them. */
export type Durability = 'full' | 'throwaway'

/** What an agent is made from. Everything has a default but the folder, the log and the clock. */
export interface AgentOptions {
  /** Folder of everything that the agent owns; made when it is not there. */
  readonly dataDir: string
  readonly log: Logger
  readonly clock: Clock
  /** Folder with `initdb` and `postgres` (`--pg-bin`); outranks everything. */
  readonly pgBin?: string | undefined
  /** Value of FLEETSHARD_PG_BIN, read by the configuration. */
  readonly pgBinFallback?: string | undefined
  /** First port that servers get; the next free ones follow. Below 32768. */
  readonly portStart?: number | undefined
  readonly durability?: Durability | undefined
  /** Servers end when this process ends, in whatever way. For tests; needs setpriv, ignored without it. */
  readonly dieWithParent?: boolean | undefined
  /** Size of a write-ahead log segment of new servers: 16, or less for small ones. */
  readonly walSegmentMegabytes?: 1 | 2 | 4 | 8 | 16 | undefined
  /** Further settings of every server, as in postgresql.conf; they outrank the agent's own. */
  readonly settings?: Readonly<Record<string, string | number>> | undefined
}

/** How to reach and log in to a server. The password is why this is never logged. */
export interface ServerEndpoint {
  readonly host: string
  readonly port: number
  /** Folder of the Unix socket; usable as `host`. */
  readonly socketDir: string
  readonly database: string
  readonly user: string
  readonly password: string
}

/** One server as the agent sees it, without secrets. */
export interface ServerStatus {
  readonly id: string
  readonly kind: 'primary' | 'replica'
  /** The server that it follows; null for a primary. */
  readonly of: string | null
  readonly group: string
  readonly desired: Desired
  readonly state: ServerState
  readonly pid: number | null
  readonly host: string
  readonly port: number
  readonly socketDir: string
  readonly database: string
  readonly user: string
  readonly major: number
  readonly term: number
  readonly restarts: number
  readonly lastError: string | null
}

/** Order for a new primary. */
export interface PrimarySpec {
  readonly id: string
  /** Its id by default. */
  readonly group?: string | undefined
  /** `app` by default. */
  readonly database?: string | undefined
  readonly term?: number | undefined
}

/** Order for a new replica: clone `of`, then follow it. */
export interface ReplicaSpec {
  readonly id: string
  readonly of: string
  readonly term?: number | undefined
}

/** What a promotion tells. */
export interface PromotionReport {
  readonly server: ServerStatus
  readonly timeline: number
  /** Text form of pg_lsn. */
  readonly lsn: string
}
