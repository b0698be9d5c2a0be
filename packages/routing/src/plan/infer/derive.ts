// What the instances of a statement say of each other: where each table is read, and which equations hold there.
//
// A row of a table counts only if it can change the result. Around the place where a table is read stand conditions
// that every row that counts must meet: WHERE and ON of its own block, those of the blocks around it, those on the
// columns of a subquery that carries them. When these conditions give the key of the row a value, rows with other
// keys do not count, so a shard that has all rows of that key gives the answer of one server that has all rows.
import type { Instance, JoinNode, LinkedSubquery, Node } from './instances.ts'
import { bestPin } from './pins.ts'
import { guarded, knownOf, type Equation, type Guard, type Term } from './terms.ts'

/** One place where a table is read. */
export interface Mention {
  readonly use: number
  readonly term: Term | null
  readonly guard: Guard | null
}

/** A write, with what holds of the rows that its new rows are made of. */
export interface FoundWrite {
  readonly instance: Instance
  readonly guard: Guard | null
}

type Equations = readonly Equation[]

/**
 * `strict`: only what holds of every row. `any`: as well what holds unless an outer join has put NULL in the place of
 * the columns it is about. An equality with such a column is true of no row, so a chain of equalities may go through it.
 */
type Holds = 'strict' | 'any'

/** Gathers mentions and writes from the instance of a whole statement. */
export class Deriver {
  readonly mentions: Mention[] = []
  readonly writes: FoundWrite[] = []
  readonly #implied = { strict: new Map<Instance, Equations>(), any: new Map<Instance, Equations>() }
  readonly #facts = { strict: new Map<Instance, Equations>(), any: new Map<Instance, Equations>() }

  walk(instance: Instance, outside: Guard | null): void {
    for (const apart of instance.apart) this.walk(apart, null)
    const guard = guarded(outside, this.implied(instance, 'any'))
    for (const subquery of instance.subqueries) this.#walkSubquery(subquery, guard)
    for (const branch of instance.branches)
      this.walk(branch, guarded(outside, this.#pushed(instance, branch)))
    const isInsert = instance.block.kind === 'write' && instance.block.action === 'insert'
    // The target of an INSERT is not read.
    if (!isInsert) for (const node of instance.nodes) this.#visit(node, guard, guard)
    if (instance.block.kind !== 'write') return
    this.writes.push({ instance, guard: isInsert ? outside : guard })
    for (const { source } of instance.inserts)
      if (source !== null) this.walk(source, isInsert ? outside : guard)
  }

  /** @param block what holds of the whole rows of the block, `guard` what holds of those of the node as well */
  #visit(node: Node, guard: Guard | null, block: Guard | null): void {
    switch (node.kind) {
      case 'table':
        this.mentions.push({ use: node.use, term: node.term, guard })
        return
      case 'derived':
        if (!node.apart) this.walk(node.instance, guard)
        return
      case 'opaque':
        for (const subquery of node.subqueries) this.#walkSubquery(subquery, block)
        return
      default:
        this.#visitJoin(node, guard, block)
    }
  }

  /** ON restricts both sides of an inner join, of an outer one only the side whose rows need a match. */
  #visitJoin(join: JoinNode, guard: Guard | null, block: Guard | null): void {
    for (const subquery of join.subqueries) this.#walkSubquery(subquery, block)
    const matched = guarded(guard, this.#clause(join, 'any'))
    const { type } = join
    this.#visit(join.left, type === 'inner' || type === 'right' ? matched : guard, block)
    this.#visit(join.right, type === 'inner' || type === 'left' ? matched : guard, block)
  }

  /** IN looks only for rows whose columns equal those compared. */
  #walkSubquery({ instance, compared, pushes }: LinkedSubquery, guard: Guard | null): void {
    const links = !pushes
      ? []
      : compared.flatMap((term, index): Equation[] => {
          const inside = instance.at(index)
          if (term === null || inside === null || !isCarried(instance, inside)) return []
          return [{ kind: 'equal', one: term, other: inside }]
        })
    this.walk(instance, guarded(guard, links))
  }

