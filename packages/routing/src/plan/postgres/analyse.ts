// From a parse tree to StatementFacts: which tables, functions, operators and types a statement names, and which
// values its outermost level compares with columns. Over-approximates: what is listed may not matter, but nothing
// that matters is left out.
import type { Analysis, Equality, InsertRows, Slot, StatementFacts, TableUse } from '../facts.ts'
import { classify } from './classify.ts'
import { commandOf } from './command.ts'
import { columnOf, conjunctsOf, equalityOf, slotOf } from './slots.ts'
import { asArray, asObject, bodyOf, childOf, namesOf, textOf, unwrap, type TreeObject } from './tree.ts'

/** Deepest tree that is looked at; deeper ones are refused rather than overflow the stack. */
export const treeDepthMax = 1_500

/** The facts of the one statement of a parse result; `text` is what was parsed. */
export function analyseTree(result: unknown, text: string): Analysis {
  const statements = asArray(asObject(result)?.['stmts'])
  if (statements.length === 0) return { kind: 'empty' }
  if (statements.length > 1) return { kind: 'several', count: statements.length }
  const statement = unwrap(asObject(statements[0])?.['stmt'])
  if (statement === null) return { kind: 'empty' }
  const names = new NameCollector()
  if (!names.walk(statement.body, 0, new Set())) return { kind: 'too-complex' }
  return {
    kind: 'statement',
    facts: {
      ...factsOf(statement.kind, statement.body, names),
      command: commandOf(statement.kind, statement.body, text),
    },
  }
}

function factsOf(kind: string, body: TreeObject, names: NameCollector): Omit<StatementFacts, 'command'> {
  const classified = classify(kind, body)
  const target = classified.explained ? unwrap(body['query']) : { kind, body }
  const outer = target === null ? null : outermostOf(target.kind, target.body)
  const truncated = kind === 'TruncateStmt' ? listedIn(body) : new Set<TreeObject>()
  return {
    ...classified,
    parameters: names.parameters,
    tables: names.tables(outer?.tables ?? truncated, truncated),
    equalities: outer?.equalities ?? [],
    insert: target?.kind === 'InsertStmt' ? insertOf(target.body) : null,
    assigned: target === null ? [] : assignedIn(target.kind, target.body),
    functions: [...names.functions],
    fields: [...names.fields],
    operators: [...names.operators],
    types: [...names.types],
  }
}

/** Where nodes name an operator. */
const OPERATOR_FIELD: Readonly<Record<string, string>> = {
  A_Expr: 'name',
  SubLink: 'operName',
  SortBy: 'useOp',
}

/** Gathers every name of a tree in one walk. */
class NameCollector {
  readonly functions = new Set<string>()
  readonly fields = new Set<string>()
  readonly operators = new Set<string>()
  readonly types = new Set<string>()
  /** The highest number of a parameter. */
  parameters = 0
  readonly #relations: TreeObject[] = []
  readonly #written = new Set<TreeObject>()

  /**
   * False when the tree is deeper than the bound.
   * @param ctes names of the WITH queries that can be seen from here
   */
  walk(value: unknown, depth: number, ctes: ReadonlySet<string>): boolean {
    if (depth > treeDepthMax) return false
    if (Array.isArray(value)) return (value as unknown[]).every((item) => this.walk(item, depth + 1, ctes))
    const node = asObject(value)
    if (node === null) return true
    const visible = this.#walkWith(childOf(node, 'withClause'), depth + 1, ctes)
    if (visible === null) return false
    for (const name in node) {
      // FOR UPDATE OF names what FROM has named already.
      if (name === 'withClause' || name === 'lockedRels') continue
      const child = node[name]
      const body = asObject(child)
      if (body !== null) this.#note(name, body, visible)
      if (typeof child === 'object' && child !== null && !this.walk(child, depth + 1, visible)) return false
    }
    return true
  }

