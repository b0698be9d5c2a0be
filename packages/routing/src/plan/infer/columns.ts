// The columns that a block or a join gives out: by name, as what is around it sees them, and by position.
import type { Block, Join, Operand } from '../query.ts'
import { absent, maybe, other, together, type Found, type Named, type Scope } from './scope.ts'
import type { Equation, Term, Terms } from './terms.ts'

const unknown: Named = { find: () => maybe }

/** Columns of a block. */
export interface Columns {
  readonly named: Named
  /** Null where the position is not known, or has no key. */
  readonly at: (position: number) => Term | null
}

/** One output as an item that names are looked up in. */
export function named(name: string | null, value: Operand, at: { scope: Scope; term: Term | null }): Named {
  if (value.kind === 'open') return unknown
  if (value.kind === 'star') {
    const { qualifier } = value
    if (qualifier === null) return { find: (column) => together(at.scope.items, column) }
    const leaves = at.scope.leaves.filter(({ alias }) => alias === qualifier)
    const [only] = leaves
    return only !== undefined && leaves.length === 1 ? only : unknown
  }
  // Postgres names what has no name, after a function or a type.
  if (name === null) return unknown
  return { find: (column) => (column === name ? { is: 'yes', term: at.term } : absent) }
}

/** Columns that are all known by their position. */
export function positional(
  columns: readonly (Term | null)[],
  nameAt: (index: number) => string | null,
): Columns {
  return {
    at: (position) => columns[position] ?? null,
    named: byName(
      columns.map((term, index) => {
        const name = nameAt(index)
        if (name === null) return unknown
        return { find: (column: string): Found => (column === name ? { is: 'yes', term } : absent) }
      }),
    ),
  }
}

const byName = (items: readonly Named[]): Named => ({ find: (column) => together(items, column) })

/** Columns under new names; those beyond the list keep their own, which are then not looked at. */
export function renamed(columns: Columns, names: readonly string[]): Columns {
  if (names.length === 0) return columns
  const items = names.map((name, index): Named => ({
    find(column) {
      if (column !== name) return absent
      const term = columns.at(index)
      return term === null ? other : { is: 'yes', term }
    },
  }))
  return { at: columns.at, named: byName([...items, unknown]) }
}

/** The names of a set operation's columns: those of its first branch, as far as they are known by position. */
export function namesOf(block: Block): (string | null)[] {
  switch (block.kind) {
    case 'set':
      return namesOf(block.branches[0])
    case 'values':
      return Array.from({ length: block.rows[0]?.length ?? 0 }, (_, index) => `column${String(index + 1)}`)
    default: {
      const width = knownWidth(block.outputs.map(({ value }) => value))
      return block.outputs.slice(0, width).map(({ name }) => name)
    }
  }
}

/** The columns of a join: USING and NATURAL make one of two. */
export class Merged implements Named {
  readonly #join: Join
  readonly #left: Named
  readonly #right: Named

  constructor(join: Join, left: Named, right: Named) {
    this.#join = join
    this.#left = left
    this.#right = right
  }

  find(column: string): Found {
    const { using, natural, type } = this.#join
    const [left, right] = [this.#left.find(column), this.#right.find(column)]
    if (!natural && !using.includes(column)) return together([this.#left, this.#right], column)
    if (left.is !== 'yes' || right.is !== 'yes') {
      // Merged with a column of an unknown type, or perhaps not at all.
      return left.is === 'no' && right.is === 'no' ? absent : other
    }
    if (left.term === null || right.term === null || type === 'full') return other
    return type === 'right' ? right : left
  }

  /** What USING compares, and NATURAL where both sides surely have a column: then nobody can tell its name here. */
  equations(terms: Terms): Equation[] {
    return this.#join.using.flatMap((column) => {
      const [left, right] = [this.#left.find(column), this.#right.find(column)]
      if (left.is !== 'yes' || right.is !== 'yes' || left.term === null || right.term === null) return []
      if (!terms.mayEqual(left.term, right.term)) return []
      return [{ kind: 'equal', one: left.term, other: right.term }]
    })
  }
}

/** How many values stand before a star: behind it nobody knows which column a value goes to. */
export function knownWidth(values: readonly Operand[]): number {
  const open = values.findIndex(({ kind }) => kind === 'star' || kind === 'open')
  return open < 0 ? values.length : open
}
