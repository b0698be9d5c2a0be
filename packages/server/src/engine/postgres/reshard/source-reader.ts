// What a run of a reshard job reads from a source beside its stream: units under a snapshot that it has judged,
// positions, single rows; and the marks that it leaves in the log.
import { FleetError, parseLsn, type Clock, type Lsn } from '@fleetshard/core'
import type { CopiedUnit, MovedTable, SourceReader, UnitCopy, XidSnapshot } from '../../reshard-engine.ts'
import type { NodeTarget } from '../../shard-engine.ts'
import { quoteIdentifier } from '../errors.ts'
import { quoteTableName } from '../names.ts'
import { parseXidSnapshot } from '../replication/xid.ts'
import { JobConnection } from './connection.ts'
import { copyRows } from './copy-rows.ts'
import { columnList, rangeCondition, unitColumn } from './sql.ts'
import { PostgresTargetWriter, readRows } from './target-writer.ts'

/** Prefix of the job's messages in the log. */
export const markPrefix = 'fleetshard'
/** Pause before another snapshot is taken. */
const snapshotPauseMs = 20
/** After so long the transactions in the way are a fault to be told. */
const snapshotWaitMsMax = 60_000

/** See the port. */
export class PostgresSourceReader implements SourceReader {
  readonly #connection: JobConnection
  readonly #clock: Clock

  constructor(connection: JobConnection, clock: Clock) {
    this.#connection = connection
    this.#clock = clock
  }

  static async open(parts: {
    readonly target: NodeTarget
    readonly clock: Clock
    readonly signal: AbortSignal
  }): Promise<PostgresSourceReader> {
    const connection = await JobConnection.open(parts.target, parts.clock, parts.signal)
    return new PostgresSourceReader(connection, parts.clock)
  }

  async unitEnd(table: MovedTable, after: string | null, rows: number): Promise<string | null> {
    if (table.unitsBy === 'whole') return null
    const { name } = unitColumn(table)
    const column = quoteIdentifier(name)
    return this.#connection.value(
      `select ${column}::text from ${quoteTableName(table.name)}
        where ${rangeCondition(table, { after, upTo: null })} order by ${column} offset ${String(rows - 1)} limit 1`,
    )
  }

  async copyUnit(copy: UnitCopy, signal: AbortSignal): Promise<CopiedUnit> {
    const { source, table, number, range, targets, place } = copy
    const writers = targets.map((target) => {
      if (target instanceof PostgresTargetWriter) return target
      throw new FleetError('internal', 'a target of another engine')
    })
    const { text, snapshot } = await this.#snapshotFor(copy, signal)
    for (const writer of writers) await writer.begin()
    const name = quoteTableName(table.name)
    const columns = columnList(table)
    const { rows, bytes } = await copyRows(
      this.#connection,
      writers.map(({ connection }) => connection),
      {
        copyOut: `copy (select ${columns} from ${name} where ${rangeCondition(table, range)}) to stdout (format binary)`,
        copyIn: `copy ${name} (${columns}) from stdin (format binary)`,
      },
      table.shardKey === null ? null : { ...table.shardKey, place },
    )
    for (const writer of writers) {
      await writer.recordUnit({ source, table: table.name, number, range, snapshot: text, rows })
    }
    // One after the other: a crash in between leaves a unit that not every target has, which the next run removes.
    for (const writer of writers) await writer.commit()
    await this.#connection.run('commit')
    return { snapshot, rows, bytes }
  }

  async position(): Promise<Lsn> {
    return parseLsn((await this.#connection.value('select pg_current_wal_insert_lsn()::text')) ?? '')
  }

  async snapshot(): Promise<XidSnapshot> {
    return parseXidSnapshot((await this.#connection.value('select pg_current_snapshot()::text')) ?? '')
  }

  async mark(content: string): Promise<void> {
    await this.#connection.value('select pg_logical_emit_message(true, $1, $2)::text', [markPrefix, content])
  }

  readRows(
    table: MovedTable,
    keys: readonly (readonly string[])[],
    columns: readonly number[],
  ): Promise<readonly ((string | null)[] | null)[]> {
    return readRows(this.#connection, table, keys, columns)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#connection[Symbol.asyncDispose]()
  }

  /**
   * Opens the transaction that the unit is read in. The table is locked before the snapshot is taken, so that a
   * TRUNCATE, which snapshots don't see, comes either before both or after both.
   */
  async #snapshotFor(
    copy: UnitCopy,
    signal: AbortSignal,
  ): Promise<{ readonly text: string; readonly snapshot: XidSnapshot }> {
    const deadline = this.#clock.monotonic() + snapshotWaitMsMax
    for (;;) {
      signal.throwIfAborted()
      await this.#connection.run(
        `begin isolation level repeatable read read only; lock table ${quoteTableName(copy.table.name)} in access share mode`,
      )
      const text = (await this.#connection.value('select pg_current_snapshot()::text')) ?? ''
      const snapshot = parseXidSnapshot(text)
      if (copy.mayUse(snapshot)) return { text, snapshot }
      await this.#connection.run('rollback')
      if (this.#clock.monotonic() > deadline) throw inTheWay(snapshot)
      await this.#clock.sleep(snapshotPauseMs, signal)
    }
  }
}

function inTheWay(snapshot: XidSnapshot): FleetError {
  return new FleetError(
    'shard_unavailable',
    `the transaction ${String(snapshot.xmin)} on the source has been open since before the job could begin to copy`,
    { hint: `end it: see pg_stat_activity, where backend_xid is ${String(snapshot.xmin % 2n ** 32n)}` },
  )
}
