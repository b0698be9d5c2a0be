// Names of columns: which key column, if any, a name means. Follows the rules of Postgres for scopes, aliases and
// merged columns; where the answer depends on columns that are not known here, there is none.
import type { ColumnName } from '../facts.ts'
import type { Term } from './terms.ts'

/**
 * What an item of FROM knows of a column: `yes` with the term of a key column, or with null for any other that is
 * surely there; `maybe` where its columns are not known; `no`.
 */
export type Found = { readonly is: 'yes'; readonly term: Term | null } | { readonly is: 'maybe' | 'no' }

export const maybe: Found = { is: 'maybe' }
export const absent: Found = { is: 'no' }
export const other: Found = { is: 'yes', term: null }

/** An item of FROM that columns may be qualified with. A null alias may be any. */
export interface Leaf {
  readonly alias: string | null
  find(column: string): Found
}

/** Items of FROM as names without a qualifier see them: a leaf, or a join. */
export interface Named {
  find(column: string): Found
}

/** Where names are looked up. */
export interface Scope {
  readonly leaves: readonly Leaf[]
  readonly items: readonly Named[]
  readonly parent: Scope | null
}

/** What several items know together: a name that two of them have is an error to Postgres. */
export function together(items: readonly Named[], column: string): Found {
  let found = absent
  for (const item of items) {
    const one = item.find(column)
    if (one.is === 'yes') {
      if (found.is === 'yes') return other
      found = one
    } else if (one.is === 'maybe' && found.is === 'no') found = one
  }
  return found
}

/** The key column that a name means; null for any other column, and where that cannot be told. */
export function resolve(name: ColumnName, scope: Scope | null): Term | null {
  for (let at = scope; at !== null; at = at.parent) {
    const found = name.qualifier === null ? together(at.items, name.column) : qualified(name, at.leaves)
    if (found.is === 'yes') return found.term
    if (found.is === 'maybe') return null
  }
  return null
}

/** `no` only where no item can have that alias. */
function qualified({ qualifier, column }: ColumnName, leaves: readonly Leaf[]): Found {
  const named = leaves.filter(({ alias }) => alias === qualifier)
  const [only] = named
  if (named.length > 1) return other
  if (only === undefined) return leaves.some(({ alias }) => alias === null) ? maybe : absent
  const found = only.find(column)
  return found.is === 'yes' ? found : other
}
