// Writes whose numbers can be parameters: of one table, without rows that come back, made of expressions in which a
// number is a value and nothing else. What is not known here is not plain. Conditions of ON CONFLICT and subqueries are
// left out: there Postgres compares expressions, and a parameter is another one than the number.
import type { LiteralAt } from './slots.ts'
import { asArray, bodyOf, namesOf, unwrap, type TreeObject } from './tree.ts'

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

/** What a plain expression has in it. */
interface Parts {
  readonly numbers: boolean
  readonly columns: boolean
}

const nothing: Parts = { numbers: false, columns: false }

/**
 * Null for one that is not plain. What is computed of numbers alone is not: Postgres computes it when it plans, whether
 * there are rows or not, and what is wrong with it is an error then.
 */
function partsOf(value: unknown, note: NoteNumber): Parts | null {
  const node = unwrap(value)
  if (node === null) return null
  const { kind, body } = node
  switch (kind) {
    case 'A_Const':
      if (!isNumber(body)) return nothing
      if (typeof body['location'] === 'number') note(body['location'])
      return { ...nothing, numbers: true }
    case 'ColumnRef':
      return { ...nothing, columns: true }
    case 'SQLValueFunction':
    case 'SetToDefault':
      return nothing
    case 'List':
      return joined(asArray(body['items']), note)
    case 'A_Expr':
      return operationOf(body, note)
    case 'BoolExpr':
      return computed(joined(asArray(body['args']), note))
    case 'NullTest':
      return computed(partsOf(body['arg'], note))
    case 'FuncCall':
      if (otherCalls.some((name) => body[name] !== undefined)) return null
      return computed(joined(asArray(body['args']), note))
    default:
      return null
  }
}

const isPlain = (value: unknown, note: NoteNumber): boolean => partsOf(value, note) !== null

function joined(values: readonly unknown[], note: NoteNumber): Parts | null {
  let all = nothing
  for (const value of values) {
    const parts = partsOf(value, note)
    if (parts === null) return null
    all = { numbers: all.numbers || parts.numbers, columns: all.columns || parts.columns }
  }
  return all
}

const computed = (parts: Parts | null): Parts | null =>
  parts !== null && parts.numbers && !parts.columns ? null : parts

/** An operator of no schema, with one side or two. A sign in front of a number is part of it. */
function operationOf({ kind, name, lexpr, rexpr }: TreeObject, note: NoteNumber): Parts | null {
  if (!plainKinds.has(String(kind)) || asArray(name).length !== 1 || rexpr === undefined) return null
  const parts = joined(lexpr === undefined ? [rexpr] : [lexpr, rexpr], note)
  const isSign = lexpr === undefined && unwrap(rexpr)?.kind === 'A_Const' && namesOf(name)[0] === '-'
  return isSign ? parts : computed(parts)
}

/** Those of the grammar's Float may have been written as integers; which are is told by their text when they are sent. */
const isNumber = ({ ival, fval }: TreeObject): boolean => ival !== undefined || fval !== undefined
