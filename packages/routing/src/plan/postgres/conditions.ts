// The conditions that an expression puts on every row it is true of: what is tied by AND, equalities, IN, `= ANY`, row
// comparisons, OR of equalities on one column, subqueries. What is not understood is left out: it only restricts more.
import type { ColumnName, Slot } from '../facts.ts'
import type { Condition } from '../query.ts'
import { columnOf, isPlainEquals, type SlotReader } from './slots.ts'
import { asArray, bodyOf, namesOf, textOf, unwrap, type TreeObject } from './tree.ts'

/** Most values of one column that are followed. */
const slotsMax = 100_000

/** What reads conditions. `subqueryAt` has the place of a subquery among those of its block. */
export interface ConditionParts {
  readonly slots: SlotReader
  readonly subqueryAt: (link: TreeObject) => number | null
}

/** The conditions of a WHERE or ON clause. */
export function conditionsOf(clause: unknown, parts: ConditionParts): Condition[] {
  const node = unwrap(clause)
  if (node === null) return []
  switch (node.kind) {
    case 'BoolExpr':
      return ofBoolean(node.body, parts)
    case 'SubLink':
      return ofSubquery(node.body, parts)
    case 'A_Expr':
      return ofComparison(node.body, parts)
    default:
      return []
  }
}

function ofBoolean(body: TreeObject, parts: ConditionParts): Condition[] {
  const args = asArray(body['args'])
  switch (textOf(body, 'boolop')) {
    case 'AND_EXPR':
      return args.flatMap((arg) => conditionsOf(arg, parts))
    case 'OR_EXPR':
      return anyOf(args.map((arg) => conditionsOf(arg, parts)))
    default:
      return []
  }
}

type In = Extract<Condition, { kind: 'in' }>

const sameColumn = (one: ColumnName, other: ColumnName): boolean =>
  one.column === other.column && one.qualifier === other.qualifier

/** A column that each alternative compares with values has one of all these values. */
function anyOf(alternatives: readonly (readonly Condition[])[]): Condition[] {
  const [first = [], ...others] = alternatives
  return first.flatMap((condition) => {
    if (condition.kind !== 'in') return []
    const slots: Slot[] = [...condition.slots]
    for (const other of others) {
      const same = other.find(
        (item): item is In => item.kind === 'in' && sameColumn(item.column, condition.column),
      )
      if (same === undefined || slots.length > slotsMax) return []
      slots.push(...same.slots)
    }
    return [{ ...condition, slots }]
  })
}

function ofSubquery(link: TreeObject, parts: ConditionParts): Condition[] {
  const type = textOf(link, 'subLinkType')
  const subquery = parts.subqueryAt(link)
  if (subquery === null || (type !== 'EXISTS_SUBLINK' && !isIn(link))) return []
  return [{ kind: 'subquery', subquery }]
}

/** IN (SELECT …), or `= ANY (SELECT …)`. */
export function isIn(link: TreeObject): boolean {
  if (textOf(link, 'subLinkType') !== 'ANY_SUBLINK') return false
  return namesOf(link['operName']).length === 0 || isPlainEquals(link['operName'])
}

function ofComparison(body: TreeObject, parts: ConditionParts): Condition[] {
  if (!isPlainEquals(body['name'])) return []
  const [left, right] = [body['lexpr'], body['rexpr']]
  switch (textOf(body, 'kind')) {
    case 'AEXPR_OP':
      return ofEquality(left, right, parts)
    case 'AEXPR_OP_ANY':
      return ofList(columnOf(left), parts.slots.list(right))
    case 'AEXPR_IN':
      return ofIn(left, asArray(bodyOf(right, 'List')?.['items']), parts)
    default:
      return []
  }
}

function ofList(column: ColumnName | null, slots: readonly (Slot | null)[] | null): Condition[] {
  if (column === null || slots === null || slots.length > slotsMax) return []
  const known = slots.filter((slot) => slot !== null)
  return known.length === slots.length ? [{ kind: 'in', column, slots: known }] : []
}

function ofEquality(left: unknown, right: unknown, parts: ConditionParts): Condition[] {
  const [leftRow, rightRow] = [rowOf(left), rowOf(right)]
  if (leftRow !== null && rightRow !== null && leftRow.length === rightRow.length) {
    return leftRow.flatMap((item, index) => ofEquality(item, rightRow[index], parts))
  }
  const [one, other] = [columnOf(left), columnOf(right)]
  if (one !== null && other !== null) return [{ kind: 'equal', one, other }]
  const [column, value] = one === null ? [other, left] : [one, right]
  if (column === null) return []
  const link = bodyOf(value, 'SubLink')
  if (link === null) return ofList(column, [parts.slots.one(value)])
  const subquery = textOf(link, 'subLinkType') === 'EXPR_SUBLINK' ? parts.subqueryAt(link) : null
  return subquery === null ? [] : [{ kind: 'subquery', subquery }]
}

/** `column IN (…)`, `(column, other) IN ((…), (…))`. */
function ofIn(left: unknown, items: readonly unknown[], parts: ConditionParts): Condition[] {
  const columns = rowOf(left)
  if (columns === null) {
    return ofList(
      columnOf(left),
      items.map((item) => parts.slots.one(item)),
    )
  }
  const rows = items.map(rowOf)
  return columns.flatMap((column, index) =>
    ofList(
      columnOf(column),
      rows.map((row) => parts.slots.one(row?.length === columns.length ? row[index] : null)),
    ),
  )
}

/** The items of `(a, b)` or ROW(a, b). */
export function rowOf(value: unknown): readonly unknown[] | null {
  const row = bodyOf(value, 'RowExpr')
  return row === null ? null : asArray(row['args'])
}

/** The columns that IN compares with those of its subquery. */
export function comparedByIn(link: TreeObject): (ColumnName | null)[] {
  const test = link['testexpr']
  return (rowOf(test) ?? [test]).map(columnOf)
}

/** `column = (SELECT …)`, either way round: the subquery and the column. */
export function comparedScalar(expression: TreeObject): { link: TreeObject; column: ColumnName } | null {
  if (textOf(expression, 'kind') !== 'AEXPR_OP' || !isPlainEquals(expression['name'])) return null
  const [left, right] = [expression['lexpr'], expression['rexpr']]
  const link = bodyOf(left, 'SubLink') ?? bodyOf(right, 'SubLink')
  const column = columnOf(left) ?? columnOf(right)
  if (link === null || column === null || textOf(link, 'subLinkType') !== 'EXPR_SUBLINK') return null
  return { link, column }
}
