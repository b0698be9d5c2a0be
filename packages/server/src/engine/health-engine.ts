// The port of the health controller: what it asks of the servers of a shard, and the little it writes there. Each call
// but a prober's is a new connection, so that what answers is what a client would meet. Log positions are Postgres' own.
import type { Epoch, Lsn, ShardId, Term } from '@fleetshard/core'
import type { CallBounds, NodeTarget } from './shard-engine.ts'

/** A replica as its upstream sees it. */
export interface SenderReport {
  /** The replica's application_name, which is the id of its node where an agent runs it. */
  readonly name: string
  readonly state: string
  /** Durable there; null when nothing was told yet. */
  readonly flushed: Lsn | null
}

/** A replica's own end of its stream. */
export interface ReceiverReport {
  readonly status: string
  /** Since the upstream was last heard. */
  readonly silentMs: number
}

/** What one server answered to a probe, which writes nothing. */
export interface NodeProbe {
  readonly inRecovery: boolean
  /** Of the log that is written; null for a replica that receives none. */
  readonly timeline: number | null
  /** Written by a primary; the greatest of received and replayed of a replica. */
  readonly position: Lsn | null
  /** Replayed by a replica; null for a primary. */
  readonly replayed: Lsn | null
  /** Null for a primary, and for a replica that receives nothing. */
  readonly receiver: ReceiverReport | null
  /** Empty for a replica that nobody follows. */
  readonly senders: readonly SenderReport[]
  /**
   * How old the newest transaction is that a replica shows; 0 when it has replayed all and still receives; null for a
   * primary, and for a replica that has replayed none.
   */
  readonly lagMs: number | null
}

/** What a server bears, for metrics. */
export interface NodeFigures {
  /** Of clients, in all its databases. */
  readonly connections: number
  readonly connectionsLimit: number
  /** Of the shard's database. */
  readonly databaseBytes: number
  /** What the furthest of its slots holds back. */
  readonly retainedWalBytes: number
}

/** How far a replica has come, read when it receives nothing any more. */
export interface ReplicaPosition {
  /** False: it is a primary. */
  readonly inRecovery: boolean
  /** True while it still has a receiver: what is read may change. */
  readonly receiving: boolean
  /** Newest timeline of the log that it holds. */
  readonly timeline: number
  /** Null after a restart during which nothing was received. */
  readonly received: Lsn | null
  readonly replayed: Lsn | null
  /** True when replay has used up the log that it holds. */
  readonly exhausted: boolean
}

/** Who must have a write before it counts. */
export interface WriteQuorum {
  readonly members: readonly string[]
  readonly required: number
}

/** Looks at one server again and again. */
export interface NodeProber extends Disposable {
  /**
   * As `HealthEngine.probe`, over a connection that is kept between the calls. Answers only where the server takes a new
   * connection as well: sessions go on while the process that lets them in stands still.
   */
  probe(bounds: Required<CallBounds>): Promise<NodeProbe>
  /** As they were read last, once a minute; null before the first time, and where that failed. */
  readonly figures: NodeFigures | null
}

/** Any number of calls at once. All throw FleetError `shard_unavailable`, `node_check_failed`, `deadline_exceeded`. */
export interface HealthEngine {
  probe(target: NodeTarget, bounds?: CallBounds): Promise<NodeProbe>
  /** Does no I/O until it is asked. @param firstMs what the server bears is first read after that time */
  prober(target: NodeTarget, firstMs: number): NodeProber
  readPosition(target: NodeTarget, bounds?: CallBounds): Promise<ReplicaPosition>
  /**
   * Raises term and epoch in the new primary's database (lower ones are left as they are), durable there, without
   * waiting for a replica: nothing is routed to it yet. @throws FleetError `wrong_database`
   */
  assertTerm(
    target: NodeTarget,
    state: { readonly shard: ShardId; readonly term: Term; readonly epochMin: Epoch },
    bounds?: CallBounds,
  ): Promise<void>
  /**
   * Writes to the log and waits until so many of the members have it; without a quorum until it is durable there.
   * Returns false when that does not happen within the bounds.
   */
  confirmWrite(target: NodeTarget, quorum: WriteQuorum | null, bounds?: CallBounds): Promise<boolean>
  /** So that the one at shutdown is short. Does nothing where the login may not. */
  checkpoint(target: NodeTarget, bounds?: CallBounds): Promise<void>
  /** Sessions of routers and direct clients that are in a statement or a transaction. */
  busySessions(target: NodeTarget, bounds?: CallBounds): Promise<number>
}
