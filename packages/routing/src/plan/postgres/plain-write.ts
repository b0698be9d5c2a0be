// Writes whose numbers can be parameters: of one table, without rows that come back, made of expressions in which a
// number is a value and nothing else. What is not known here is not plain. Conditions of ON CONFLICT and subqueries are
// left out: there Postgres compares expressions, and a parameter is another one than the number.
import type { LiteralAt } from './slots.ts'
import { asArray, bodyOf, unwrap, type TreeObject } from './tree.ts'

/**
 * How many of the literals that the lexer takes out are such numbers, in an INSERT of VALUES, an UPDATE or a DELETE of
 * that form; 0 for any other statement.
 */
export function plainNumbersIn(kind: string, body: TreeObject, literalAt: LiteralAt): number {
  const sources = new Set<number>()
  const note: NoteNumber = (location) => {
    const source = literalAt(location)?.source ?? null
    if (source !== null) sources.add(source)
  }
  return isPlainWrite(kind, body, (value) => isPlain(value, note)) ? sources.size : 0
}

type NoteNumber = (location: number) => void

/** What such a statement may have; anything else is more than is known here. */
const fields: Readonly<Record<string, ReadonlySet<string>>> = {
  InsertStmt: new Set(['relation', 'cols', 'selectStmt', 'override']),
  UpdateStmt: new Set(['relation', 'targetList', 'whereClause']),
  DeleteStmt: new Set(['relation', 'whereClause']),
}

function isPlainWrite(kind: string, body: TreeObject, isPlainPart: (value: unknown) => boolean): boolean {
  const known = fields[kind]
  if (known === undefined || !Object.keys(body).every((name) => known.has(name))) return false
  if (kind === 'InsertStmt') return isPlainValues(bodyOf(body['selectStmt'], 'SelectStmt'), isPlainPart)
  const targets = asArray(body['targetList'])
  return targets.every((item) => isPlainTarget(item, isPlainPart)) && isPlainPart(body['whereClause'])
}

/** Of a SELECT these are what VALUES has; the rest says nothing where it is missing. */
const valuesFields = new Set(['valuesLists', 'limitOption', 'op'])

function isPlainValues(body: TreeObject | null, isPlainPart: (value: unknown) => boolean): boolean {
  if (body === null) return false
  const lists = asArray(body['valuesLists'])
  const isBare = Object.keys(body).every((name) => valuesFields.has(name))
  return isBare && lists.length > 0 && lists.every(isPlainPart)
}

function isPlainTarget(item: unknown, isPlainPart: (value: unknown) => boolean): boolean {
  const target = bodyOf(item, 'ResTarget')
  return target !== null && asArray(target['indirection']).length === 0 && isPlainPart(target['val'])
}

const plainKinds: ReadonlySet<string> = new Set([
  'AEXPR_OP',
  'AEXPR_IN',
  'AEXPR_DISTINCT',
  'AEXPR_NOT_DISTINCT',
])
/** What aggregates, windows and variadic calls have. */
const otherCalls = [
  'agg_order',
  'agg_filter',
  'agg_within_group',
  'agg_star',
  'agg_distinct',
  'over',
  'func_variadic',
]

function isPlain(value: unknown, note: NoteNumber): boolean {
  const node = unwrap(value)
  if (node === null) return false
  const { kind, body } = node
  const areAll = (name: string): boolean => asArray(body[name]).every((one) => isPlain(one, note))
  switch (kind) {
    case 'A_Const':
      if (typeof body['location'] === 'number' && isNumber(body)) note(body['location'])
      return true
    case 'ColumnRef':
    case 'SQLValueFunction':
    case 'SetToDefault':
      return true
    case 'List':
      return areAll('items')
    case 'A_Expr':
      return (
        isPlainOperation(body) &&
        [body['lexpr'], body['rexpr']].every((one) => one === undefined || isPlain(one, note))
      )
    case 'BoolExpr':
      return areAll('args')
    case 'NullTest':
      return isPlain(body['arg'], note)
    case 'FuncCall':
      return !otherCalls.some((name) => body[name] !== undefined) && areAll('args')
    default:
      return false
  }
}

/** Those of the grammar's Float may have been written as integers; which are is told by their text when they are sent. */
const isNumber = ({ ival, fval }: TreeObject): boolean => ival !== undefined || fval !== undefined

/** An operator of no schema, with one side or two. */
const isPlainOperation = ({ kind, name, rexpr }: TreeObject): boolean =>
  plainKinds.has(String(kind)) && asArray(name).length === 1 && rexpr !== undefined
