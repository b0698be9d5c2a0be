// From the parse tree to the blocks of query.ts: what each SELECT and each write reads, compares and gives out.
import type { ColumnName } from '../facts.ts'
import type {
  Block,
  Condition,
  NewRows,
  Operand,
  Output,
  SelectBlock,
  Source,
  Subquery,
  WriteBlock,
} from '../query.ts'
import { comparedByIn, comparedScalar, conditionsOf, isIn } from './conditions.ts'
import { columnOf, type SlotReader } from './slots.ts'
import { SourceReader, type SourceHost } from './sources.ts'
import { asArray, asObject, bodyOf, childOf, namesOf, textOf, unwrap, type TreeObject } from './tree.ts'

/** What the reader of blocks stands on. */
export interface BlockParts {
  readonly slots: SlotReader
  /** The place of a relation among the tables of the facts; null for a WITH query. */
  readonly useOf: (relation: TreeObject) => number | null
}

const ACTIONS: Readonly<Record<string, WriteBlock['action']>> = {
  InsertStmt: 'insert',
  UpdateStmt: 'update',
  DeleteStmt: 'delete',
  MergeStmt: 'merge',
}

/** Subqueries found so far in the expressions of one block, by their node. */
class SubqueryList {
  readonly items: Subquery[] = []
  readonly #places = new Map<TreeObject, number>()
  readonly #reader: BlockReader

  constructor(reader: BlockReader) {
    this.#reader = reader
  }

  readonly placeOf = (link: TreeObject): number | null => this.#places.get(link) ?? null

  /** Gathers the subqueries of an expression, outermost ones only: those inside belong to them. */
  gather(value: unknown): void {
    if (Array.isArray(value)) {
      for (const item of value) this.gather(item)
      return
    }
    const node = asObject(value)
    if (node === null) return
    const scalar = bodyOf(node, 'A_Expr')
    const compared = scalar === null ? null : comparedScalar(scalar)
    if (compared !== null) this.#add(compared.link, [compared.column], false)
    for (const name in node) {
      const child = node[name]
      const link = name === 'SubLink' ? asObject(child) : null
      if (link === null) {
        if (typeof child === 'object') this.gather(child)
        continue
      }
      this.gather(link['testexpr'])
      if (isIn(link)) this.#add(link, comparedByIn(link), true)
      else this.#add(link, [], false)
    }
  }

  #add(link: TreeObject, compared: readonly (ColumnName | null)[], pushes: boolean): void {
    if (this.#places.has(link)) return
    const block = this.#reader.block(link['subselect'])
    if (block === null) return
    this.#places.set(link, this.items.length)
    this.items.push({ block, compared, pushes })
  }
}

/** Reads the blocks of one statement. */
export class BlockReader implements SourceHost {
  readonly #parts: BlockParts
  readonly #sources: SourceReader

  constructor(parts: BlockParts) {
    this.#parts = parts
    this.#sources = new SourceReader(this)
  }

  useOf(relation: TreeObject): number | null {
    return this.#parts.useOf(relation)
  }

  subqueriesIn(value: unknown): readonly Subquery[] {
    const list = new SubqueryList(this)
    list.gather(value)
    return list.items
  }

