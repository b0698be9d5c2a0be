// What the sessions of a router share: the way to plans, maps and shards, and what is counted.
import type { Clock, ShardMap, ShardRecord } from '@fleetshard/core'
import type { DeadlineSweeper, HoldBuffer, ShardAccess, ShardLogin } from '@fleetshard/routing/execute'
import type { StatementCache, StatementFacts } from '@fleetshard/routing/plan'
import type { Logger, Tracing } from '../../../runtime/mod.ts'
import type { SlowStatements } from '../slow-statements.ts'
import type { Greetings } from './greeting.ts'
import type { StatementStats } from './statement-stats.ts'
import type { WireStatements } from './wire-statements.ts'

type StatementKind = StatementFacts['kind']

/** The parts of a router that sessions stand on. */
export interface SessionEnvironment {
  readonly log: Logger
  readonly clock: Clock
  readonly sweeper: DeadlineSweeper
  readonly statements: StatementCache
  readonly wireStatements: WireStatements
  /** The map of a keyspace as it is now. @throws FleetError `not_found`, `catalog_unavailable` */
  readonly map: (keyspace: string) => ShardMap
  /** Resolves when the keyspace's map is newer than that one, or the time for it is over. */
  readonly newerMap: (map: ShardMap) => Promise<void>
  /** Where statements wait for shards that are being moved. */
  readonly holds: HoldBuffer
  /** The way to a shard as a role of its databases; null for that of the node records. */
  readonly access: (shard: ShardRecord, login: ShardLogin | null) => ShardAccess
  readonly metrics: SessionMetrics
  readonly slow: SlowStatements
  /** Null where there are no traces. */
  readonly tracing: Tracing | null
  readonly stats: StatementStats
  readonly greetings: Greetings
}

/** What sessions count. */
export interface SessionMetrics {
  /** A statement went to a node of that role, in a lane or alone. */
  routed(role: 'primary' | 'replica', way: 'lane' | 'alone'): void
  /** A statement was sent again, because of that. */
  retried(reason: 'stale_map' | 'lost' | 'lane'): void
  /** A group of messages or a Query was answered; `code` is `ok` or the SQLSTATE. */
  wireAnswered(code: string, elapsedMs: number): void
  /** A shard has answered; `sqlstate` is empty for success. */
  shardAnswered(shard: ShardRecord, elapsedMs: number, rows: number, sqlstate: string): void
  /** It ran a statement of that kind; `isPart`: as a part of one over all shards. */
  shardRan(shard: ShardRecord, kind: StatementKind, isPart: boolean): void
  /** A statement was refused since it concerns several shards. */
  crossShardRefused(): void
}
