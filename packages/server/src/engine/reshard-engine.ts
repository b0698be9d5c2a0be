// The port of a reshard job: what its worker does to the databases of sources and targets. One engine implements it
// today (postgres/reshard/); log positions and transaction ids are Postgres' own.
import {
  parseKey,
  type CanonicalKey,
  type Epoch,
  type KeyType,
  type Lsn,
  type ShardId,
  type TableRecord,
} from '@fleetshard/core'
import type { NodeTarget } from './shard-engine.ts'
import type { XidSnapshot } from './postgres/replication/xid.ts'
import type { ReplicationStream } from './postgres/replication/stream.ts'

export { unchanged, type PgOutputMessage, type Tuple, type TupleValue } from './postgres/pgoutput/messages.ts'
export { isVisible, parseXidSnapshot, widenXid, type XidSnapshot } from './postgres/replication/xid.ts'
export type { ReplicationStream, StreamEvent } from './postgres/replication/stream.ts'

/** A column that is moved; generated ones are made anew by the target. */
export interface MovedColumn {
  readonly name: string
  /** As Postgres prints it, with modifiers. */
  readonly type: string
}

/** How a column places its rows: as a key of that type, or as the hash of one. NULL as a hash: on every shard. */
export type PlacedBy = KeyType | 'hash'

/** What places a row: its key, or the hash of one as decimal text; null is a hash that is not there. */
export type PlacingKey = CanonicalKey | null

/** Where a row belongs, by position of the targets; none when it stays where it is. Allocates nothing. */
export type PlaceOf = (key: PlacingKey) => readonly number[]

/** The key of a row from its column's text. @throws FleetError `invalid_shard_key` */
export function placingKey(value: string | null, by: PlacedBy): PlacingKey {
  if (by !== 'hash') return parseKey(value, by)
  return value === null ? null : parseKey(value, 'text')
}

/** Our own table of what was done under idempotency keys: it moves as a sharded table does. */
export const keysTable = 'fleetshard.idempotency'

/** A table that is moved, as preflight found it. */
export interface MovedTable {
  /** Qualified, as its record has it. */
  readonly name: string
  readonly kind: 'sharded' | 'reference'
  /** In the order of the stream. */
  readonly columns: readonly MovedColumn[]
  /** Positions in `columns`, in the order of the primary key. */
  readonly primaryKey: readonly number[]
  /** Position of the shard key in `columns`, with its type; null for reference tables. */
  readonly shardKey: { readonly column: number; readonly type: PlacedBy } | null
  /** How the first column of the primary key is ordered outside of Postgres; `whole`: it is not, one unit has all. */
  readonly unitsBy: 'integer' | 'uuid' | 'whole'
  /** The log tells the shard key of a row that is deleted or changed. */
  readonly tellsKey: boolean
  /** Every unique constraint has the shard key in it: rows of different keys cannot clash. */
  readonly isUniqueByKey: boolean
  /** It has triggers of the user's. */
  readonly hasTriggers: boolean
  /** Tables with foreign keys to it, itself among them. */
  readonly referencedBy: readonly string[]
  /** Changes with any change of the table that the job could not follow. */
  readonly signature: string
  readonly rowsEstimate: number
  readonly bytes: number
}

/** A reason why a job cannot begin, with what to do about it. */
export interface Obstacle {
  readonly message: string
  readonly remedy: string
}

/** What is made on a source, by name. */
export interface SourceNames {
  readonly slot: string
  readonly publication: string
}

/** A part of a table by the first column of its primary key, as text: after `after`, up to and with `upTo`. */
export interface UnitRange {
  readonly after: string | null
  readonly upTo: string | null
}

/** A unit as a target has recorded it. */
export interface UnitRecord {
  readonly source: ShardId
  readonly table: string
  readonly number: number
  readonly range: UnitRange
  /** Text of the snapshot. */
  readonly snapshot: string
  readonly rows: number
}

/** Where a job's part of a target stands. */
export interface TargetProgress {
  /** Commit position of the last transaction applied, for each source. */
  readonly applied: ReadonlyMap<ShardId, Lsn>
  readonly units: readonly UnitRecord[]
}

/** A target as a run of a worker writes to it. */
export interface TargetWriter extends AsyncDisposable {
  /** Units that are there, and positions. */
  progress(): Promise<TargetProgress>
  /** Removes a unit and its rows: those in its range, and of them, with `isOf`, those whose key is one of its source. */
  removeUnit(unit: UnitRecord, table: MovedTable, isOf: ((key: PlacingKey) => boolean) | null): Promise<void>
  /** Current values of the given columns as text, of the rows with these primary keys; null for a row that is not there. */
  readRows(
    table: MovedTable,
    keys: readonly (readonly string[])[],
    columns: readonly number[],
  ): Promise<readonly ((string | null)[] | null)[]>
  /** Applies within the transaction that `finish` ends; begins one where none is open. */
  apply(changes: readonly TableChanges[]): Promise<void>
  /** Stores the position and commits what was applied. */
  finish(source: ShardId, applied: Lsn): Promise<void>
}

