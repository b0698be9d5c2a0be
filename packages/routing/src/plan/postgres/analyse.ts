// From a parse tree to StatementFacts: which tables, functions, operators and types a statement names, and what its
// blocks compare. Over-approximates: what is listed may not matter, but nothing
// that matters is left out.
import type { Analysis, StatementFacts, TableUse } from '../facts.ts'
import { literalsIn } from '../lexer/literal-places.ts'
import { BlockReader } from './blocks.ts'
import { classify } from './classify.ts'
import { concatenationOf } from './concatenation.ts'
import { commandOf } from './command.ts'
import { SlotReader } from './slots.ts'
import { lockedIn } from './locked.ts'
import { plainNumbersIn } from './plain-write.ts'
import { asArray, asObject, bodyOf, childOf, namesOf, textOf, unwrap, type TreeObject } from './tree.ts'

/** Deepest tree that is looked at; deeper ones are refused rather than overflow the stack. */
export const treeDepthMax = 4_000

/** The facts of the one statement of a parse result; `text` is what was parsed. */
export function analyseTree(result: unknown, text: string): Analysis {
  const statements = asArray(asObject(result)?.['stmts'])
  if (statements.length === 0) return { kind: 'empty' }
  if (statements.length > 1) return { kind: 'several', count: statements.length }
  const statement = unwrap(asObject(statements[0])?.['stmt'])
  if (statement === null) return { kind: 'empty' }
  const names = new NameCollector()
  if (!names.walk(statement.body, 0, new Set())) return { kind: 'too-complex' }
  return { kind: 'statement', facts: factsOf(statement.kind, statement.body, { names, text }) }
}

function factsOf(kind: string, body: TreeObject, { names, text }: Reading): StatementFacts {
  const classified = classify(kind, body)
  const slots = new SlotReader(literalsIn(text))
  const blocks = new BlockReader({ slots, useOf: (relation) => names.useOf(relation) })
  const inside = INSIDE.has(kind) ? body['query'] : { [kind]: body }
  return {
    ...classified,
    command: commandOf(kind, body, text),
    parameters: names.parameters,
    tables: names.tables({
      written: kind === 'TruncateStmt' ? listedIn(body) : none,
      locked: kind === 'LockStmt' ? listedIn(body) : none,
    }),
    query: blocks.block(inside),
    concatenation: concatenationOf(kind, body),
    plainNumbers: plainNumbersIn(kind, body, literalsIn(text)),
    functions: [...names.functions],
    hasValueFunctions: names.hasValueFunctions,
    fields: [...names.fields],
    operators: [...names.operators],
    types: [...names.types],
  }
}

const none: ReadonlySet<TreeObject> = new Set()

/** Statements around another one. */
const INSIDE = new Set(['ExplainStmt', 'DeclareCursorStmt', 'PrepareStmt', 'CopyStmt'])

interface Reading {
  readonly names: NameCollector
  /** What was parsed. */
  readonly text: string
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
  hasValueFunctions = false
  /** The highest number of a parameter. */
  parameters = 0
  readonly #relations: TreeObject[] = []
  readonly #places = new Map<TreeObject, number>()
  readonly #written = new Set<TreeObject>()
  readonly #locked = new Set<TreeObject>()

  /**
   * False when the tree is deeper than the bound.
   * @param ctes names of the WITH queries that can be seen from here
   */
  walk(value: unknown, depth: number, ctes: ReadonlySet<string>): boolean {
    if (depth > treeDepthMax) return false
    if (Array.isArray(value)) return (value as unknown[]).every((item) => this.walk(item, depth + 1, ctes))
    const node = asObject(value)
    if (node === null) return true
    for (const relation of lockedIn(node)) this.#locked.add(relation)
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
      case 'SQLValueFunction':
        this.hasValueFunctions = true
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
    this.#places.set(body, this.#relations.length)
    this.#relations.push(body)
    if (written) this.#written.add(body)
  }

  #noteOperator(name: string, body: TreeObject): void {
    const field = OPERATOR_FIELD[name]
    const operator = field === undefined ? undefined : namesOf(body[field]).at(-1)
    if (operator !== undefined) this.operators.add(operator)
  }

  tables(listed: Readonly<Record<'written' | 'locked', ReadonlySet<TreeObject>>>): TableUse[] {
    return this.#relations.map((relation) => {
      const name = textOf(relation, 'relname') ?? ''
      return {
        schema: textOf(relation, 'schemaname'),
        name,
        written: listed.written.has(relation) || this.#written.has(relation),
        locked: listed.locked.has(relation) || this.#locked.has(relation),
      }
    })
  }

  /** The place among `tables`; null for a WITH query. */
  useOf(relation: TreeObject): number | null {
    return this.#places.get(relation) ?? null
  }
}

/** Relations that TRUNCATE and LOCK name as a list. */
function listedIn(body: TreeObject): Set<TreeObject> {
  const listed = new Set<TreeObject>()
  for (const item of asArray(body['relations'])) {
    const relation = bodyOf(item, 'RangeVar')
    if (relation !== null) listed.add(relation)
  }
  return listed
}
