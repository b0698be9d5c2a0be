// The words of the agent: what it is given, what it tells of its servers, what it keeps on disk.
import type { Clock } from '@fleetshard/core'
import type { AgentClient, Control, Desired, ServerState, SyncStandbys } from '../agent-api/mod.ts'
import type { Logger } from '../runtime/mod.ts'
import type { Listening } from './listening.ts'

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
  /** Asked before a primary is started; without it every primary starts. */
  readonly guard?: BootGuard | undefined
  /** Further settings of every server, as in postgresql.conf; they outrank the agent's own. */
  readonly settings?: Readonly<Record<string, string | number>> | undefined
  /** 127.0.0.1 by default, plain. */
  readonly listening?: Listening | undefined
  /** Other agents, whose servers may be followed by those of this one; none by default. */
  readonly peers?: Peers | undefined
}

/** A client of the agent of that id. @throws FleetError `agent_unavailable` for one that is not registered */
export type Peers = (agent: string, signal: AbortSignal) => Promise<AgentClient>

/** Where a server of another agent is, as that agent told it. */
export interface UpstreamPlace {
  readonly agent: string
  readonly host: string
  readonly port: number
}

/** What is asked about before a primary is started: may it still lead? */
export interface GuardedServer {
  readonly id: string
  readonly group: string
  /** The newest term that the agent has heard of for it. */
  readonly term: number
}

/**
 * `boot`: nobody has supervised the server since it ran last, so that a promotion may have passed it by. `restart`: this
 * agent did all the time, and would have been told to fence it.
 */
export type GuardOccasion = 'boot' | 'restart'

/**
 * Says whether a primary may start. `superseded`: another one leads, or is about to; the server is fenced. May wait as
 * long as it takes to know; the signal aborts with an order that does not want to wait.
 */
export type BootGuard = (
  server: GuardedServer,
  occasion: GuardOccasion,
  signal: AbortSignal,
) => Promise<'lead' | 'superseded'>

/** How a server is connected to over TCP: plain on this machine, else under TLS, verified by name and authority. */
export type ServerTlsMode = 'disable' | 'verify-full'

/** How to reach and log in to a server. The password is why this is never logged. */
export interface ServerEndpoint {
  readonly host: string
  readonly port: number
  readonly tls: ServerTlsMode
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
  readonly tls: ServerTlsMode
  readonly socketDir: string
  readonly database: string
  readonly user: string
  readonly major: number
  readonly term: number
  readonly detached: boolean
  readonly sync: SyncStandbys | null
  readonly restarts: number
  readonly startFailures: number
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
  /** The agent that runs `of`, where it is another one. */
  readonly ofAgent?: string | undefined
  readonly term?: number | undefined
  /** Only its place: its data are made by another order. */
  readonly begin?: boolean | undefined
}

/** What a promotion tells. */
export interface PromotionReport {
  readonly server: ServerStatus
  readonly timeline: number
  /** Text form of pg_lsn. */
  readonly lsn: string
}

/** What a former primary has become, and how. */
export interface RejoinOutcome {
  readonly server: ServerStatus
  readonly way: 'followed' | 'rewound' | 'cloned'
}

/** A server looked at from its own host. */
export interface ServerLiveness {
  readonly server: ServerStatus
  readonly process: 'running' | 'frozen' | 'none'
  readonly answers: boolean
}

/** A server that was fenced. */
export interface FenceOutcome {
  readonly server: ServerStatus
  readonly control: Control | null
}
