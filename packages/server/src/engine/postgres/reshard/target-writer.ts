// The job's own part of a target: which units are there and how far each source was applied, both written in the
// transaction of the rows they speak of. A run of a worker writes only as long as no later run has begun.
import {
  FleetError,
  formatLsn,
  parseLsn,
  parseShardId,
  type Clock,
  type Lsn,
  type ShardId,
} from '@fleetshard/core'
import {
  placingKey,
  type MovedTable,
  type PlacingKey,
  type TableChanges,
  type TargetProgress,
  type TargetWriter,
  type UnitRecord,
} from '../../reshard-engine.ts'
import type { NodeTarget } from '../../shard-engine.ts'
import { quoteTableName } from '../names.ts'
import { JobConnection } from './connection.ts'
import { insertCopy, keysSql, readSql, removeSql } from './apply-sql.ts'
import { findByKeySql, rangeCondition } from './sql.ts'

/** Where the job keeps its records on a target. */
export const targetTablesSql = `
  create table if not exists fleetshard.reshard_runs (job text primary key, run bigint not null);
  create table if not exists fleetshard.reshard_applied (
    job text not null, source text not null, applied pg_lsn not null, primary key (job, source));
  create table if not exists fleetshard.reshard_units (
    job text not null, source text not null, "table" text not null, number int not null,
    after text, up_to text, snapshot text not null, rows bigint not null,
    primary key (job, source, "table", number));
  create table if not exists fleetshard.reshard_stripped (
    id bigint generated always as identity primary key,
    job text not null, kind text not null, "table" text not null, restore text not null);
  create table if not exists fleetshard.reshard_lifted (fence text primary key, job text not null)`

/** Begins a transaction that fails when a later run has taken over; holds the later run off until its end. */
const beginSql = `begin; set constraints all deferred`
const guardSql = `select run from fleetshard.reshard_runs where job = $1 and run = $2 for share`

/** See the port. */
export class PostgresTargetWriter implements TargetWriter {
  readonly connection: JobConnection
  readonly #job: string
  readonly #run: string
  #isOpen = false

  private constructor(connection: JobConnection, job: string, run: number) {
    this.connection = connection
    this.#job = job
    this.#run = String(run)
  }

  /** Takes over from earlier runs: waits for their transactions, and nothing of theirs is taken afterwards. */
  static async open(
    parts: { readonly target: NodeTarget; readonly clock: Clock; readonly signal: AbortSignal },
    job: string,
    run: number,
  ): Promise<PostgresTargetWriter> {
    const connection = await JobConnection.open(parts.target, parts.clock, parts.signal)
    try {
      await connection.run(targetTablesSql)
      await connection.run(findByKeySql)
      const taken = await connection.value(
        `insert into fleetshard.reshard_runs as r (job, run) values ($1, $2)
         on conflict (job) do update set run = excluded.run where r.run <= excluded.run returning run`,
        [job, String(run)],
      )
      if (taken === null) throw overtaken(job)
      return new PostgresTargetWriter(connection, job, run)
    } catch (error) {
      await connection[Symbol.asyncDispose]()
      throw error
    }
  }