  /** A restriction of the columns of a set operation restricts each branch. */
  #pushed(instance: Instance, branch: Instance): Equation[] {
    if (instance.block.kind !== 'set' || !instance.block.carries) return []
    const links: Equation[] = []
    for (let position = 0; ; position += 1) {
      const [outside, inside] = [instance.at(position), branch.at(position)]
      if (position >= widthMax) return links
      if (outside === null || inside === null || !isCarried(branch, inside)) continue
      links.push({ kind: 'equal', one: outside, other: inside })
    }
  }

  /** What holds of the rows that an instance makes its own of. */
  implied(instance: Instance, holds: Holds): Equations {
    const known = this.#implied[holds].get(instance)
    if (known !== undefined) return known
    const equations = [...this.#clause(instance, holds)]
    for (const node of instance.nodes) this.#collect(node, { isSure: true, holds, equations })
    this.#implied[holds].set(instance, equations)
    return equations
  }

  /** @param to `isSure`: no outer join puts NULL in the place of the columns of the node */
  #collect(node: Node, to: { isSure: boolean; holds: Holds; equations: Equation[] }): void {
    const { isSure, holds, equations } = to
    if (node.kind === 'derived' && (isSure || holds === 'any')) {
      equations.push(...this.facts(node.instance, holds))
    }
    if (node.kind !== 'join') return
    const { type } = node
    if (isSure && type === 'inner') equations.push(...this.#clause(node, holds))
    this.#collect(node.left, { ...to, isSure: isSure && (type === 'inner' || type === 'left') })
    this.#collect(node.right, { ...to, isSure: isSure && (type === 'inner' || type === 'right') })
  }

  /** The equations of a clause, and those of the subqueries that it says to have a row. */
  #clause(clause: Pick<Instance, 'equations' | 'rows' | 'subqueries'>, holds: Holds): Equations {
    if (clause.rows.length === 0) return clause.equations
    const equations = [...clause.equations]
    for (const row of clause.rows) {
      const subquery = clause.subqueries[row]
      if (subquery === undefined) continue
      const { instance, compared } = subquery
      for (const [index, term] of compared.entries()) {
        const inside = instance.at(index)
        if (term !== null && inside !== null) equations.push({ kind: 'equal', one: term, other: inside })
      }
      equations.push(...this.facts(instance, holds))
      if (instance.block.kind === 'select' && instance.block.implied) {
        equations.push(...this.implied(instance, holds))
      }
    }
    return equations
  }

  /** The values that the columns of an instance are known to have. */
  facts(instance: Instance, holds: Holds): Equations {
    const known = this.#facts[holds].get(instance)
    if (known !== undefined) return known
    const facts = this.#factsOf(instance, holds)
    this.#facts[holds].set(instance, facts)
    return facts
  }

  #factsOf(instance: Instance, holds: Holds): Equation[] {
    if (instance.block.kind === 'set') return this.#factsOfSet(instance, holds)
    if (instance.block.kind === 'values') return instance.equations.filter(({ kind }) => kind === 'pin')
    const guard = guarded(null, this.implied(instance, holds))
    return [...instance.exports].flatMap(([inside, term]) =>
      knownOf(inside, guard).pins.map((slots): Equation => ({ kind: 'pin', term, slots })),
    )
  }

  /** Each row is one of a branch: it has one of the values of any branch. */
  #factsOfSet(instance: Instance, holds: Holds): Equation[] {
    const facts: Equation[] = []
    for (let position = 0; position < widthMax; position += 1) {
      const term = instance.at(position)
      if (term === null) continue
      const pins = instance.branches.map((branch) => {
        const inside = branch.at(position)
        if (inside === null) return null
        return bestPin(knownOf(inside, guarded(null, this.facts(branch, holds))).pins)
      })
      if (!pins.includes(null)) facts.push({ kind: 'pin', term, slots: pins.flatMap((pin) => pin ?? []) })
    }
    return facts
  }
}

/** Columns of a set operation that are looked at. */
const widthMax = 200

/** Whether a restriction of that column of the instance restricts the rows that it reads. */
function isCarried(instance: Instance, column: Term): boolean {
  if (instance.block.kind === 'set') return instance.block.carries
  return instance.exports.get(column) === column
}
