// Ids that sequences have still to give: a client gave them while there was one shard, whose primary key would have told
// when a sequence came to them. Behind a move the row and the sequence may be on different shards, which see nothing.
import type { MovedTable, Obstacle } from '../../reshard-engine.ts'
import type { ColumnFacts, SequenceFacts, TableFacts } from '../../schema-facts.ts'
import { quoteIdentifier } from '../errors.ts'
import { quoteTableName } from '../names.ts'
import type { Session } from '../session.ts'

/** The tables as they are described on both sides. */
export interface BothSides {
  readonly source: readonly TableFacts[]
  readonly target: readonly TableFacts[]
}

/** Rows of the source that have ids which its own sequences, or those of the target, would give again. */
export async function idObstacles(
  source: Session,
  sides: BothSides,
  tables: readonly MovedTable[],
): Promise<readonly Obstacle[]> {
  const obstacles: Obstacle[] = []
  for (const moved of tables) {
    if (moved.kind !== 'sharded' || moved.isUniqueByKey) continue
    for (const [where, facts] of Object.entries(sides) as [keyof BothSides, readonly TableFacts[]][]) {
      const table = facts.find(({ name }) => name === moved.name)
      for (const { name: column, sequence } of table === undefined ? [] : countedColumns(table)) {
        const isOfSource = where === 'source'
        const found = await firstAhead(source, { table: moved.name, column, sequence, isOfSource })
        if (found === null) continue
        obstacles.push({
          message: `a row of ${moved.name} has the ${column} ${found}, which the sequence of the ${where} would give again`,
          remedy: `let that count on behind all rows: SELECT setval('${sequence.name.replaceAll("'", "''")}', the largest ${column} up to ${sequence.maxValue}) on the ${where}`,
        })
      }
    }
  }
  return obstacles
}

type Counted = ColumnFacts & { readonly sequence: SequenceFacts }

interface Ahead {
  readonly table: string
  readonly column: string
  readonly sequence: SequenceFacts
  /** Else the target's, which gives nothing yet. */
  readonly isOfSource: boolean
}

/** Columns of the primary key that a sequence gives. */
function countedColumns({ columns, uniques }: TableFacts): readonly Counted[] {
  const primary = uniques.find(({ kind }) => kind === 'primary')?.columns ?? []
  return columns.filter(
    (column): column is Counted => column.sequence !== null && primary.includes(column.name),
  )
}

/** Of the source it is asked behind the snapshot of the rows, since they go on being written. */
const behindRows = 'coalesce((select pg_sequence_last_value($3::regclass)) + 1, $1::bigint)'

async function firstAhead(
  source: Session,
  { table, column, sequence, isOfSource }: Ahead,
): Promise<string | null> {
  const { lastValue, minValue, maxValue } = sequence
  // A sequence that has given its last value gives no more.
  if (lastValue === maxValue) return null
  const name = quoteIdentifier(column)
  const next = lastValue === null ? minValue : String(BigInt(lastValue) + 1n)
  const [row] = await source.query<{ id: string }>(
    `select ${name}::text as id from ${quoteTableName(table)}
      where ${name} between ${isOfSource ? behindRows : '$1::bigint'} and $2::bigint order by ${name} limit 1`,
    isOfSource ? [next, maxValue, sequence.name] : [next, maxValue],
  )
  return row?.id ?? null
}
