// Instances of blocks: one for each place where a block is read, so that the rows of a WITH query named twice are kept
// apart. Names are resolved here; what the instances say of each other is derived in derive.ts.
import type { KeyType } from '@fleetshard/core'
import type { ColumnName, Slot } from '../facts.ts'
import type { Block, Condition, Cte, Join, NewRows, Operand, Output, Source, Subquery } from '../query.ts'
import { knownWidth, Merged, named, namesOf, positional, renamed, type Columns } from './columns.ts'
import { absent, maybe, resolve, together, type Found, type Leaf, type Named, type Scope } from './scope.ts'
import { Terms, type Equation, type Term, type TermType } from './terms.ts'

/** The shard key of a table, by its place among the tables of the facts; null for one without. */
export type KeyAt = (use: number) => { readonly column: string; readonly type: KeyType } | null

/** Instances of one statement; WITH queries that name each other could make any number. */
const instancesMax = 400
/** Items of FROM of one statement. */
const leavesMax = 1_000

/** Thrown where a statement is beyond the bounds: its keys are then not looked for. */
export class TooLarge extends Error {}

/** A subquery in an expression, with the columns that it is compared with. */
export interface LinkedSubquery {
  readonly instance: Instance
  readonly compared: readonly (Term | null)[]
  readonly pushes: boolean
}

/** An item of FROM. */
export type Node =
  | { readonly kind: 'table'; readonly use: number; readonly term: Term | null }
  /** `apart`: its rows are made elsewhere, once, whatever is asked of them here. */
  | { readonly kind: 'derived'; readonly instance: Instance; readonly apart: boolean }
  | { readonly kind: 'opaque'; readonly subqueries: readonly LinkedSubquery[] }
  | JoinNode

/** Two items joined. */
export interface JoinNode extends Clause {
  readonly kind: 'join'
  readonly type: Join['type']
  readonly left: Node
  readonly right: Node
}

/** What a WHERE or ON says, and the subqueries of the block or the join. `rows` are those of which it says that they have a row. */
export interface Clause {
  readonly equations: readonly Equation[]
  readonly rows: readonly number[]
  readonly subqueries: readonly LinkedSubquery[]
}

/** A block at one place. */
export interface Instance extends Clause {
  readonly block: Block
  readonly nodes: readonly Node[]
  readonly branches: readonly Instance[]
  /**
   * Of the columns that are asked for: the term inside, and the one that stands for it outside. They are the same
   * where a restriction of the column outside restricts the rows inside alike.
   */
  readonly exports: Map<Term, Term>
  /** The columns by name, as an item of FROM, and by position. */
  readonly named: Named
  readonly at: (position: number) => Term | null
  /** WITH queries that happen whether they are read or not. */
  readonly apart: readonly Instance[]
  /** The new rows of a write; the values of each by name of the column. */
  readonly inserts: readonly { readonly rows: NewRows; readonly source: Instance | null }[]
}

/** A WITH query that can be named. */
interface Visible {
  readonly cte: Cte
  /** What its own query sees of columns outside, and of other WITH queries. */
  readonly scope: Scope | null
  visible: readonly Visible[]
  /** A write happens once. */
  instance: Instance | null
  isUsed: boolean
  isRecursive: boolean
}

/** Where a block is read. */
interface Place {
  readonly scope: Scope | null
  /** Innermost last. */
  readonly visible: readonly Visible[]
}

/** FROM as it is read, from left to right. */
interface FromPlace extends Place {
  readonly leaves: Leaf[]
}

interface Read {
  readonly node: Node
  readonly named: Named
}

const nothing: Named = { find: () => absent }
const unknown: Named = { find: () => maybe }

/** Makes the instances of one statement. */
export class Instances {
  readonly terms = new Terms()
  readonly #keyAt: KeyAt
  readonly #open = new Set<Cte>()
  #instances = 0
  #leaves = 0

  constructor(keyAt: KeyAt) {
    this.#keyAt = keyAt
  }

  /** The instance of a whole statement. @throws TooLarge */
  make(block: Block): Instance {
    return this.#instance(block, { scope: null, visible: [] })
  }