/** What becomes of rows of one table on one target: all of `remove` go, then all of `insert` come. */
export interface TableChanges {
  readonly table: MovedTable
  /** Primary keys as texts. */
  readonly remove: readonly (readonly string[])[]
  readonly insert: readonly (readonly (string | null)[])[]
}

/** A unit to be copied. */
export interface UnitCopy {
  readonly source: ShardId
  readonly table: MovedTable
  readonly number: number
  readonly range: UnitRange
  /** Targets by position; a reference table goes to all of them. */
  readonly targets: readonly TargetWriter[]
  readonly place: PlaceOf
  /**
   * Judges a snapshot before it is used: false to have another one taken a little later. Called until it is true.
   */
  readonly mayUse: (snapshot: XidSnapshot) => boolean
}

/** A unit that every target has. */
export interface CopiedUnit {
  readonly snapshot: XidSnapshot
  readonly rows: number
  readonly bytes: number
}

/** A source as a run of a worker reads it. */
export interface SourceReader extends AsyncDisposable {
  /** The next unit's end, about `rows` further on; null when that is the rest. */
  unitEnd(table: MovedTable, after: string | null, rows: number): Promise<string | null>
  copyUnit(copy: UnitCopy, signal: AbortSignal): Promise<CopiedUnit>
  /** What has been written so far. */
  position(): Promise<Lsn>
  /** The snapshot as of now. */
  snapshot(): Promise<XidSnapshot>
  /** A transaction in the log whose only trace is this message. */
  mark(content: string): Promise<void>
  readRows: TargetWriter['readRows']
}

/** Sum of the 64-bit hashes of a range of rows; sums of parts add up to the sum of the whole. */
export interface RangeSum {
  readonly rows: number
  /** Decimal. */
  readonly sum: string
}

/** Rows by primary key (as one text) with their sums; one that is to be on several targets as `sum and sum`. */
export type RowSums = ReadonlyMap<string, string>

/** How a source bears a job. */
export interface SourceFigures {
  /** Log that the slot holds back. */
  readonly retainedWalBytes: number
  /** Log written that the targets have not confirmed. */
  readonly lagBytes: number
  /** Of the physical replica that is furthest behind; null without one. */
  readonly replicaLagBytes: number | null
  /** What the server may still keep for slots; null where nothing bounds it. */
  readonly walBytesLeft: number | null
}

/** The fence of one attempt on one source. */
export interface SourceFence {
  readonly shard: ShardId
  readonly job: string
  /** Of the worker; one that a later run has overtaken places no fence. */
  readonly run: number
  /** Fences are named after it, so that nobody drops that of a later one. */
  readonly attempt: number
  readonly tables: readonly MovedTable[]
  /** Content of the message that ends the stream of what was allowed. */
  readonly message: string
  readonly lockTimeoutMs: number
}

/** What came of a fence. `changed`: the tables are not what they were; nothing was done. */
export type FencePlaced =
  | { readonly kind: 'placed' }
  | { readonly kind: 'busy'; readonly reason: string }
  | { readonly kind: 'changed' }

/** A connection that waits for the moment of the cutover, so that nothing but its statements takes time then. */
export interface CutoverSession extends AsyncDisposable {
  /**
   * On a source, before the hold: makes what the fence needs, and looks at the tables.
   * @returns the first that is not what it was
   */
  prepareFence(tables: readonly MovedTable[]): Promise<string | null>
  /** On a source. The tables must be as `prepareFence` found them. */
  placeFence(fence: SourceFence): Promise<FencePlaced>
  /** On a source: see `ReshardEngine.raiseEpoch`. */
  raiseEpoch(state: EpochState): Promise<void>
  /**
   * On a source that keeps a part: its fence lets everything pass from now on, without waiting for a lock. After
   * `raiseEpoch`, which leaves nobody who could write.
   * @throws FleetError `lease_lost` when a later run has taken over
   */
  liftFence(fence: Pick<SourceFence, 'job' | 'run' | 'attempt'>): Promise<void>
  /** On a target: foreign keys (not validated) and triggers again, unless a later run has taken over. */
  restoreKeys(job: string, run: number): Promise<void>
  /** The end of the log: above all that was committed before the call, below all that begins after it. */
  position(): Promise<Lsn>
}

/** What a shard stores against old maps. */
export interface EpochState {
  readonly shard: ShardId
  readonly epochMin: Epoch
}

/** A source as preflight finds it. */
export interface InspectedSource {
  readonly tables: readonly MovedTable[]
  readonly obstacles: readonly Obstacle[]
  /** The login may delete rows without firing triggers and foreign keys. */
  readonly mayBypassTriggers: boolean
}

