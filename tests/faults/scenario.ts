// What a scenario is: a cluster, load on it, faults meanwhile, and what has to hold at the end. Families of them are
// listed in scenarios/mod.ts, and run by `npm run faults`.
import type { ShardMap } from '@fleetshard/core'
import type { Random } from '../fuzz/random.ts'
import type { FaultCluster, FaultClusterOptions } from './kit/cluster.ts'
import type { Observer } from './kit/observer.ts'
import type { Ledger } from './ledger/ledger.ts'

/** What the parts of a running scenario share. */
export interface World {
  readonly cluster: FaultCluster
  readonly random: Random
  readonly ledger: Ledger
  readonly observer: Observer
  /** Aborts when the time of the scenario is over. */
  readonly signal: AbortSignal
  /** How often a fault that comes in rounds is made. */
  readonly rounds: number
  /** The map of keyspace `default` as it was a moment ago. */
  readonly map: () => ShardMap
  /** Counts something that the report shows. */
  readonly count: (what: string) => void
  /** One line for whoever watches, and for the log beside those of the processes. */
  readonly say: (text: string) => void
  /** Something that must not be. */
  readonly breach: (text: string) => void
}

/** Something that goes on until the world's signal aborts, or is over before. A rejection ends the scenario. */
export type Activity = (world: World) => Promise<void>

/** One scenario. */
export interface Scenario {
  readonly name: string
  /** One line for people. */
  readonly what: string
  readonly cluster: FaultClusterOptions
  /** DDL and declarations of the tables that the load writes. */
  readonly tables: { readonly tables: readonly object[]; readonly ddl: string }
  /** Minutes that it takes when nobody says otherwise; less when its faults are over before. */
  readonly minutes: number
  /** Rounds of its faults when nobody says how long it is to take; as many as there is time for if left out. */
  readonly rounds?: number
  /** Why it cannot be run on this machine; null when it can. */
  readonly obstacle?: () => string | null
  /** Longest that nobody may be acknowledged anything; no matter if left out. */
  readonly silenceMsMax?: number
  readonly load: readonly Activity[]
  readonly faults: readonly Activity[]
  /** After the load has ended and everything was mended: what beside the ledger must hold, told by `breach`. */
  readonly expect: Activity
}

/** What came of a scenario. */
export interface ScenarioReport {
  readonly name: string
  readonly seconds: number
  readonly acked: number
  readonly unknown: number
  readonly refused: number
  readonly lost: number
  readonly duplicated: number
  readonly misplaced: number
  readonly stale: number
  readonly denied: number
  /** How often a server acknowledged a write after its successor had acknowledged one. */
  readonly two_primaries: number
  /** The longest that one write waited for its answer. */
  readonly held_ms_max: number
  /** The longest time in which no write was acknowledged to anybody. */
  readonly rto_ms: number
  /** What the scenario counted: kills, cutovers, … */
  readonly counts: Readonly<Record<string, number>>
  /** Everything else that must not be; the first of many. */
  readonly breaches: readonly string[]
  readonly holds: boolean
  /** Where logs and data were left; null when all is well. */
  readonly folder: string | null
}
