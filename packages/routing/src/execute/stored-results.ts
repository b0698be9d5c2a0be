// The results of a transaction as its idempotency record keeps them: rows as the bytes that Postgres sent, so that a
// repetition is answered in whatever form it asks for.
import { FleetError } from '@fleetshard/core'
import type { FieldDescription } from '../pgwire/mod.ts'
import type { RowsConsumer, RowsFlow } from './statement-run.ts'

/** Bytes of rows that one record keeps; of larger results only the row counts are kept. */
export const keptRowsBytesMax = 64 * 1024

/** Bytes left of one record, shared by its results; negative when the rows are too large to be kept. */
export interface KeptBudget {
  bytesLeft: number
}

/** Hands rows on and keeps them. */
export class RecordedRows implements RowsConsumer {
  readonly #to: RowsConsumer
  readonly #budget: KeptBudget
  readonly attach?: (flow: RowsFlow) => void
  #fields: readonly FieldDescription[] | null = null
  #rows: Buffer[] = []

  constructor(to: RowsConsumer, budget: KeptBudget) {
    this.#to = to
    this.#budget = budget
    if (to.attach !== undefined) {
      this.attach = (flow) => {
        to.attach?.(flow)
      }
    }
  }

  fields(fields: readonly FieldDescription[]): void {
    this.#fields = fields
    this.#to.fields(fields)
  }

  row(buf: Buffer, start: number, end: number): void {
    this.#budget.bytesLeft -= end - start
    if (this.#budget.bytesLeft >= 0) this.#rows.push(Buffer.from(buf.subarray(start, end)))
    this.#to.row(buf, start, end)
  }

  reset(): void {
    this.#fields = null
    this.#rows = []
    this.#to.reset()
  }

  /** What is kept of it, with the number of rows that it returned or touched. */
  result(rowCount: number): RecordedResult {
    return { rowCount, fields: this.#fields, rows: this.#rows }
  }
}

interface RecordedResult {
  readonly rowCount: number
  readonly fields: readonly FieldDescription[] | null
  readonly rows: readonly Buffer[]
}

/** A record's columns: `results` in JSON, `rows` null when they were too large. */
export interface StoredResults {
  readonly results: string
  readonly rows: Buffer | null
}

/** Packs results. */
export function storeResults(results: readonly RecordedResult[], budget: KeptBudget): StoredResults {
  const described = results.map(({ rowCount, fields, rows }) => [
    rowCount,
    rows.length,
    fields === null ? null : fields.map(({ name, typeOid, typeModifier }) => [name, typeOid, typeModifier]),
  ])
  return {
    results: JSON.stringify(described),
    rows: budget.bytesLeft < 0 ? null : Buffer.concat(results.flatMap(({ rows }) => rows)),
  }
}

/**
 * Answers a repetition from a record. @returns the row counts
 * @throws FleetError `replay_without_rows` when the rows were too large to be kept; what the consumers throw
 */
export function replayResults(stored: StoredResults, consumers: readonly RowsConsumer[]): readonly number[] {
  const results = parseResults(stored.results)
  if (results.length !== consumers.length) throw unreadable()
  const rowCounts = results.map(({ rowCount }) => rowCount)
  if (stored.rows === null) throw withoutRows(rowCounts)
  let at = 0
  for (const [index, consumer] of consumers.entries()) {
    const { fields, rows } = results[index] ?? { fields: null, rows: 0 }
    if (fields !== null) consumer.fields(fields)
    for (let row = 0; row < rows; row += 1) {
      if (at + 5 > stored.rows.length) throw unreadable()
      const end = at + 1 + stored.rows.readUInt32BE(at + 1)
      if (end > stored.rows.length) throw unreadable()
      consumer.row(stored.rows, at, end)
      at = end
    }
  }
  return rowCounts
}

interface ParsedResult {
  readonly rowCount: number
  readonly rows: number
  readonly fields: readonly FieldDescription[] | null
}

function parseResults(text: string): readonly ParsedResult[] {
  const parsed: unknown = JSON.parse(text)
  if (!Array.isArray(parsed)) throw unreadable()
  return parsed.map((result: unknown) => {
    const [rowCount, rows, fields] = listOf(result)
    return {
      rowCount: numberOf(rowCount),
      rows: numberOf(rows),
      fields: fields === null ? null : listOf(fields).map(parseField),
    }
  })
}

function parseField(field: unknown): FieldDescription {
  const [name, typeOid, typeModifier] = listOf(field)
  return {
    name: String(name),
    typeOid: numberOf(typeOid),
    typeModifier: numberOf(typeModifier),
    tableOid: 0,
    columnNumber: 0,
    typeSize: -1,
    format: 0,
  }
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw unreadable()
  return value
}

function numberOf(value: unknown): number {
  if (typeof value !== 'number') throw unreadable()
  return value
}

const unreadable = (): FleetError =>
  new FleetError('corrupt_record', 'the record of the idempotency key cannot be read', {
    hint: 'the write was done; another version may have written the record',
    facts: { outcome: 'committed' },
  })

const withoutRows = (rowCounts: readonly number[]): FleetError =>
  new FleetError('replay_without_rows', 'the write was done before; its rows were too large to be kept', {
    hint: 'read the rows that it has written',
    facts: { outcome: 'committed', row_count: rowCounts.reduce((sum, count) => sum + count, 0) },
  })
