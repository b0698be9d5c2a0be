// Whether the rows of a SELECT, run on every shard, may simply be put together: decided here as far as the text alone
// tells. What is not certainly so is refused with the reason.
import type { ColumnName, Concatenation, FromTable } from '../facts.ts'
import { asArray, asObject, bodyOf, childOf, namesOf, textOf, unwrap, type TreeObject } from './tree.ts'

const no = (reason: string): Concatenation => ({ kind: 'no', reason })

/** Parts of a SELECT that concern all its rows together. */
const WHOLE: readonly (readonly [field: string, reason: string])[] = [
  ['distinctClause', 'DISTINCT compares rows of different shards'],
  ['groupClause', 'GROUP BY may need rows of different shards in one group'],
  ['havingClause', 'HAVING is about groups over all shards'],
  ['windowClause', 'a window may need rows of different shards'],
  ['sortClause', 'ORDER BY is about the rows of all shards together'],
  ['limitCount', 'LIMIT counts the rows of all shards together'],
  ['limitOffset', 'OFFSET counts the rows of all shards together'],
  ['lockingClause', 'row locks are taken on one shard at a time'],
  ['withClause', 'what a WITH query gives may need rows of other shards'],
  ['valuesLists', 'VALUES reads no table, so every shard would give the same rows'],
]

/** What a statement of that kind is; see `Concatenation`. */
export function concatenationOf(kind: string, body: TreeObject): Concatenation {
  if (kind !== 'SelectStmt') return no('only a SELECT can run on every shard')
  if (textOf(body, 'op') !== 'SETOP_NONE') return no('a set operation is about the rows of all shards')
  for (const [field, reason] of WHOLE) {
    const part = body[field]
    if (Array.isArray(part) ? part.length > 0 : asObject(part) !== null) return no(reason)
  }
  const from = new FromReader()
  const refusal = from.read(asArray(body['fromClause'])) ?? wholeFunctionIn(body)
  if (refusal !== null) return no(refusal)
  from.compare(body['whereClause'])
  const { tables, optional, ties } = from
  const inside = tablesIn(body, new Set(from.nodes))
  return { kind: 'by-tables', tables, optional, inside, ties }
}

/** Reads a FROM clause of tables and their joins. */
class FromReader {
  readonly tables: FromTable[] = []
  readonly optional: FromTable[] = []
  readonly ties: (readonly [ColumnName, ColumnName])[] = []
  readonly nodes: TreeObject[] = []

  /** Why these items are not for concatenation; null when they are. */
  read(items: readonly unknown[], into = this.tables): string | null {
    for (const item of items) {
      const node = unwrap(item)
      const refusal =
        node?.kind === 'RangeVar'
          ? this.#add(node.body, into)
          : node?.kind === 'JoinExpr'
            ? this.#join(node.body)
            : 'FROM has more than tables and their joins'
      if (refusal !== null) return refusal
    }
    return null
  }

  /** Takes note of columns that a condition says are equal. */
  compare(condition: unknown): void {
    for (const term of conjunctsOf(condition)) {
      const tie = tieOf(term)
      if (tie !== null) this.ties.push(tie)
    }
  }

  #add(relation: TreeObject, into: FromTable[]): string | null {
    const alias = childOf(relation, 'alias')
    if (asArray(alias?.['colnames']).length > 0) return 'a table in FROM has other names for its columns'
    this.nodes.push(relation)
    into.push(named(relation))
    return null
  }

  #join(join: TreeObject): string | null {
    if (join['isNatural'] === true || asArray(join['usingClause']).length > 0) {
      return 'the columns of a NATURAL join, or one with USING, cannot be told apart'
    }
    if (childOf(join, 'alias') !== null) return 'a join in FROM has an alias'
    const type = textOf(join, 'jointype')
    if (type !== 'JOIN_INNER' && type !== 'JOIN_LEFT') return 'an outer join may need rows of other shards'
    const left = this.read([join['larg']])
    if (left !== null) return left
    if (type === 'JOIN_LEFT') {
      return unwrap(join['rarg'])?.kind === 'RangeVar'
        ? this.read([join['rarg']], this.optional)
        : 'an outer join may need rows of other shards'
    }
    this.compare(join['quals'])
    return this.read([join['rarg']])
  }
}

function named(relation: TreeObject): FromTable {
  const name = textOf(relation, 'relname') ?? ''
  return {
    schema: textOf(relation, 'schemaname'),
    name,
    alias: textOf(childOf(relation, 'alias'), 'aliasname') ?? name,
  }
}

function conjunctsOf(condition: unknown): unknown[] {
  const node = unwrap(condition)
  if (node === null) return []
  const isAnd = node.kind === 'BoolExpr' && textOf(node.body, 'boolop') === 'AND_EXPR'
  return isAnd ? asArray(node.body['args']).flatMap(conjunctsOf) : [condition]
}

/** `a.x = b.y`, by the plain `=`; null for anything else. */
function tieOf(term: unknown): readonly [ColumnName, ColumnName] | null {
  const expression = bodyOf(term, 'A_Expr')
  if (expression === null || textOf(expression, 'kind') !== 'AEXPR_OP') return null
  const operator = namesOf(expression['name'])
  if (operator.at(-1) !== '=' || (operator.length > 1 && operator[0] !== 'pg_catalog')) return null
  const left = qualifiedColumn(expression['lexpr'])
  const right = qualifiedColumn(expression['rexpr'])
  return left === null || right === null ? null : [left, right]
}

function qualifiedColumn(value: unknown): ColumnName | null {
  const fields = namesOf(bodyOf(value, 'ColumnRef')?.['fields'])
  const [qualifier, column] = fields
  if (fields.length !== 2 || qualifier === undefined || column === undefined || fields.includes(''))
    return null
  return { qualifier, column }
}

/** Marks of a call that it is no plain function: an aggregate, or one over a window. */
const MARKS = ['over', 'agg_filter', 'agg_order', 'agg_star', 'agg_distinct', 'agg_within_group']
/** Aggregates with a syntax of their own. */
const AGGREGATES = new Set(['JsonObjectAgg', 'JsonArrayAgg', 'GroupingFunc'])

/** A call that by its form alone concerns rows of all shards. Names are looked up in the shard's own catalog later. */
function wholeFunctionIn(value: unknown): string | null {
  if (Array.isArray(value)) return firstOf(value, wholeFunctionIn)
  const node = asObject(value)
  if (node === null) return null
  const call = childOf(node, 'FuncCall')
  const isMarked = call !== null && MARKS.some((mark) => mark in call)
  if (isMarked || Object.keys(node).some((kind) => AGGREGATES.has(kind))) {
    return 'an aggregate or a window function is about the rows of all shards'
  }
  return firstOf(Object.values(node), wholeFunctionIn)
}

function firstOf(values: readonly unknown[], look: (value: unknown) => string | null): string | null {
  for (const value of values) {
    const found = look(value)
    if (found !== null) return found
  }
  return null
}

/** Tables named anywhere but in those nodes: in subqueries. */
function tablesIn(value: unknown, without: ReadonlySet<TreeObject>): FromTable[] {
  if (Array.isArray(value)) return value.flatMap((item) => tablesIn(item, without))
  const node = asObject(value)
  if (node === null) return []
  const own = typeof node['relname'] === 'string' && !without.has(node) ? [named(node)] : []
  return [...own, ...Object.values(node).flatMap((child) => tablesIn(child, without))]
}