/** All methods may be repeated, and throw as those of the shard engine do. */
export interface ReshardEngine {
  /** Makes the tables of our own that move with the rows, where an older version has not made them. Changes no other. */
  prepare(target: NodeTarget, signal: AbortSignal): Promise<void>
  /** Reads what is to be moved and what stands against it. */
  inspectSource(
    target: NodeTarget,
    tables: readonly TableRecord[],
    signal: AbortSignal,
  ): Promise<InspectedSource>
  /** What stands against a target: rows, other tables than the source's. */
  inspectTarget(
    target: NodeTarget,
    source: NodeTarget,
    tables: readonly MovedTable[],
    signal: AbortSignal,
  ): Promise<readonly Obstacle[]>
  /** Publication and slot, where they are missing. */
  makeSlot(
    target: NodeTarget,
    names: SourceNames,
    tables: readonly MovedTable[],
    signal: AbortSignal,
  ): Promise<void>
  /** Null when there is no such slot; else whether it can still be read. */
  slotState(target: NodeTarget, slot: string, signal: AbortSignal): Promise<'usable' | 'lost' | null>
  sourceFigures(target: NodeTarget, slot: string, signal: AbortSignal): Promise<SourceFigures>
  /** Ends whoever reads the slot. */
  dropSlot(target: NodeTarget, names: SourceNames, signal: AbortSignal): Promise<void>
  /** The stream from the slot's position on. Ends whoever reads the slot. */
  openChanges(target: NodeTarget, names: SourceNames, signal: AbortSignal): Promise<ReplicationStream>
  openSource(target: NodeTarget, signal: AbortSignal): Promise<SourceReader>
  /**
   * Makes the job's tables on the target where they are missing, and refuses from now on what runs with a lower
   * number still want to write.
   */
  openTarget(target: NodeTarget, job: string, run: number, signal: AbortSignal): Promise<TargetWriter>
  /**
   * Takes foreign keys and user triggers off, and secondary indexes with `all`, keeping their definitions on the
   * target.
   */
  strip(
    target: NodeTarget,
    job: string,
    what: { readonly tables: readonly MovedTable[]; readonly kinds: 'all' | 'keys' },
    signal: AbortSignal,
  ): Promise<void>
  /** Builds the secondary indexes again. */
  restoreIndexes(target: NodeTarget, job: string, signal: AbortSignal): Promise<void>
  /** Validates the foreign keys, gives back whatever is off yet, and removes what the job has kept on the target. */
  leaveTarget(
    target: NodeTarget,
    job: string,
    tables: readonly MovedTable[],
    signal: AbortSignal,
  ): Promise<void>
  /** Empties the tables and gives everything back that was taken off. */
  emptyTarget(
    target: NodeTarget,
    job: string,
    tables: readonly MovedTable[],
    signal: AbortSignal,
  ): Promise<void>
  /** Switches autovacuum of the tables off, and waits a while for running workers. */
  calm(target: NodeTarget, job: string, tables: readonly MovedTable[], signal: AbortSignal): Promise<void>
  /** Switches on again what `calm` switched off. */
  uncalm(target: NodeTarget, job: string, signal: AbortSignal): Promise<void>
  /** Gives back whatever is off yet on a source, and removes what the job has kept there. */
  leaveSource(target: NodeTarget, job: string, signal: AbortSignal): Promise<void>
  /** Drops the job's fences of that attempt and of earlier ones, and refuses those of earlier runs from now on. */
  dropFences(
    target: NodeTarget,
    fences: { readonly job: string; readonly run: number; readonly attempt: number },
    signal: AbortSignal,
  ): Promise<void>
  /**
   * Stores the epoch below which nobody may work with the shard, and ends connections of routers: none of them can do
   * or answer anything more when it returns. What runs is given a moment, so that a fence can refuse it.
   */
  raiseEpoch(target: NodeTarget, state: EpochState, signal: AbortSignal): Promise<void>
  openCutover(target: NodeTarget, signal: AbortSignal): Promise<CutoverSession>
  /** Makes the log tell whose record of an idempotency key was removed, until `leaveSource`. */
  tellKeys(target: NodeTarget, job: string, signal: AbortSignal): Promise<void>
  /**
   * Deletes the rows whose key is one of those, a few at a time; where the login may, without firing triggers and foreign
   * keys.
   * Rows without a key stay.
   */
  removeRows(
    target: NodeTarget,
    table: MovedTable,
    isGone: (key: CanonicalKey) => boolean,
    signal: AbortSignal,
  ): Promise<void>
  /** Sum of the rows of a range; with `place` each counts as often as there are targets that it belongs to. */
  sumRange(
    target: NodeTarget,
    table: MovedTable,
    which: { readonly range: UnitRange; readonly place: PlaceOf | null },
    signal: AbortSignal,
  ): Promise<RangeSum>
  /** Sums of single rows: of a range, or of these keys in it. */
  sumRows(
    target: NodeTarget,
    table: MovedTable,
    which: {
      readonly range: UnitRange
      readonly keys: readonly string[] | null
      readonly place: PlaceOf | null
    },
    signal: AbortSignal,
  ): Promise<RowSums>
  /** Calls for the shard key of every row. */
  eachKey(
    target: NodeTarget,
    table: MovedTable,
    visit: (key: PlacingKey) => void,
    signal: AbortSignal,
  ): Promise<void>
}
