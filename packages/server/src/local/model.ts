// The words of the embedded cluster.
import type { Clock, NodeRecord } from '@fleetshard/core'
import type { Agent, BootGuard } from '../agent/mod.ts'
import type { Logger } from '../runtime/mod.ts'

/** What a cluster on this machine is made from. */
export interface LocalClusterOptions {
  /** Folder of everything; a cluster that was there is started again with its data. */
  readonly dataDir: string
  readonly log: Logger
  readonly clock: Clock
  /** Node groups to have at least; those made later are kept. 2 by default. */
  readonly shards?: number | undefined
  /** Replicas of each group made now. 1 by default. */
  readonly replicas?: number | undefined
  /** False: no catalog server, for tests of node groups alone. */
  readonly catalog?: boolean | undefined
  /** Folder with `initdb` and `postgres`; outranks FLEETSHARD_PG_BIN and the embedded package. */
  readonly pgBin?: string | undefined
  /** Value of FLEETSHARD_PG_BIN. */
  readonly pgBinFallback?: string | undefined
  /** First port of the servers; 15432 by default. */
  readonly portStart?: number | undefined
  /** Tests only: no fsync. */
  readonly durability?: 'full' | 'throwaway' | undefined
  /** Tests only: the servers end with this process. */
  readonly dieWithParent?: boolean | undefined
  /** Further settings of every server. */
  readonly settings?: Readonly<Record<string, string | number>> | undefined
  /** Makes what is asked before a primary is started again, once the catalog's server runs. */
  readonly guardOf?: ((catalog: LocalServer) => BootGuard) | undefined
  /** Called when a server has come up, for progress on a screen. */
  readonly onProgress?: ((step: LocalProgress) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** One step of the start that is done. */
export interface LocalProgress {
  readonly server: string
  readonly done: number
  readonly total: number
}

/** One server of the cluster. */
export interface LocalServer {
  /**
   * As it goes into a shard record: host 127.0.0.1, role, database, user `app`, `secretRef` of the form
   * `file:<path>` (a file of mode 0600 that holds the password alone), `agent` = `local`.
   */
  readonly node: NodeRecord
  /** Folder of the Unix socket, mode 0700; usable as host by the same user and root. */
  readonly socketDir: string
  readonly password: string
}

/** One shard's servers. `name` is `shard-1`, `shard-2` … or as given to `addGroup`. */
export interface LocalGroup {
  readonly name: string
  readonly primary: LocalServer
  readonly replicas: readonly LocalServer[]
}

/** The embedded cluster: a catalog server and node groups under an agent of this process. */
export interface LocalCluster extends AsyncDisposable {
  readonly agent: Agent
  /** Full version of the servers' Postgres, `18.4`. */
  readonly postgresVersion: string
  /** The catalog's server; its database is `catalog`. @throws FleetError `not_found` without one */
  catalog(): LocalServer
  /** All groups by name, as they are now. */
  groups(): readonly LocalGroup[]
  /** @throws FleetError `not_found` */
  group(name: string): LocalGroup
  /** Makes a group, or returns it when it is there. Resolves when its replicas stream. */
  addGroup(name: string, options?: AddGroupOptions): Promise<LocalGroup>
  /** Stops and removes a group with its data. Idempotent. */
  removeGroup(name: string): Promise<void>
  /** Stops all servers cleanly, primaries first, and releases the folder. Idempotent. */
  stop(): Promise<void>
}

/** What `addGroup` may be told. */
export interface AddGroupOptions {
  /** 1 by default. */
  readonly replicas?: number | undefined
  readonly signal?: AbortSignal | undefined
}
