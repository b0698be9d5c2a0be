// Reads the items of FROM.
import type { Block, Condition, Join, Source, Subquery } from '../query.ts'
import { childOf, namesOf, textOf, unwrap, type TreeObject } from './tree.ts'

const JOINS: Readonly<Record<string, Join['type']>> = {
  JOIN_INNER: 'inner',
  JOIN_LEFT: 'left',
  JOIN_RIGHT: 'right',
  JOIN_FULL: 'full',
}

const aliasOf = (body: TreeObject): string | null => textOf(childOf(body, 'alias'), 'aliasname')
const renamesOf = (body: TreeObject): string[] => namesOf(childOf(body, 'alias')?.['colnames'])

/** What the reader of FROM asks of the reader of blocks. */
export interface SourceHost {
  /** The place of a relation among the tables of the facts; null for a WITH query. */
  useOf(relation: TreeObject): number | null
  block(value: unknown): Block | null
  /** The subqueries of an expression. */
  subqueriesIn(value: unknown): readonly Subquery[]
  /** The conditions of an ON clause, and its subqueries. */
  clause(value: unknown): { conditions: readonly Condition[]; subqueries: readonly Subquery[] }
}

/** Reads the items of FROM of one statement. */
export class SourceReader {
  readonly #host: SourceHost

  constructor(host: SourceHost) {
    this.#host = host
  }

  read(item: unknown): Source {
    const node = unwrap(item)
    switch (node?.kind) {
      case 'RangeVar':
        return this.table(node.body)
      case 'RangeSubselect':
        return this.#derived(node.body)
      case 'JoinExpr':
        return this.#join(node.body)
      default:
        return this.#opaque(item, node === null ? null : aliasOf(node.body))
    }
  }

  /** A table, or a WITH query. */
  table(relation: TreeObject): Source {
    const name = textOf(relation, 'relname') ?? ''
    const alias = aliasOf(relation) ?? name
    const columns = renamesOf(relation)
    const use = this.#host.useOf(relation)
    if (use === null) return { kind: 'cte', name, alias, columns }
    return { kind: 'table', use, alias, renamed: columns.length > 0 }
  }

  #derived(body: TreeObject): Source {
    const block = this.#host.block(body['subquery'])
    const alias = aliasOf(body)
    if (block === null) return this.#opaque(body, alias)
    return { kind: 'derived', block, alias, columns: renamesOf(body), lateral: body['lateral'] === true }
  }

  #join(body: TreeObject): Source {
    const type = JOINS[textOf(body, 'jointype') ?? '']
    if (type === undefined) return this.#opaque(body, null)
    const [left, right] = [this.read(body['larg']), this.read(body['rarg'])]
    const { conditions, subqueries } = this.#host.clause(body['quals'])
    const alias = aliasOf(body)
    const merged = textOf(childOf(body, 'join_using_alias'), 'aliasname')
    return {
      kind: 'join',
      type,
      left,
      right,
      on: conditions,
      subqueries,
      using: namesOf(body['usingClause']),
      natural: body['isNatural'] === true,
      alias:
        alias !== null
          ? { name: alias, hides: true }
          : merged === null
            ? null
            : { name: merged, hides: false },
    }
  }

  /** A function, a sample, and whatever else: the subqueries inside are read, its columns are not. */
  #opaque(value: unknown, alias: string | null): Source {
    return { kind: 'opaque', alias, subqueries: this.#host.subqueriesIn(value) }
  }
}
