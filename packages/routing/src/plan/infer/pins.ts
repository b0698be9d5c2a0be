// Values that a key is known to have, and whether they are keys of that type as they stand.
import type { KeyType } from '@fleetshard/core'
import type { Slot } from '../facts.ts'

/** Casts that leave a value of a key type as it is. Under another one, a column may get a text that is not ours. */
const KEEPING: Readonly<Record<KeyType, readonly string[]>> = {
  text: ['text', 'varchar'],
  int2: ['int2', 'int4', 'int8'],
  int4: ['int2', 'int4', 'int8'],
  int8: ['int2', 'int4', 'int8'],
  uuid: ['uuid'],
  bytea: ['bytea'],
}

/** Whether the value reaches a column of that type, or is compared with it, as it stands. */
export const keepsKey = (slot: Slot, type: KeyType): boolean =>
  slot.kind === 'null' || slot.cast === null || KEEPING[type].includes(slot.cast)

/**
 * Whether a value that went through a subquery reaches a column of that type as it stands: there it has got a type,
 * and of several literals in one column all get the same.
 */
export const keepsKeyInside = (slot: Slot, type: KeyType): boolean =>
  keepsKey(slot, type) && (type !== 'text' || slot.kind !== 'literal' || slot.quoted || slot.cast !== null)

/** The shortest of several lists of values that all hold; null without any. */
export function bestPin(pins: readonly (readonly Slot[])[]): readonly Slot[] | null {
  let best: readonly Slot[] | null = null
  for (const pin of pins) if (best === null || pin.length < best.length) best = pin
  return best
}
