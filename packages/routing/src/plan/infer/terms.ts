// Terms and equations: key columns of the rows of one mention of a table, columns of subqueries that stand for them,
// and what is known to be equal. Equal terms have the same shard key, so a value of one is a value of all.
import type { KeyType } from '@fleetshard/core'
import type { Slot } from '../facts.ts'

/** A column whose value is a shard key; its number. */
export type Term = number

/** What is true of a row. `pin`: the term has one of these values. */
export type Equation =
  | { readonly kind: 'equal'; readonly one: Term; readonly other: Term }
  | { readonly kind: 'pin'; readonly term: Term; readonly slots: readonly Slot[] }

/** Equations that are true together, and with those of the parents. */
export interface Guard {
  readonly equations: readonly Equation[]
  readonly parent: Guard | null
}

/** More equations for the same row. */
export const guarded = (parent: Guard | null, equations: readonly Equation[]): Guard | null =>
  equations.length === 0 ? parent : { equations, parent }

/**
 * What a term holds: the key of a declared type, or a constant of the statement, whose type is that of what it is
 * compared with.
 */
export type TermType = KeyType | 'constant'

/** The terms of one statement. */
export class Terms {
  readonly #types: TermType[] = []

  make(type: TermType): Term {
    this.#types.push(type)
    return this.#types.length - 1
  }

  /** The next term's number. */
  get count(): number {
    return this.#types.length
  }

  typeOf(term: Term): TermType {
    return this.#types[term] ?? 'constant'
  }

  /** Equality of such columns is equality of keys: integers of any width compare as numbers. */
  mayEqual(one: Term, other: Term): boolean {
    const [first, second] = [this.typeOf(one), this.typeOf(other)]
    return first === 'constant' || second === 'constant' || familyOf(first) === familyOf(second)
  }
}

const familyOf = (type: KeyType): string => (type.startsWith('int') ? 'int' : type)

/** The terms that equal one, and the values that they are known to have. */
export interface Known {
  readonly terms: ReadonlySet<Term>
  readonly pins: readonly (readonly Slot[])[]
}

/** What the equations say of a term. */
export function knownOf(term: Term, guard: Guard | null): Known {
  const equals = new Map<Term, Term[]>()
  const pinned: Extract<Equation, { kind: 'pin' }>[] = []
  for (let at = guard; at !== null; at = at.parent) {
    for (const equation of at.equations) {
      if (equation.kind === 'pin') pinned.push(equation)
      else {
        link(equals, equation.one, equation.other)
        link(equals, equation.other, equation.one)
      }
    }
  }
  const terms = new Set([term])
  for (const one of terms) for (const other of equals.get(one) ?? []) terms.add(other)
  return { terms, pins: pinned.filter((pin) => terms.has(pin.term)).map(({ slots }) => slots) }
}

function link(equals: Map<Term, Term[]>, from: Term, to: Term): void {
  const known = equals.get(from)
  if (known === undefined) equals.set(from, [to])
  else known.push(to)
}
