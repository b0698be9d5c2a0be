// Statements that name values only to find rows by them: they can be prepared once and run with other values, which
// spares the server the work of reading and planning each of them.
import type { KnownStatement } from './cache.ts'
import type { LiteralSlot } from './facts.ts'
import type { LiteralKind } from './lexer/lexed.ts'

/** Longer keys are not prepared: they are rarely sent twice. */
export const keyLengthMax = 8 * 1024

/** What literals can be followed to a column; numbers with a point or an exponent are not. */
export type ComparedKind = Exclude<LiteralKind, 'number'>

/** A statement whose literals have become parameters, in their order. */
export interface LookupText {
  readonly text: string
  readonly kinds: readonly ComparedKind[]
}

/**
 * The statement of that lexed key with a parameter in place of each literal, when nothing but values of rows can depend
 * on them: a read, each of whose literals is compared with a column by `=`. There a parameter is given the type that the
 * literal would have had, so that the same operator is chosen. Null for any other.
 */
export function lookupTextOf(known: KnownStatement, key: string): LookupText | null {
  const { facts } = known
  const isRead = facts.kind === 'read' && facts.command.kind === 'rows' && !facts.explained
  if (!isRead || facts.parameters > 0 || key.length > keyLengthMax) return null
  const kinds: ComparedKind[] = []
  const text = key.replaceAll(/\0([si])/g, (_, mark: string) => {
    kinds.push(mark === 's' ? 'string' : 'integer')
    return ` $${String(kinds.length)} `
  })
  const compared = new Set<number>()
  noteCompared(facts.query, compared)
  const isAll = kinds.length > 0 && compared.size === kinds.length && !text.includes('\0')
  return isAll ? { text, kinds } : null
}

/** Notes which literals stand alone in a condition of any block below. */
function noteCompared(part: unknown, compared: Set<number>): void {
  if (typeof part !== 'object' || part === null) return
  const source = Array.isArray(part) ? null : comparedIn(part)
  if (source !== null) compared.add(source)
  else for (const inner of Object.values(part)) noteCompared(inner, compared)
}

function comparedIn(part: object): number | null {
  if (!('kind' in part) || part.kind !== 'in' || !('slots' in part) || !Array.isArray(part.slots)) return null
  const slots: unknown[] = part.slots
  const [slot] = slots
  if (slots.length !== 1 || !isLiteral(slot)) return null
  return slot.cast === null && !slot.list && !slot.negative ? slot.source : null
}

const isLiteral = (slot: unknown): slot is LiteralSlot =>
  typeof slot === 'object' && slot !== null && 'kind' in slot && slot.kind === 'literal'
