// The port of a vdiff job: how the rows of one server are read to be compared with those of others.
import type { NodeTarget } from './shard-engine.ts'

/** A table that is compared. */
export interface ComparedTable {
  /** Qualified, quoted as Postgres prints it. */
  readonly name: string
  /** What of a row is compared: all columns but generated ones. */
  readonly columns: readonly string[]
  /** By what a row is known; all columns where there is no primary key. */
  readonly key: readonly string[]
  /** Null for a reference table. */
  readonly shardKey: string | null
}

/** A row in short. */
export interface ComparedRow {
  /** Its key as one text, the same on every server. */
  readonly key: string
  readonly shardKey: string | null
  /** 64-bit hash of all that is compared, decimal. */
  readonly hash: string
}

/** Rows and the sum of their hashes. */
export interface TableSum {
  readonly rows: number
  readonly sum: bigint
}

/** One server, read for one table after the other. */
export interface RowReader extends AsyncDisposable {
  sum(table: ComparedTable): Promise<TableSum>
  /** All rows under one snapshot, part by part; ordered by the bytes of their keys if asked for. */
  rows(table: ComparedTable, options: { readonly isOrdered: boolean }): AsyncIterable<readonly ComparedRow[]>
  /** These rows as they are now. */
  rowsOf(table: ComparedTable, keys: readonly string[]): Promise<readonly ComparedRow[]>
}

/** Opens readers. Errors are those of the shard engine. */
export interface VdiffEngine {
  openReader(target: NodeTarget, signal: AbortSignal): Promise<RowReader>
}