  /** What can be seen behind a WITH: its queries see those before them, under RECURSIVE all. Null as `walk` false. */
  #walkWith(
    withClause: TreeObject | null,
    depth: number,
    outer: ReadonlySet<string>,
  ): ReadonlySet<string> | null {
    if (withClause === null) return outer
    const ctes = asArray(withClause['ctes'])
    const nameOf = (cte: unknown): string => textOf(bodyOf(cte, 'CommonTableExpr'), 'ctename') ?? ''
    let visible = withClause['recursive'] === true ? new Set([...outer, ...ctes.map(nameOf)]) : outer
    for (const cte of ctes) {
      if (!this.walk(cte, depth + 1, visible)) return null
      visible = new Set([...visible, nameOf(cte)])
    }
    return visible
  }

  #note(name: string, body: TreeObject, ctes: ReadonlySet<string>): void {
    const relname = body['relname']
    if (typeof relname === 'string') {
      this.#noteRelation(name, body, ctes.has(relname))
      return
    }
    switch (name) {
      case 'FuncCall':
        this.functions.add(namesOf(body['funcname']).at(-1) ?? '')
        return
      case 'ColumnRef':
        for (const field of namesOf(body['fields']).slice(1)) this.fields.add(field)
        return
      case 'A_Indirection':
        for (const field of namesOf(body['indirection'])) this.fields.add(field)
        return
      case 'ParamRef':
        this.parameters = Math.max(this.parameters, Number(body['number'] ?? 0))
        return
      case 'typeName':
        this.types.add(namesOf(body['names']).at(-1) ?? '')
        return
      default:
        this.#noteOperator(name, body)
    }
  }

  #noteRelation(name: string, body: TreeObject, isCte: boolean): void {
    // The target of a write is a table, whatever WITH says.
    const written = name === 'relation' || name === 'rel'
    if (isCte && !written && textOf(body, 'schemaname') === null) return
    this.#relations.push(body)
    if (written) this.#written.add(body)
  }

  #noteOperator(name: string, body: TreeObject): void {
    const field = OPERATOR_FIELD[name]
    const operator = field === undefined ? undefined : namesOf(body[field]).at(-1)
    if (operator !== undefined) this.operators.add(operator)
  }

  tables(outermost: ReadonlySet<TreeObject>, written: ReadonlySet<TreeObject>): TableUse[] {
    return this.#relations.map((relation) => {
      const name = textOf(relation, 'relname') ?? ''
      const schema = textOf(relation, 'schemaname')
      return {
        schema,
        name,
        alias: textOf(childOf(relation, 'alias'), 'aliasname') ?? name,
        written: written.has(relation) || this.#written.has(relation),
        outermost: outermost.has(relation),
      }
    })
  }
}

/** Relations that TRUNCATE names as a list. */
function listedIn(body: TreeObject): Set<TreeObject> {
  const listed = new Set<TreeObject>()
  for (const item of asArray(body['relations'])) {
    const relation = bodyOf(item, 'RangeVar')
    if (relation !== null) listed.add(relation)
  }
  return listed
}

/** Tables and comparisons of the outermost level of SELECT, UPDATE and DELETE; null where there is no one level. */
function outermostOf(
  kind: string,
  body: TreeObject,
): { tables: Set<TreeObject>; equalities: Equality[] } | null {
  const tables = new Set<TreeObject>()
  const relation = childOf(body, 'relation')
  if (relation !== null && (kind === 'UpdateStmt' || kind === 'DeleteStmt' || kind === 'InsertStmt')) {
    tables.add(relation)
  }
  if (kind === 'InsertStmt') {
    // Its WHERE is that of the SELECT; see rowsOf.
    for (const item of asArray(bodyOf(body['selectStmt'], 'SelectStmt')?.['fromClause']))
      addJoined(item, tables)
    return { tables, equalities: [] }
  }
  const joined = kind === 'DeleteStmt' ? body['usingClause'] : body['fromClause']
  if (kind === 'SelectStmt' ? textOf(body, 'op') !== 'SETOP_NONE' : relation === null) return null
  for (const item of asArray(joined)) addJoined(item, tables)
  return { tables, equalities: equalitiesOf(body['whereClause'], joined) }
}

/**
 * Comparisons of a WHERE clause. A column without a qualifier may be one that a join with USING has merged, which has
 * a type of its own: it counts only where there is no such join.
 */
