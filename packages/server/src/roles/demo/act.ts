// What an act of the demo is: one thing that the product can do, done on the running cluster, measured and checked.
import type { Clock, ShardMap } from '@fleetshard/core'
import type { AdminClient } from '@fleetshard/client/admin'
import type { Agent } from '../../agent/mod.ts'
import type { RouterClient } from '../../cli/mod.ts'
import type { DataSet } from './data-set.ts'

/** A value of the JSON result. */
export type Figure =
  | string
  | number
  | boolean
  | null
  | readonly Figure[]
  | { readonly [name: string]: Figure }

/** What acts work with. */
export interface Stage {
  readonly clock: Clock
  /** Aborts at Ctrl-C, and when the cluster fails. */
  readonly signal: AbortSignal
  readonly admin: AdminClient
  readonly router: RouterClient
  /** Base URL of the router. */
  readonly routerUrl: string
  /** Files by which the client reaches it under TLS; null for plain HTTP. */
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string } | null
  /** Of the cluster's operator. */
  readonly token: string | null
  /** Supervisor of the cluster's servers, and the id of the one with the catalog. */
  readonly agent: Agent
  readonly catalogServer: string
  readonly keyspace: string
  readonly dataSets: readonly DataSet[]
  /** Replicas of each shard. */
  readonly replicas: number
  /** In how many steps the progress of long work is told. */
  readonly progressSteps: number
  /** The shard map as the catalog has it now. */
  map(): Promise<ShardMap>
}

/** What came of an act. */
export interface ActOutcome {
  /** Fields of the JSON result; each name belongs to one act. */
  readonly figures: { readonly [name: string]: Figure }
  /** What people are shown. */
  readonly lines: readonly string[]
  /** Promises that were not kept; the demo holds when no act has one. */
  readonly failures: readonly string[]
}

/** One act. A new capability is a file with one of these and a line in acts.ts. */
export interface Act {
  /** Its name in `seconds` of the JSON result. */
  readonly name: string
  readonly title: string
  /** @throws FleetError of whatever keeps it from being played at all */
  run(stage: Stage, say: (text: string) => void): Promise<ActOutcome>
}
