// A table of the demo with the rows that belong in it, and the statements that acts send about them.
import type { KeyType } from '@fleetshard/core'

/** One row: the key as text, then the other columns as the router's JSON has them. */
export type Row = readonly [key: string, ...rest: (string | number)[]]

/** A sharded table and its rows. */
export interface DataSet {
  readonly table: string
  /** In the order of the rows; the first one is the shard key. */
  readonly columns: readonly [key: string, ...rest: string[]]
  readonly keyType: KeyType
  readonly ddl: string
  readonly rows: readonly Row[]
}

/** Inserts that many rows; the parameters are the rows one after the other. */
export function insertText({ table, columns }: DataSet, rowCount: number): string {
  const tuples = Array.from({ length: rowCount }, (_, row) => {
    const places = columns.map((_column, column) => `$${String(row * columns.length + column + 1)}`)
    return `(${places.join(', ')})`
  })
  return `INSERT INTO ${table} (${columns.join(', ')}) VALUES ${tuples.join(', ')}`
}

/** Reads the rows of the keys in `$1`, an array. */
export function selectManyText({ table, columns }: DataSet): string {
  return `SELECT ${columns.join(', ')} FROM ${table} WHERE ${columns[0]} = ANY($1)`
}

/** Reads the row of the key in `$1`. */
export function selectOneText({ table, columns }: DataSet): string {
  return `SELECT ${columns.join(', ')} FROM ${table} WHERE ${columns[0]} = $1`
}

/** Writes the last column of the row of the key in `$1`. */
export function updateOneText({ table, columns }: DataSet): string {
  return `UPDATE ${table} SET ${columns.at(-1) ?? ''} = $2 WHERE ${columns[0]} = $1`
}

/** True when a row that came back is the one that was written. */
export function isSameRow(found: unknown, row: Row): boolean {
  return (
    Array.isArray(found) && found.length === row.length && row.every((value, index) => value === found[index])
  )
}
