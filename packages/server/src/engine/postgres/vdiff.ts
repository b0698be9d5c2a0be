// Rows of one Postgres server in the form in which they are compared: keys as text, everything else as a hash that is
// the same on every server.
import type { ComparedRow, ComparedTable, RowReader, TableSum, VdiffEngine } from '../vdiff-engine.ts'
import type { EngineParts } from '../shard-engine.ts'
import { quoteIdentifier } from './errors.ts'
import { quoteTableName } from './names.ts'
import { JobConnection } from './reshard/connection.ts'
import { arrayLiteral } from './reshard/sql.ts'

/** Rows that are held at once. */
const rowsAtOnce = 10_000

/** Does no I/O. */
export function createPostgresVdiffEngine({ clock }: EngineParts): VdiffEngine {
  return {
    openReader: async (target, signal) =>
      new PostgresRowReader(await JobConnection.open(target, clock, signal)),
  }
}

const rowText = (columns: readonly string[]): string =>
  `row(${columns.map(quoteIdentifier).join(', ')})::text`
const hashOf = ({ columns }: ComparedTable): string => `hashtextextended(${rowText(columns)}, 0)`
const keyOf = ({ key }: ComparedTable): string => rowText(key)

class PostgresRowReader implements RowReader {
  readonly #connection: JobConnection

  constructor(connection: JobConnection) {
    this.#connection = connection
  }

  async sum(table: ComparedTable): Promise<TableSum> {
    const [row] = await this.#connection.rows(
      `select count(*)::text, coalesce(sum(${hashOf(table)}::numeric), 0)::text from ${quoteTableName(table.name)}`,
    )
    return { rows: Number(row?.[0]), sum: BigInt(row?.[1] ?? '0') }
  }

  /** By a cursor: no more than a part is held. */
  async *rows(
    table: ComparedTable,
    { isOrdered }: { readonly isOrdered: boolean },
  ): AsyncIterable<readonly ComparedRow[]> {
    const order = isOrdered ? ` order by ${keyOf(table)} collate "C"` : ''
    await this.#connection.run(
      `begin isolation level repeatable read read only;
       declare compared no scroll cursor for ${selectText(table)}${order}`,
    )
    for (;;) {
      const part = await this.#connection.rows(`fetch ${String(rowsAtOnce)} from compared`, [], rowsAtOnce)
      yield part.map(rowOf)
      if (part.length < rowsAtOnce) break
    }
    await this.#connection.run('commit')
  }

  async rowsOf(table: ComparedTable, keys: readonly string[]): Promise<readonly ComparedRow[]> {
    const text = `${selectText(table)} where ${keyOf(table)} = any ($1::text[])`
    return (await this.#connection.rows(text, [arrayLiteral(keys)], rowsAtOnce)).map(rowOf)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]()
  }
}

function selectText(table: ComparedTable): string {
  const shardKey = table.shardKey === null ? 'null' : `${quoteIdentifier(table.shardKey)}::text`
  return `select ${keyOf(table)}, ${shardKey}, ${hashOf(table)}::text from ${quoteTableName(table.name)}`
}

const rowOf = ([key, shardKey, hash]: readonly (string | null)[]): ComparedRow => ({
  key: key ?? '',
  shardKey: shardKey ?? null,
  hash: hash ?? '',
})
