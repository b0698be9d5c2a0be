// The shape of a statement, as far as keys can travel through it: its blocks (SELECT, VALUES, set operations, writes),
// what each reads, what it compares, what it gives out. Plain data, without knowing any keyspace; infer.ts puts it
// together with the tables of one.
import type { ColumnName, Slot } from './facts.ts'

/** A value that a block gives out, or that is inserted. `open` stands for an unknown number of columns. */
export type Operand =
  | { readonly kind: 'column'; readonly column: ColumnName }
  | { readonly kind: 'slot'; readonly slot: Slot }
  | { readonly kind: 'star'; readonly qualifier: string | null }
  | { readonly kind: 'open' }
  /** DEFAULT, which stands only for new rows. */
  | { readonly kind: 'default' }
  | { readonly kind: 'other' }

/** One column given out; the name is null where Postgres chooses it. */
export interface Output {
  readonly name: string | null
  readonly value: Operand
}

/**
 * What holds of every row that counts. `subquery`: there is a row of that subquery, and its columns equal those
 * compared with it.
 */
export type Condition =
  | { readonly kind: 'equal'; readonly one: ColumnName; readonly other: ColumnName }
  | { readonly kind: 'in'; readonly column: ColumnName; readonly slots: readonly Slot[] }
  | { readonly kind: 'subquery'; readonly subquery: number }

/**
 * A subquery in an expression. `compared` are the columns compared with its own, by position. Rows of it that differ
 * from these do not count where `pushes` is set (IN), but do in a scalar subquery.
 */
export interface Subquery {
  readonly block: Block
  readonly compared: readonly (ColumnName | null)[]
  readonly pushes: boolean
}

/** A WITH query. */
export interface Cte {
  readonly name: string
  readonly columns: readonly string[]
  readonly block: Block
}

/** An item of FROM. */
export type Source =
  /** `use` is the place in the `tables` of the facts. `renamed`: its columns have other names, or not all rows are seen. */
  | { readonly kind: 'table'; readonly use: number; readonly alias: string; readonly renamed: boolean }
  | {
      readonly kind: 'derived'
      readonly block: Block
      readonly alias: string | null
      readonly columns: readonly string[]
      readonly lateral: boolean
    }
  | {
      readonly kind: 'cte'
      readonly name: string
      readonly alias: string
      readonly columns: readonly string[]
    }
  /** A function or anything else of which nothing is known; the alias is null where it may be any. */
  | { readonly kind: 'opaque'; readonly alias: string | null; readonly subqueries: readonly Subquery[] }
  | Join

/** Two items of FROM joined. */
export interface Join {
  readonly kind: 'join'
  readonly type: 'inner' | 'left' | 'right' | 'full'
  readonly left: Source
  readonly right: Source
  readonly on: readonly Condition[]
  readonly subqueries: readonly Subquery[]
  /** Columns merged by USING. */
  readonly using: readonly string[]
  readonly natural: boolean
  /** An alias of the join hides the names inside; one of its USING does not. */
  readonly alias: { readonly name: string; readonly hides: boolean } | null
}

interface Scoped {
  readonly ctes: readonly Cte[]
  /** WITH RECURSIVE: each of them sees all others. */
  readonly recursive: boolean
  /** Subqueries in its expressions; conditions name them by their place. */
  readonly subqueries: readonly Subquery[]
}

/** SELECT without set operations. */
export interface SelectBlock extends Scoped {
  readonly kind: 'select'
  readonly from: readonly Source[]
  readonly where: readonly Condition[]
  readonly outputs: readonly Output[]
  /** Columns by which its rows may be restricted as well inside as outside: all, none, or those it groups by. */
  readonly carries: 'all' | readonly ColumnName[]
  /** Each row it gives comes from a row that its conditions hold of; not so of an aggregate without GROUP BY. */
  readonly implied: boolean
}

/** UNION, INTERSECT, EXCEPT. */
export interface SetBlock extends Scoped {
  readonly kind: 'set'
  readonly branches: readonly [Block, Block]
  /** As of a SELECT: false with LIMIT. */
  readonly carries: boolean
}

/** VALUES. */
export interface ValuesBlock extends Scoped {
  readonly kind: 'values'
  /** It stands by itself even in an INSERT, by an ORDER BY, LIMIT or WITH of its own: all rows of a column get one type. */
  readonly isQuery: boolean
  readonly rows: readonly (readonly Operand[])[]
}

/** New rows: the names of their columns, or null, and where they come from. */
export interface NewRows {
  readonly columns: readonly string[] | null
  /** OVERRIDING USER VALUE: what is given for an identity column is not what is stored. */
  readonly overridden: boolean
  /** Null for DEFAULT VALUES. */
  readonly source: Block | null
}

/** INSERT, UPDATE, DELETE and MERGE; the target is the first item of `from`, or the right side of the join of MERGE. */
export interface WriteBlock extends Scoped {
  readonly kind: 'write'
  readonly action: 'insert' | 'update' | 'delete' | 'merge'
  /** Place of the target in the `tables` of the facts. */
  readonly target: number
  readonly from: readonly Source[]
  readonly where: readonly Condition[]
  readonly outputs: readonly Output[]
  /** Columns that are set, by DO UPDATE and by the branches of MERGE as well. */
  readonly assigned: readonly string[]
  readonly inserts: readonly NewRows[]
}

/** A query, or a statement that writes. */
export type Block = SelectBlock | SetBlock | ValuesBlock | WriteBlock
