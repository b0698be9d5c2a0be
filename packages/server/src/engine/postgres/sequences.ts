// Blocks of sequences: each shard counts its bigserial and identity columns in a block of 2^40 of its own, so that
// values given by them are unique over all shards without anybody asking anybody.
import { FleetError } from '@fleetshard/core'
import type { SequenceFacts, TableFacts } from '../schema-facts.ts'
import { sequenceBlockSize } from '../shard-engine.ts'
import { describeTables } from './describe.ts'
import { quoteTableName } from './names.ts'
import type { Session } from './session.ts'

/** First and last value of a block. Block 0 starts at 1, as sequences do. */
export function blockBounds(block: number): { readonly first: bigint; readonly last: bigint } {
  const base = BigInt(block) * sequenceBlockSize
  return { first: base + 1n, last: base + sequenceBlockSize - 1n }
}

/** What has to be done to one sequence; null when nothing. Pure. @throws FleetError `schema_refused` */
export function alignmentOf(sequence: SequenceFacts, block: number, tableIsEmpty: boolean): string | null {
  const { first, last } = blockBounds(block)
  const lastValue = sequence.lastValue === null ? null : BigInt(sequence.lastValue)
  const inside = lastValue !== null && lastValue >= first && lastValue <= last
  const bounded =
    BigInt(sequence.minValue) === first && BigInt(sequence.maxValue) === last && !sequence.cycles
  if (bounded && (inside || lastValue === null)) return null
  if (BigInt(sequence.increment) <= 0n) {
    throw new FleetError('schema_refused', `sequence ${sequence.name} counts down`, {
      hint: `ALTER SEQUENCE ${sequence.name} INCREMENT BY 1`,
    })
  }
  if (lastValue !== null && !inside && !tableIsEmpty) {
    throw new FleetError(
      'schema_refused',
      `sequence ${sequence.name} stands at ${String(lastValue)}, outside the shard's block (${String(first)} to ${String(last)})`,
      { hint: `give the rows ids of the block, or use fleetshard.next_id() as the column's default` },
    )
  }
  const bounds = `minvalue ${String(first)} maxvalue ${String(last)} start ${String(first)} no cycle`
  return inside ? bounds : `${bounds} restart ${String(first)}`
}

/** See the port. Runs in the caller's transaction, if there is one: ALTER SEQUENCE rolls back, setval would not. */
export async function alignSequences(
  session: Session,
  tables: readonly string[],
  block: number,
): Promise<void> {
  const facts = await describeTables(session, tables)
  for (const table of facts) await alignTable(session, table, block)
}

async function alignTable(session: Session, table: TableFacts, block: number): Promise<void> {
  const sequences = table.columns.flatMap((column) => column.sequence ?? [])
  if (sequences.length === 0) return
  const [rows] = await session.query<{ empty: boolean }>(
    `select not exists (select from ${quoteTableName(table.name)}) as empty`,
  )
  for (const sequence of sequences) {
    const change = alignmentOf(sequence, block, rows?.empty === true)
    if (change !== null) await session.query(`alter sequence ${quoteTableName(sequence.name)} ${change}`)
  }
}