  clause(value: unknown): { conditions: readonly Condition[]; subqueries: readonly Subquery[] } {
    const list = new SubqueryList(this)
    return { conditions: this.#conditions(value, list), subqueries: list.items }
  }

  /** The block of a statement or a subquery; null for what has none. */
  block(value: unknown): Block | null {
    const node = unwrap(value)
    if (node === null) return null
    if (node.kind === 'SelectStmt') return this.#select(node.body)
    return ACTIONS[node.kind] === undefined ? null : this.#write(node.kind, node.body)
  }

  /** The bare body of a SELECT. */
  #select(body: TreeObject): Block {
    const scoped = this.#with(body)
    const subqueries = new SubqueryList(this)
    if (textOf(body, 'op') !== 'SETOP_NONE') return this.#setOperation(body, scoped, subqueries)
    const lists = asArray(body['valuesLists'])
    if (lists.length > 0) {
      subqueries.gather(lists)
      const rows = lists.map((list) => this.#operands(asArray(bodyOf(list, 'List')?.['items'])))
      const isQuery = OF_QUERY.some((name) => body[name] !== undefined)
      return { kind: 'values', isQuery, ...scoped, subqueries: subqueries.items, rows }
    }
    const from = asArray(body['fromClause']).map((item) => this.#sources.read(item))
    const where = this.#conditions(body['whereClause'], subqueries)
    for (const name in body) if (!READ_APART.has(name)) subqueries.gather(body[name])
    const outputs = this.#outputs(body['targetList'])
    return {
      kind: 'select',
      ...scoped,
      subqueries: subqueries.items,
      from,
      where,
      outputs,
      ...shapeOf(body),
    }
  }

  /** The conditions of a clause, with its subqueries added to those of the block. */
  #conditions(clause: unknown, subqueries: SubqueryList): Condition[] {
    subqueries.gather(clause)
    return conditionsOf(clause, { slots: this.#parts.slots, subqueryAt: subqueries.placeOf })
  }

  #setOperation(body: TreeObject, scoped: With, subqueries: SubqueryList): Block {
    const [left, right] = [childOf(body, 'larg'), childOf(body, 'rarg')]
    for (const name in body) if (!READ_APART.has(name)) subqueries.gather(body[name])
    const branches = [this.#select(left ?? {}), this.#select(right ?? {})] as const
    return { kind: 'set', ...scoped, subqueries: subqueries.items, branches, carries: !isLimited(body) }
  }

  #with(body: TreeObject): With {
    const clause = childOf(body, 'withClause')
    const ctes = asArray(clause?.['ctes']).flatMap((item) => {
      const cte = bodyOf(item, 'CommonTableExpr')
      const block = this.block(cte?.['ctequery'])
      if (cte === null || block === null) return []
      return [{ name: textOf(cte, 'ctename') ?? '', columns: namesOf(cte['aliascolnames']), block }]
    })
    return { ctes, recursive: clause?.['recursive'] === true }
  }

  #write(kind: string, body: TreeObject): WriteBlock | null {
    const relation = childOf(body, 'relation')
    const target = relation === null ? null : this.#parts.useOf(relation)
    const action = ACTIONS[kind]
    if (relation === null || target === null || action === undefined) return null
    const scoped = this.#with(body)
    const subqueries = new SubqueryList(this)
    const table = this.#sources.table(relation)
    const where = kind === 'MergeStmt' ? [] : this.#conditions(body['whereClause'], subqueries)
    for (const name in body) if (!READ_APART.has(name)) subqueries.gather(body[name])
    return {
      kind: 'write',
      action,
      target,
      ...scoped,
      from: kind === 'MergeStmt' ? [this.#mergeJoin(body, table)] : [table, ...this.#others(body)],
      where,
      subqueries: subqueries.items,
      outputs: this.#outputs(childOf(body, 'returningClause')?.['exprs'] ?? body['returningList']),
      assigned: assignedIn(kind, body),
      inserts: kind === 'MergeStmt' ? this.#mergeInserts(body) : this.#newRows(kind, body),
    }
  }

  /** FROM of UPDATE, USING of DELETE. */
  #others(body: TreeObject): Source[] {
    return [...asArray(body['fromClause']), ...asArray(body['usingClause'])].map((item) =>
      this.#sources.read(item),
    )
  }

  /** Rows of the source stay without a match; those of the target only where BY SOURCE acts on them. */
  #mergeJoin(body: TreeObject, target: Source): Source {
    const clauses = asArray(body['mergeWhenClauses']).map((item) => bodyOf(item, 'MergeWhenClause'))
    const bySource = clauses.some((clause) => textOf(clause, 'matchKind')?.includes('BY_SOURCE') === true)
    const { conditions, subqueries } = this.clause(body['joinCondition'])
    return {
      kind: 'join',
      type: bySource ? 'full' : 'left',
      left: this.#sources.read(body['sourceRelation']),
      right: target,
      on: conditions,
      subqueries,
      using: [],
      natural: false,
      alias: null,
    }
  }

  #mergeInserts(body: TreeObject): NewRows[] {
    return asArray(body['mergeWhenClauses']).flatMap((item) => {
      const clause = bodyOf(item, 'MergeWhenClause')
      if (textOf(clause, 'commandType') !== 'CMD_INSERT') return []
      const rows = [this.#operands(asArray(clause?.['values']))]
      return [
        {
          columns: columnsIn(clause?.['targetList']),
          overridden: textOf(clause, 'override') === 'OVERRIDING_USER_VALUE',
          source: { kind: 'values', isQuery: false, ctes: [], recursive: false, subqueries: [], rows },
        },
      ]
    })
  }

