// The keys of the rows that a statement concerns, by the tables that it names.
import type { KeyType } from '@fleetshard/core'
import type { Slot } from '../facts.ts'
import type { Block, NewRows, Operand } from '../query.ts'
import { knownWidth } from './columns.ts'
import { Deriver, type FoundWrite, type Mention } from './derive.ts'
import { Instances, TooLarge, type Instance, type KeyAt } from './instances.ts'
import { bestPin, keepsKey, keepsKeyInside } from './pins.ts'
import { guarded, knownOf, type Guard, type Terms } from './terms.ts'

/** New rows of one table: the values of its key, or why they cannot be seen. */
export type InsertedKeys =
  | { readonly kind: 'seen'; readonly slots: readonly Slot[] }
  | { readonly kind: 'unseen'; readonly why: 'columns' | 'overridden' | 'missing' | 'value' }

/** What a write does to its target. */
export interface InferredWrite {
  readonly target: number
  readonly action: 'insert' | 'update' | 'delete' | 'merge'
  readonly assigned: readonly string[]
  /** Empty where the table has no shard key. */
  readonly inserts: readonly InsertedKeys[]
}

/** What is known of the tables of a statement, by their place in its facts. */
export interface Inference {
  /** The values of the key at every place where the table is read; null where one place does not say. */
  keysAt(use: number): readonly (readonly Slot[])[] | null
  readonly writes: readonly InferredWrite[]
}

const nothingKnown: Inference = { keysAt: () => null, writes: [] }

/** Follows the keys through a statement. */
export function infer(block: Block | null, keyAt: KeyAt): Inference {
  if (block === null) return nothingKnown
  try {
    return inferBlock(block, keyAt)
  } catch (error) {
    if (error instanceof TooLarge) return nothingKnown
    throw error
  }
}

function inferBlock(block: Block, keyAt: KeyAt): Inference {
  const instances = new Instances(keyAt)
  const deriver = new Deriver()
  deriver.walk(instances.make(block), null)
  const byUse = Map.groupBy(deriver.mentions, ({ use }) => use)
  return {
    keysAt(use) {
      const type = keyAt(use)?.type
      const mentions = byUse.get(use)
      if (type === undefined || mentions === undefined) return null
      const keys = mentions.map((mention) => pinOf(mention, type))
      const known = keys.filter((pin) => pin !== null)
      return known.length === keys.length ? known : null
    },
    writes: deriver.writes.flatMap((write) => writeOf(write, { keyAt, deriver, terms: instances.terms })),
  }
}

function pinOf({ term, guard }: Mention, type: KeyType): readonly Slot[] | null {
  if (term === null) return null
  const { pins } = knownOf(term, guard)
  return bestPin(pins.filter((slots) => slots.every((slot) => keepsKey(slot, type))))
}

interface WriteParts {
  readonly keyAt: KeyAt
  readonly deriver: Deriver
  readonly terms: Terms
}

function writeOf({ instance, guard }: FoundWrite, parts: WriteParts): InferredWrite[] {
  const { block } = instance
  if (block.kind !== 'write') return []
  const { target, action, assigned } = block
  const key = parts.keyAt(target)
  const inserts =
    key === null ? [] : instance.inserts.map((insert) => insertedKeys(insert, key, { ...parts, guard }))
  return [{ target, action, assigned, inserts }]
}

const unseen = (why: Extract<InsertedKeys, { kind: 'unseen' }>['why']): InsertedKeys => ({
  kind: 'unseen',
  why,
})

function insertedKeys(
  { rows, source }: { rows: NewRows; source: Instance | null },
  key: { column: string; type: KeyType },
  parts: WriteParts & { guard: Guard | null },
): InsertedKeys {
  if (rows.columns === null) return unseen('columns')
  if (rows.overridden) return unseen('overridden')
  const position = rows.columns.indexOf(key.column)
  if (position < 0) return unseen('missing')
  if (source === null) return unseen('value')
  const slots: Slot[] = []
  const { block } = source
  const keeps = block.kind === 'values' && block.isQuery ? keepsKeyInside : keepsKey
  for (const operand of operandsAt(block, position)) {
    const found =
      operand.kind === 'slot'
        ? keeps(operand.slot, key.type)
          ? [operand.slot]
          : null
        : operand.kind === 'column'
          ? carriedKeys(source, position, { ...parts, type: key.type })
          : null
    if (found === null) return unseen('value')
    slots.push(...found)
  }
  return slots.length === 0 ? unseen('value') : { kind: 'seen', slots }
}

/** What the rows have at that position: one for each row of VALUES, one for SELECT. */
function operandsAt(block: Block, position: number): Operand[] {
  if (block.kind === 'values') return block.rows.map((row) => operandAt(row, position))
  if (block.kind !== 'select') return [{ kind: 'other' }]
  const values = block.outputs.map(({ value }) => value)
  return [operandAt(values, position)]
}

const operandAt = (values: readonly Operand[], position: number): Operand =>
  position < knownWidth(values) ? (values[position] ?? { kind: 'other' }) : { kind: 'other' }

/**
 * The values of a column that is selected. Of equal values the text may differ between types, so the column must be a
 * key of the same type, or a constant that has not become another type on the way.
 */
function carriedKeys(
  source: Instance,
  position: number,
  { deriver, terms, guard, type }: WriteParts & { guard: Guard | null; type: KeyType },
): readonly Slot[] | null {
  const term = source.at(position)
  if (term === null) return null
  const inside = guarded(guarded(guard, deriver.implied(source, 'strict')), deriver.facts(source, 'strict'))
  const isConstant = terms.typeOf(term) === 'constant'
  if (!isConstant && terms.typeOf(term) !== type) return null
  const keeps = isConstant ? keepsKeyInside : keepsKey
  return bestPin(knownOf(term, inside).pins.filter((slots) => slots.every((slot) => keeps(slot, type))))
}
