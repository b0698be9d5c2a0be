// Reads the values that can decide a shard: parameters and literals, single or as a list.
import type { ColumnName, LiteralSlot, Slot } from '../facts.ts'
import { asArray, bodyOf, childOf, namesOf, textOf, unwrap, type TreeObject } from './tree.ts'

/** Casts under which a literal or parameter keeps the identity of a key. */
const KEY_CASTS = new Set(['text', 'varchar', 'int2', 'int4', 'int8', 'uuid', 'bytea'])

/**
 * Which of the literals that the lexer takes out a constant is, by its place in the text, in bytes; `source` is null
 * for one that stays in the key. Null when that cannot be told: then its value must not be relied on.
 */
export type LiteralAt = (location: number) => { source: number | null; negative: boolean } | null

/** `=` of no schema, or of pg_catalog. */
export function isPlainEquals(name: unknown): boolean {
  const names = namesOf(name)
  return names.at(-1) === '=' && (names.length === 1 || names[0] === 'pg_catalog')
}

/** `column` or `table.column`; with a schema in front the name before the column is taken. */
export function columnOf(value: unknown): ColumnName | null {
  const fields = namesOf(bodyOf(value, 'ColumnRef')?.['fields'])
  const column = fields.at(-1)
  if (column === undefined || fields.includes('')) return null
  return { qualifier: fields.at(-2) ?? null, column }
}

/** Reads slots of one statement. */
export class SlotReader {
  readonly #literalAt: LiteralAt

  constructor(literalAt: LiteralAt) {
    this.#literalAt = literalAt
  }

  /**
   * A parameter, a literal or NULL, under no cast or one that keeps its identity; null for anything else. Two casts
   * in a row may change the text (`$1::uuid::text` folds case), so they count as something else.
   */
  one(value: unknown): Slot | null {
    const node = unwrap(value)
    if (node === null) return null
    if (node.kind === 'ParamRef') return parameterOf(node.body)
    if (node.kind === 'A_Const') return this.#literal(node.body)
    if (node.kind !== 'TypeCast' || unwrap(node.body['arg'])?.kind === 'TypeCast') return null
    const cast = keyCastOf(childOf(node.body, 'typeName'), 0)
    const slot = cast === null ? null : this.one(node.body['arg'])
    return slot === null || slot.kind === 'null' ? slot : { ...slot, cast }
  }

  /** The right side of `= ANY`: an array as a parameter or a literal, or the items of ARRAY[…]; null for anything else. */
  list(value: unknown): Slot[] | null {
    const node = unwrap(value)
    if (node === null) return null
    if (node.kind === 'A_ArrayExpr') return this.#items(node.body, null)
    if (node.kind !== 'TypeCast') return asList(this.one(value))
    const inner = unwrap(node.body['arg'])
    const cast = keyCastOf(childOf(node.body, 'typeName'), 1)
    if (cast === null || inner === null || inner.kind === 'TypeCast') return null
    if (inner.kind === 'A_ArrayExpr') return this.#items(inner.body, cast)
    return asList(this.one(node.body['arg']), cast)
  }

  #items(array: TreeObject, cast: string | null): Slot[] | null {
    const slots: Slot[] = []
    for (const item of asArray(array['elements'])) {
      const slot = this.one(item)
      if (slot === null) return null
      // A NULL equals nothing.
      if (slot.kind === 'null') continue
      if (cast !== null && slot.cast !== null) return null
      slots.push(cast === null ? slot : { ...slot, cast })
    }
    return slots
  }

  #literal(constant: TreeObject): Slot | null {
    if (constant['isnull'] === true) return { kind: 'null', list: false }
    const { location } = constant
    const place = typeof location === 'number' ? this.#literalAt(location) : null
    if (place === null) return null
    const literal = (text: string, quoted: boolean): LiteralSlot => ({
      kind: 'literal',
      text,
      cast: null,
      list: false,
      quoted,
      ...place,
    })
    const text = childOf(constant, 'sval')
    if (text !== null) return literal(textOf(text, 'sval') ?? '', true)
    const integer = childOf(constant, 'ival')
    if (integer !== null) return literal(String(Number(integer['ival'] ?? 0)), false)
    // An integer beyond 32 bits is a Float to the grammar; one with a point or an exponent is numeric, not a key.
    // Its text is that of the source, but the value that a column gets has no leading zeros.
    const digits = /^(-?)0*(\d+)$/.exec(textOf(childOf(constant, 'fval'), 'fval') ?? '')
    return digits === null ? null : literal(`${digits[1] ?? ''}${digits[2] ?? ''}`, false)
  }
}

function parameterOf(body: TreeObject): Slot | null {
  const number = body['number']
  return typeof number === 'number' && number > 0
    ? { kind: 'parameter', index: number - 1, cast: null, list: false }
    : null
}

/** A text, or a parameter, that is an array as a whole. */
function asList(slot: Slot | null, cast: string | null = null): Slot[] | null {
  if (slot === null || (slot.kind !== 'null' && slot.cast !== null)) return null
  if (slot.kind === 'null') return [{ ...slot, list: true }]
  if (slot.kind === 'literal' && !slot.quoted) return null
  return [{ ...slot, cast, list: true }]
}

function keyCastOf(type: TreeObject | null, dimensions: 0 | 1): string | null {
  const names = namesOf(type?.['names'])
  const isBuiltIn = names.length === 1 || names[0] === 'pg_catalog'
  const isSized = asArray(type?.['typmods']).length > 0
  const name = names.at(-1) ?? ''
  const isShaped = asArray(type?.['arrayBounds']).length === dimensions
  return isBuiltIn && !isSized && isShaped && KEY_CASTS.has(name) ? name : null
}