  #newRows(kind: string, body: TreeObject): NewRows[] {
    if (kind !== 'InsertStmt') return []
    return [
      {
        columns: columnsIn(body['cols']),
        overridden: textOf(body, 'override') === 'OVERRIDING_USER_VALUE',
        source: this.block(body['selectStmt']),
      },
    ]
  }

  #outputs(list: unknown): Output[] {
    return asArray(list).map((item) => {
      const target = bodyOf(item, 'ResTarget')
      const value = this.#operand(target?.['val'])
      const own = value.kind === 'column' ? value.column.column : null
      return { name: textOf(target, 'name') ?? own, value }
    })
  }

  #operands(items: readonly unknown[]): Operand[] {
    return items.map((item) => this.#operand(item))
  }

  #operand(value: unknown): Operand {
    const slot = this.#parts.slots.one(value)
    if (slot !== null) return { kind: 'slot', slot }
    const node = unwrap(value)
    if (node?.kind === 'SetToDefault') return { kind: 'default' }
    const fields = asArray(node?.kind === 'ColumnRef' ? node.body['fields'] : node?.body['indirection'])
    if (fields.some((field) => bodyOf(field, 'A_Star') !== null)) {
      if (node?.kind !== 'ColumnRef') return { kind: 'open' }
      return { kind: 'star', qualifier: fields.length > 1 ? (namesOf(fields).at(-2) ?? null) : null }
    }
    const column = columnOf(value)
    return column === null ? { kind: 'other' } : { kind: 'column', column }
  }
}

/** What WITH brings to a block. */
type With = Pick<Block, 'ctes' | 'recursive'>

/** Parts of a statement that are not expressions of the block itself. */
const READ_APART = new Set([
  'withClause',
  'fromClause',
  'usingClause',
  'whereClause',
  'valuesLists',
  'larg',
  'rarg',
  'relation',
  'sourceRelation',
  'joinCondition',
  'selectStmt',
])

/** With one of these, VALUES in an INSERT are a query, whose columns get their types before the table is looked at. */
const OF_QUERY = ['sortClause', 'limitCount', 'limitOffset', 'lockingClause', 'withClause']

const isLimited = (body: TreeObject): boolean =>
  asObject(body['limitCount']) !== null || asObject(body['limitOffset']) !== null

/** What may be said of the rows of a SELECT from outside. */
function shapeOf(body: TreeObject): Pick<SelectBlock, 'carries' | 'implied'> {
  const groups = asArray(body['groupClause'])
  const calls = ['targetList', 'havingClause', 'sortClause', 'distinctClause', 'windowClause', 'groupClause']
    .map((name) => callsIn(body[name]))
    .reduce((most, one) => Math.max(most, one), 0)
  const aggregates = calls > 0 || asObject(body['havingClause']) !== null
  const sets = groups.some((item) => bodyOf(item, 'GroupingSet') !== null)
  const implied = groups.length > 0 ? !sets : !aggregates
  const isPicked = asArray(body['distinctClause']).some(
    (item) => Object.keys(asObject(item) ?? {}).length > 0,
  )
  if (isLimited(body) || isPicked || sets) return { carries: [], implied }
  if (groups.length === 0) return { carries: aggregates ? [] : 'all', implied }
  return { carries: calls > 1 ? [] : groups.flatMap((item) => columnOf(item) ?? []), implied }
}

/** 2 with a window function inside, 1 with what may be an aggregate or give several rows, else 0. */
function callsIn(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let found = 0
  for (const [name, child] of Object.entries(value)) {
    const isCall = name === 'FuncCall' || name.startsWith('Json')
    const own = !isCall ? 0 : asObject(asObject(child)?.['over']) === null ? 1 : 2
    found = Math.max(found, own, callsIn(child))
  }
  return found
}

function columnsIn(list: unknown): string[] | null {
  const names = asArray(list).map((item) => textOf(bodyOf(item, 'ResTarget'), 'name') ?? '')
  return names.length === 0 ? null : names
}

/** Columns set by UPDATE, by ON CONFLICT DO UPDATE and by the branches of MERGE. */
function assignedIn(kind: string, body: TreeObject): string[] {
  if (kind === 'UpdateStmt') return columnsIn(body['targetList']) ?? []
  if (kind === 'InsertStmt') return columnsIn(childOf(body, 'onConflictClause')?.['targetList']) ?? []
  return asArray(body['mergeWhenClauses']).flatMap((item) => {
    const clause = bodyOf(item, 'MergeWhenClause')
    return textOf(clause, 'commandType') === 'CMD_UPDATE' ? (columnsIn(clause?.['targetList']) ?? []) : []
  })
}
