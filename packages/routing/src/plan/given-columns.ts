// Which columns the writes of a statement give values to themselves, and do not leave to the defaults of the table.
import type { Block, NewRows } from './query.ts'

/** What one write gives. `columns` is null where it is not said which columns the values go to. */
export interface GivenColumns {
  /** The place of its target among the tables of the facts. */
  readonly use: number
  readonly columns: ReadonlySet<string> | null
}

const kept = new WeakMap<Block, readonly GivenColumns[]>()

/** Of each write of the statement, those of its WITH queries as well; made once. */
export function givenColumns(block: Block | null): readonly GivenColumns[] {
  if (block === null) return []
  const known = kept.get(block)
  if (known !== undefined) return known
  const given = [...block.ctes.flatMap((cte) => givenColumns(cte.block)), ...ofBlock(block)]
  kept.set(block, given)
  return given
}

function ofBlock(block: Block): GivenColumns[] {
  if (block.kind !== 'write') return []
  const { target: use, assigned, inserts } = block
  const rows = inserts.map(ofRows)
  const columns = rows.includes(null) ? null : new Set([...assigned, ...rows.flatMap((names) => names ?? [])])
  return [{ use, columns }]
}

/** A NULL is not taken for a value: where a number is wanted, Postgres refuses it. */
function ofRows({ columns, source }: NewRows): readonly string[] | null {
  if (source === null) return []
  if (columns === null) return null
  if (source.kind !== 'values' || source.isQuery) return columns
  return columns.filter((_, index) =>
    source.rows.some((row) => {
      const value = row[index]
      return value?.kind !== 'default' && !(value?.kind === 'slot' && value.slot.kind === 'null')
    }),
  )
}
