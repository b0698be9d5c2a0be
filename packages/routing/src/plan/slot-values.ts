// The keys that the slots of a plan stand for in one call.
import { assertNever, FleetError, parseKey, type CanonicalKey, type KeyType } from '@fleetshard/core'
import { parseArrayText } from './array-text.ts'
import type { Slot } from './facts.ts'
import type { Literals } from './lexer/lexed.ts'
import { slotKey } from './slot-key.ts'
import { keyOfParameter, keysOfParameter, WireParameter } from './wire-parameter.ts'

/** The values of a call. A parameter is a value of JSON, or a WireParameter. */
export interface Values {
  readonly params: readonly unknown[]
  /** The literals of this call, where the statement is known by a lexed key. */
  readonly literals?: Literals | undefined
}

/**
 * The keys: one, or for a list as many as it has.
 * @throws FleetError `invalid_shard_key`
 */
export function keysOfSlot(slot: Slot, values: Values, type: KeyType): readonly CanonicalKey[] {
  switch (slot.kind) {
    case 'parameter': {
      const value = values.params[slot.index]
      if (!slot.list)
        return [value instanceof WireParameter ? keyOfParameter(value, type) : slotKey(value, type)]
      return value instanceof WireParameter ? keysOfParameter(value, type) : keysOfList(value, type)
    }
    case 'literal': {
      const text = literalText(slot, values.literals)
      // As Postgres reads it: a literal of bytea is never base64.
      return slot.list ? keysOfList(text, type) : [parseKey(text, type)]
    }
    case 'null':
      return slot.list ? [] : [parseKey(null, type)]
    default:
      return assertNever(slot)
  }
}

function literalText(slot: Extract<Slot, { kind: 'literal' }>, literals: Literals | undefined): string {
  if (literals === undefined || slot.source === null) return slot.text
  const text = literals.text(slot.source)
  return slot.negative && text !== '0' ? `-${text}` : text
}

/** An array of JSON, or the text form of one. Its NULLs are no keys, since nothing equals them. */
function keysOfList(value: unknown, type: KeyType): readonly CanonicalKey[] {
  if (value === null) return []
  const items: readonly unknown[] | null =
    typeof value === 'string' ? parseArrayText(value) : Array.isArray(value) ? value : null
  if (items === null) {
    throw new FleetError('invalid_shard_key', 'the parameter that has the shard keys is not an array', {
      hint: 'send an array, with one key for each item',
    })
  }
  return items.flatMap((item) => (item === null ? [] : [parseKey(item, type)]))
}
