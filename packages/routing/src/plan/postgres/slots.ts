// Reads the values that can decide a shard: parameters and literals, compared with a column by the plain `=`.
import type { ColumnName, Equality, LiteralSlot, Slot } from '../facts.ts'
import { asArray, bodyOf, childOf, namesOf, textOf, unwrap, type TreeObject } from './tree.ts'

/** Casts under which a literal or parameter keeps the identity of a key. */
const KEY_CASTS = new Set(['text', 'varchar', 'int2', 'int4', 'int8', 'uuid', 'bytea'])

/** The terms of a WHERE clause that are tied by AND; the clause itself when it is one term. */
export function conjunctsOf(where: unknown): unknown[] {
  const node = unwrap(where)
  if (node === null) return []
  if (node.kind === 'BoolExpr' && textOf(node.body, 'boolop') === 'AND_EXPR') {
    return asArray(node.body['args']).flatMap(conjunctsOf)
  }
  return [where]
}

/** `column = slot`, `slot = column` or `column IN (slots)`; null for anything else. */
export function equalityOf(term: unknown): Equality | null {
  const expression = bodyOf(term, 'A_Expr')
  if (expression === null || !isPlainEquals(expression)) return null
  if (textOf(expression, 'kind') === 'AEXPR_IN') {
    const items = asArray(bodyOf(expression['rexpr'], 'List')?.['items'])
    return equality(columnOf(expression['lexpr']), items.map(slotOf))
  }
  if (textOf(expression, 'kind') !== 'AEXPR_OP') return null
  const left = columnOf(expression['lexpr'])
  if (left !== null) return equality(left, [slotOf(expression['rexpr'])])
  return equality(columnOf(expression['rexpr']), [slotOf(expression['lexpr'])])
}

function isPlainEquals(expression: TreeObject): boolean {
  const names = namesOf(expression['name'])
  return names.at(-1) === '=' && (names.length === 1 || names[0] === 'pg_catalog')
}

function equality(column: ColumnName | null, slots: (Slot | null)[]): Equality | null {
  if (column === null || slots.length === 0 || slots.includes(null)) return null
  return { ...column, slots: slots.filter((slot) => slot !== null) }
}

/** `column` or `table.column`; with a schema in front the name before the column is taken. */
export function columnOf(value: unknown): ColumnName | null {
  const fields = namesOf(bodyOf(value, 'ColumnRef')?.['fields'])
  const column = fields.at(-1)
  if (column === undefined || fields.includes('')) return null
  return { qualifier: fields.at(-2) ?? null, column }
}

/**
 * A parameter, a literal or NULL, under no cast or one that keeps its identity; null for anything else. Two casts
 * in a row may change the text (`$1::uuid::text` folds case), so they count as something else.
 */
export function slotOf(value: unknown): Slot | null {
  const node = unwrap(value)
  if (node === null) return null
  if (node.kind === 'ParamRef') {
    const number = node.body['number']
    return typeof number === 'number' && number > 0
      ? { kind: 'parameter', index: number - 1, cast: null, list: false }
      : null
  }
  if (node.kind === 'A_Const') return literalOf(node.body)
  if (node.kind !== 'TypeCast' || unwrap(node.body['arg'])?.kind === 'TypeCast') return null
  const cast = keyCastOf(childOf(node.body, 'typeName'))
  const slot = cast === null ? null : slotOf(node.body['arg'])
  return slot === null || slot.kind === 'null' ? slot : { ...slot, cast }
}

function keyCastOf(type: TreeObject | null): string | null {
  const names = namesOf(type?.['names'])
  const isBuiltIn = names.length === 1 || names[0] === 'pg_catalog'
  const isSized = asArray(type?.['typmods']).length > 0 || asArray(type?.['arrayBounds']).length > 0
  const name = names.at(-1) ?? ''
  return isBuiltIn && !isSized && KEY_CASTS.has(name) ? name : null
}

function literalOf(constant: TreeObject): Slot | null {
  if (constant['isnull'] === true) return { kind: 'null', list: false }
  const text = childOf(constant, 'sval')
  if (text !== null) return { ...literal(textOf(text, 'sval') ?? ''), quoted: true }
  const integer = childOf(constant, 'ival')
  if (integer !== null) return literal(String(typeof integer['ival'] === 'number' ? integer['ival'] : 0))
  // An integer beyond 32 bits is a Float to the grammar; one with a point or an exponent is numeric, not a key.
  // Its text is that of the source, but the value that a column gets has no leading zeros.
  const digits = /^(-?)0*(\d+)$/.exec(textOf(childOf(constant, 'fval'), 'fval') ?? '')
  return digits === null ? null : literal(`${digits[1] ?? ''}${digits[2] ?? ''}`)
}

const literal = (text: string): LiteralSlot => ({
  kind: 'literal',
  text,
  cast: null,
  list: false,
  quoted: false,
  source: null,
  negative: text.startsWith('-'),
})