function equalitiesOf(where: unknown, from: unknown): Equality[] {
  const found = conjunctsOf(where).flatMap((conjunct) => equalityOf(conjunct) ?? [])
  return asArray(from).some(mergesColumns) ? found.filter(({ qualifier }) => qualifier !== null) : found
}

function mergesColumns(item: unknown): boolean {
  const join = bodyOf(item, 'JoinExpr')
  if (join === null) return false
  if (join['isNatural'] === true || asArray(join['usingClause']).length > 0) return true
  return mergesColumns(join['larg']) || mergesColumns(join['rarg'])
}

/** Tables whose columns have their own names at that level: not renamed, and not behind the alias of a join. */
function addJoined(item: unknown, tables: Set<TreeObject>): void {
  const node = unwrap(item)
  if (node?.kind === 'RangeVar' && asArray(childOf(node.body, 'alias')?.['colnames']).length === 0) {
    tables.add(node.body)
  }
  if (node?.kind === 'JoinExpr' && childOf(node.body, 'alias') === null) {
    addJoined(node.body['larg'], tables)
    addJoined(node.body['rarg'], tables)
  }
}

function insertOf(body: TreeObject): InsertRows {
  const names = asArray(body['cols']).map((column) => textOf(bodyOf(column, 'ResTarget'), 'name') ?? '')
  const select = bodyOf(body['selectStmt'], 'SelectStmt')
  const rows = select === null ? [] : rowsOf(select)
  return {
    columns: names.length === 0 ? null : names,
    rows: rows.length === 0 ? null : rows,
    overridden: textOf(body, 'override') === 'OVERRIDING_USER_VALUE',
  }
}

/** The rows of VALUES; for a SELECT one row, where a column that is compared with a slot counts as that slot. */
function rowsOf(select: TreeObject): (Slot | null)[][] {
  const lists = asArray(select['valuesLists'])
  if (lists.length > 0)
    return lists.map((list) => slotsOf(asArray(bodyOf(list, 'List')?.['items']), (item) => slotOf(item)))
  if (textOf(select, 'op') !== 'SETOP_NONE') return []
  const tied = equalitiesOf(select['whereClause'], select['fromClause'])
  const selected = asArray(select['targetList']).map((item) => bodyOf(item, 'ResTarget')?.['val'])
  return [slotsOf(selected, (item) => selectedSlot(item, tied))]
}

/** Behind a star nobody knows which column an expression goes to. */
function slotsOf(items: readonly unknown[], read: (item: unknown) => Slot | null): (Slot | null)[] {
  const star = items.findIndex(hasStar)
  return (star < 0 ? items : items.slice(0, star)).map(read)
}

function hasStar(item: unknown): boolean {
  const node = unwrap(item)
  const parts = node?.kind === 'ColumnRef' ? node.body['fields'] : node?.body['indirection']
  return asArray(parts).some((part) => bodyOf(part, 'A_Star') !== null)
}

function selectedSlot(value: unknown, tied: readonly Equality[]): Slot | null {
  const slot = slotOf(value)
  if (slot !== null) return slot
  const column = columnOf(value)
  if (column === null) return null
  const equality = tied.find((item) => item.column === column.column && item.qualifier === column.qualifier)
  const [only] = equality?.slots ?? []
  return equality?.slots.length !== 1 || only === undefined ? null : { ...only, through: column }
}

/** Columns set by UPDATE, by ON CONFLICT DO UPDATE and by the branches of MERGE. */
function assignedIn(kind: string, body: TreeObject): string[] {
  const lists: unknown[] = []
  if (kind === 'UpdateStmt') lists.push(body['targetList'])
  if (kind === 'InsertStmt') lists.push(childOf(body, 'onConflictClause')?.['targetList'])
  if (kind === 'MergeStmt') {
    for (const clause of asArray(body['mergeWhenClauses']))
      lists.push(bodyOf(clause, 'MergeWhenClause')?.['targetList'])
  }
  return lists.flatMap((list) => asArray(list).map((item) => textOf(bodyOf(item, 'ResTarget'), 'name') ?? ''))
}