  #instance(block: Block, outer: Place): Instance {
    this.#instances += 1
    if (this.#instances > instancesMax) throw new TooLarge()
    const own = this.#withOwn(block, outer)
    const place = { scope: outer.scope, visible: [...outer.visible, ...own] }
    const made = this.#ofKind(block, place)
    const apart = own.flatMap((visible) => {
      if (!visible.isUsed && visible.instance === null) this.#read(visible)
      return visible.instance === null ? [] : [visible.instance]
    })
    return apart.length === 0 ? made : { ...made, apart }
  }

  #ofKind(block: Block, place: Place): Instance {
    switch (block.kind) {
      case 'select':
        return this.#select(block, place)
      case 'set':
        return this.#set(block, place)
      case 'values':
        return this.#values(block, place)
      default:
        return this.#write(block, place)
    }
  }

  /** The WITH queries of a block: each sees those before it, under RECURSIVE all. */
  #withOwn(block: Block, outer: Place): Visible[] {
    const own: Visible[] = block.ctes.map((cte) => ({
      cte,
      scope: outer.scope,
      visible: outer.visible,
      instance: null,
      isUsed: false,
      isRecursive: false,
    }))
    for (const [index, visible] of own.entries())
      visible.visible = [...outer.visible, ...(block.recursive ? own : own.slice(0, index))]
    return own
  }

  /** The rows of a WITH query at one more place; those of a write are made once. */
  #read(visible: Visible): Instance {
    const isWrite = visible.cte.block.kind === 'write'
    if (visible.instance !== null) return visible.instance
    this.#open.add(visible.cte)
    const instance = this.#instance(visible.cte.block, { scope: visible.scope, visible: visible.visible })
    this.#open.delete(visible.cte)
    if (isWrite || !visible.isUsed) visible.instance = instance
    return instance
  }

  #select(block: Extract<Block, { kind: 'select' }>, place: Place): Instance {
    const first = this.terms.count
    const { nodes, scope } = this.#from(block.from, place)
    const clause = this.#clause(block.where, block.subqueries, { scope, visible: place.visible })
    const grouped = block.carries === 'all' ? null : block.carries.map((name) => resolve(name, scope))
    // A column from outside is not what this block restricts.
    const carries = (term: Term): boolean => term >= first && (grouped === null || grouped.includes(term))
    const outputs = this.#outputs(block.outputs, scope, carries)
    return { ...outputs, block, nodes, ...clause, equations: [...clause.equations, ...outputs.equations] }
  }

  #write(block: Extract<Block, { kind: 'write' }>, place: Place): Instance {
    const { nodes, scope } = this.#from(block.from, place)
    // What else RETURNING and ON CONFLICT can name: old, new, excluded.
    const wider: Scope = { ...scope, leaves: [...scope.leaves, { alias: null, ...unknown }] }
    const clause = this.#clause(block.where, block.subqueries, { scope: wider, visible: place.visible })
    // INSERT sees nothing of its target; the rows that MERGE inserts see its source, which is what comes before.
    const before = scope.leaves.slice(0, -1)
    const sources: Scope = { leaves: before, items: before, parent: place.scope }
    const seen = block.action === 'merge' ? { ...place, scope: sources } : place
    const inserts = block.inserts.map((rows) => ({
      rows,
      source: rows.source === null ? null : this.#instance(rows.source, seen),
    }))
    const outputs = this.#outputs(block.outputs, wider, () => false)
    const equations = [...clause.equations, ...outputs.equations]
    return { ...outputs, block, nodes, ...clause, equations, inserts }
  }

  #values(block: Extract<Block, { kind: 'values' }>, place: Place): Instance {
    const clause = this.#clause([], block.subqueries, place)
    const pins: Equation[] = []
    const [first = []] = block.rows
    const width = block.rows.reduce((least, row) => Math.min(least, knownWidth(row)), first.length)
    const columns = Array.from({ length: width }, (_, index) => {
      const operand = block.rows.length > 1 ? undefined : first[index]
      if (operand?.kind === 'column') return this.#copy(resolve(operand.column, place.scope), pins)
      const slots = block.rows.map((row) => slotOf(row[index]))
      return this.#constant(slots, pins)
    })
    const equations = [...clause.equations, ...pins]
    return { ...bare, block, ...clause, equations, ...positional(columns, () => null) }
  }

  /** A term of its own for a column from outside. */
  #copy(term: Term | null, equations: Equation[]): Term | null {
    if (term === null) return null
    const copy = this.terms.make(this.terms.typeOf(term))
    equations.push({ kind: 'equal', one: copy, other: term })
    return copy
  }

  /** A term that has one of these values; null when one of them cannot be seen. */
  #constant(slots: readonly (Slot | null)[], pins: Equation[]): Term | null {
    const known = slots.filter((slot) => slot !== null)
    if (known.length === 0 || known.length < slots.length) return null
    const term = this.terms.make('constant')
    pins.push({ kind: 'pin', term, slots: known })
    return term
  }

  #set(block: Extract<Block, { kind: 'set' }>, place: Place): Instance {
    const clause = this.#clause([], block.subqueries, place)
    const branches = block.branches.map((branch) => this.#instance(branch, place))
    const names = namesOf(block)
    const columns = names.map((_, index) => this.#common(branches.map((branch) => branch.at(index))))
    return { ...bare, block, branches, ...clause, ...positional(columns, (index) => names[index] ?? null) }
  }

  /** A term for a column of a set operation; null unless each branch has a key of the same type there. */
  #common(terms: readonly (Term | null)[]): Term | null {
    let type: TermType = 'constant'
    for (const term of terms) {
      if (term === null) return null
      const own = this.terms.typeOf(term)
      if (type === 'constant') type = own
      else if (own !== 'constant' && own !== type) return null
    }
    return this.terms.make(type)
  }

  #outputs(outputs: readonly Output[], scope: Scope, carries: (term: Term) => boolean): Outputs {
    const pins: Equation[] = []
    const exports = new Map<Term, Term>()
    const outside = (term: Term | null): Term | null => {
      if (term === null) return null
      const known = exports.get(term) ?? (carries(term) ? term : this.terms.make(this.terms.typeOf(term)))
      exports.set(term, known)
      return known
    }
    const values = outputs.map(({ value }) => value)
    const all = values.map((value) => this.#valueOf(value, scope, pins))
    const inside = all.slice(0, knownWidth(values))
    const items = outputs.map(({ name, value }, index) =>
      named(name, value, { scope, term: all[index] ?? null }),
    )
    return {
      ...bare,
      equations: pins,
      exports,
      named: {
        find(column) {
          const found = together(items, column)
          return found.is === 'yes' ? { is: 'yes', term: outside(found.term) } : found
        },
      },
      at: (position) => outside(inside[position] ?? null),
    }
  }

  #valueOf(value: Operand, scope: Scope, pins: Equation[]): Term | null {
    if (value.kind === 'column') return resolve(value.column, scope)
    return value.kind === 'slot' ? this.#constant([value.slot], pins) : null
  }

  #from(sources: readonly Source[], place: Place): { nodes: Node[]; scope: Scope } {
    const leaves: Leaf[] = []
    const read = sources.map((source) => this.#source(source, { ...place, leaves }))
    return {
      nodes: read.map(({ node }) => node),
      scope: { leaves, items: read.map((item) => item.named), parent: place.scope },
    }
  }

  #source(source: Source, from: FromPlace): Read {
    this.#leaves += 1
    if (this.#leaves > leavesMax) throw new TooLarge()
    switch (source.kind) {
      case 'table':
        return this.#table(source, from)
      case 'derived': {
        const scope = source.lateral ? seenFrom(from) : from.scope
        const instance = this.#instance(source.block, { scope, visible: from.visible })
        return this.#derived(instance, source, from)
      }
      case 'cte':
        return this.#cte(source, from)
      case 'opaque': {
        const place = { scope: seenFrom(from), visible: from.visible }
        const subqueries = source.subqueries.map((item) => this.#subquery(item, place))
        from.leaves.push({ alias: source.alias, ...unknown })
        return { node: { kind: 'opaque', subqueries }, named: unknown }
      }
      default:
        return this.#join(source, from)
    }
  }

  #table({ use, alias, renamed }: Extract<Source, { kind: 'table' }>, from: FromPlace): Read {
    const key = this.#keyAt(use)
    const term = key === null ? null : this.terms.make(key.type)
    const find = (column: string): Found =>
      key !== null && !renamed && column === key.column ? { is: 'yes', term } : maybe
    from.leaves.push({ alias, find })
    return { node: { kind: 'table', use, term }, named: { find } }
  }

  #cte(source: Extract<Source, { kind: 'cte' }>, from: FromPlace): Read {
    const visible = from.visible.findLast(({ cte }) => cte.name === source.name)
    if (visible === undefined || this.#open.has(visible.cte)) {
      // The query itself, inside itself.
      if (visible !== undefined) visible.isRecursive = true
      from.leaves.push({ alias: source.alias, ...unknown })
      return { node: { kind: 'opaque', subqueries: [] }, named: unknown }
    }
    visible.isUsed = true
    const instance = this.#read(visible)
    const apart = visible.instance !== null
    if (visible.isRecursive) {
      from.leaves.push({ alias: source.alias, ...unknown })
      return { node: { kind: 'derived', instance, apart }, named: unknown }
    }
    const own = renamed(instance, visible.cte.columns)
    return this.#derived(instance, { alias: source.alias, columns: source.columns, own }, from, apart)
  }

  #derived(
    instance: Instance,
    { alias, columns, own }: { alias: string | null; columns: readonly string[]; own?: Columns },
    from: FromPlace,
    apart = false,
  ): Read {
    const { named: items } = renamed(own ?? instance, columns)
    const find = (column: string): Found => items.find(column)
    from.leaves.push({ alias, find })
    return { node: { kind: 'derived', instance, apart }, named: { find } }
  }

  #join(source: Join, from: FromPlace): Read {
    const first = from.leaves.length
    const left = this.#source(source.left, from)
    const right = this.#source(source.right, from)
    const leaves = from.leaves.slice(first)
    const scope: Scope = { leaves, items: [left.named, right.named], parent: from.scope }
    const clause = this.#clause(source.on, source.subqueries, { scope, visible: from.visible })
    const merged = new Merged(source, left.named, right.named)
    const equations = [...clause.equations, ...merged.equations(this.terms)]
    const node: Node = {
      kind: 'join',
      type: source.type,
      left: left.node,
      right: right.node,
      ...clause,
      equations,
    }
    if (source.alias === null) return { node, named: merged }
    const leaf: Leaf = { alias: source.alias.name, ...unknown }
    if (!source.alias.hides) {
      from.leaves.push(leaf)
      return { node, named: merged }
    }
    from.leaves.splice(first, leaves.length, leaf)
    return { node, named: unknown }
  }

  #clause(conditions: readonly Condition[], subqueries: readonly Subquery[], place: Place): Clause {
    const equations: Equation[] = []
    const rows: number[] = []
    for (const condition of conditions) {
      if (condition.kind === 'subquery') rows.push(condition.subquery)
      else if (condition.kind === 'in') {
        const term = resolve(condition.column, place.scope)
        if (term !== null) equations.push({ kind: 'pin', term, slots: condition.slots })
      } else {
        const [one, second] = [resolve(condition.one, place.scope), resolve(condition.other, place.scope)]
        if (one !== null && second !== null && this.terms.mayEqual(one, second)) {
          equations.push({ kind: 'equal', one, other: second })
        }
      }
    }
    return { equations, rows, subqueries: subqueries.map((item) => this.#subquery(item, place)) }
  }

  #subquery({ block, compared, pushes }: Subquery, place: Place): LinkedSubquery {
    const termOf = (name: ColumnName | null): Term | null =>
      name === null ? null : resolve(name, place.scope)
    return { instance: this.#instance(block, place), compared: compared.map(termOf), pushes }
  }
}

/** What LATERAL sees: the items to the left, and what is outside. */
const seenFrom = ({ leaves, scope }: FromPlace): Scope => ({
  leaves: [...leaves],
  items: [...leaves],
  parent: scope,
})

/** What the outputs of a block make of an instance. */
type Outputs = Omit<Instance, 'block' | 'rows' | 'subqueries'>

const bare = {
  nodes: [],
  branches: [],
  exports: new Map<Term, Term>(),
  named: nothing,
  at: () => null,
  apart: [],
  inserts: [],
} satisfies Partial<Instance>

const slotOf = (operand: Operand | undefined): Slot | null => (operand?.kind === 'slot' ? operand.slot : null)