  async progress(): Promise<TargetProgress> {
    const applied = await this.connection.rows(
      'select source, applied::text from fleetshard.reshard_applied where job = $1',
      [this.#job],
    )
    const units = await this.connection.rows(
      `select source, "table", number, after, up_to, snapshot, rows::text from fleetshard.reshard_units
        where job = $1 order by source, "table", number`,
      [this.#job],
      unitsMax,
    )
    return {
      applied: new Map(
        applied.map(([source, lsn]) => [parseShardId(source ?? ''), parseLsn(lsn ?? '')] as const),
      ),
      units: units.map(([source, table, number, after, upTo, snapshot, rows]) => ({
        source: parseShardId(source ?? ''),
        table: table ?? '',
        number: Number(number),
        range: { after: after ?? null, upTo: upTo ?? null },
        snapshot: snapshot ?? '',
        rows: Number(rows),
      })),
    }
  }

  async removeUnit(
    unit: UnitRecord,
    table: MovedTable,
    isOf: ((key: PlacingKey) => boolean) | null,
  ): Promise<void> {
    await this.begin()
    const condition = rangeCondition(table, unit.range)
    if (isOf === null || table.shardKey === null) {
      await this.connection.rows(`delete from ${quoteTableName(table.name)} where ${condition}`)
    } else {
      const by = table.shardKey.type
      const rows = await this.connection.rows(keysSql(table, condition), [], unitRowsMax)
      const remove = rows
        .filter(([value = null]) => isOf(placingKey(value, by)))
        .map(([, ...key]) => key.map((part) => part ?? ''))
      if (remove.length > 0) await this.#remove(table, remove)
    }
    await this.connection.rows(
      `delete from fleetshard.reshard_units where job = $1 and source = $2 and "table" = $3 and number = $4`,
      [this.#job, unit.source, unit.table, String(unit.number)],
    )
    await this.commit()
  }

  /** Writes a unit's record in the transaction that is open. */
  async recordUnit(unit: UnitRecord): Promise<void> {
    const { source, table, number, range, snapshot, rows } = unit
    await this.connection.rows(
      `insert into fleetshard.reshard_units (job, source, "table", number, after, up_to, snapshot, rows)
       values ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [this.#job, source, table, String(number), range.after, range.upTo, snapshot, String(rows)],
    )
  }

  readRows(
    table: MovedTable,
    keys: readonly (readonly string[])[],
    columns: readonly number[],
  ): Promise<readonly ((string | null)[] | null)[]> {
    return readRows(this.connection, table, keys, columns)
  }

  async apply(changes: readonly TableChanges[]): Promise<void> {
    await this.begin()
    // Sent at once: the server works on one statement while the next is on its way.
    const sent = changes.flatMap(({ table, remove, insert }) => [
      ...(remove.length === 0 ? [] : [this.#remove(table, remove)]),
      ...(insert.length === 0 ? [] : [this.connection.copyIn(insertCopy(table, insert))]),
    ])
    await settled(sent)
  }

  #remove(table: MovedTable, keys: readonly (readonly string[])[]): Promise<unknown> {
    const { text, params } = removeSql(table, keys)
    return this.connection.rows(text, params)
  }

  async finish(source: ShardId, applied: Lsn): Promise<void> {
    await this.begin()
    await this.connection.rows(
      `insert into fleetshard.reshard_applied as a (job, source, applied) values ($1, $2, $3)
       on conflict (job, source) do update set applied = greatest(a.applied, excluded.applied)`,
      [this.#job, source, formatLsn(applied)],
    )
    await this.commit()
  }

  /** Opens a transaction where none is open. @throws FleetError `lease_lost` when a later run has begun */
  async begin(): Promise<void> {
    if (this.#isOpen) return
    await this.connection.run(beginSql)
    this.#isOpen = true
    const found = await this.connection.value(guardSql, [this.#job, this.#run])
    if (found === null) throw overtaken(this.#job)
  }

  /** @throws FleetError when the transaction was not committed */
  async commit(): Promise<void> {
    this.#isOpen = false
    await this.connection.commit()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.connection[Symbol.asyncDispose]()
  }
}

/** More rows than a unit has. */
const unitRowsMax = 10_000_000

/** Most units of one job on one target. */
const unitsMax = 1_000_000

function overtaken(job: string): FleetError {
  return new FleetError('lease_lost', `another worker has taken over the job ${job}`)
}

/** Waits for all; throws the first failure in the order of sending. */
async function settled(promises: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(promises)
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** See the port; of sources, too. */
export async function readRows(
  connection: JobConnection,
  table: MovedTable,
  keys: readonly (readonly string[])[],
  columns: readonly number[],
): Promise<readonly ((string | null)[] | null)[]> {
  const found: ((string | null)[] | null)[] = keys.map(() => null)
  const { text, params } = readSql(table, keys, columns)
  for (const [position, ...values] of await connection.rows(text, params, keys.length)) {
    found[Number(position) - 1] = values
  }
  return found
}
