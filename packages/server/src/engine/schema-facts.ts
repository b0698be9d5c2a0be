// What an engine tells about user tables, and what is declared about them: the input of the declaration rules and
// of the suggestions. Plain JSON values, so that the manager can show them.
import type { KeyType, ShardId, TableKind } from '@fleetshard/core'

/** A sequence that a column takes its default from, be it serial, identity or `DEFAULT nextval(…)`. */
export interface SequenceFacts {
  /** Schema-qualified and quoted as the engine prints it: `public.users_id_seq`. */
  readonly name: string
  readonly type: 'int2' | 'int4' | 'int8'
  /** Decimal strings: 64-bit values. */
  readonly minValue: string
  readonly maxValue: string
  readonly increment: string
  readonly cycles: boolean
  /** The last value given; null when none was given yet, or this login may not see it. */
  readonly lastValue: string | null
}

export interface ColumnFacts {
  readonly name: string
  /** As Postgres prints it, with modifiers: `character varying(255)`. */
  readonly type: string
  /** Internal name of the type (of the base type, for a domain): `varchar`, `int8`, `timestamptz`. */
  readonly baseType: string
  /** True when the declared type is a domain over `baseType`. */
  readonly isDomain: boolean
  readonly notNull: boolean
  /** Null for types without collation. */
  readonly collation: { readonly name: string; readonly deterministic: boolean } | null
  readonly identity: 'always' | 'by-default' | null
  /** A generated column (`GENERATED ALWAYS AS (…)`), stored or virtual. */
  readonly generated: boolean
  /** The default expression as text; null for none and for identity columns. */
  readonly defaultExpression: string | null
  readonly sequence: SequenceFacts | null
}

/** A unique index, be it a constraint or not; exclusion constraints count as well. */
export interface UniqueFacts {
  readonly name: string
  readonly kind: 'primary' | 'unique' | 'exclusion'
  /** Key columns in order; null stands for what no plain equality compares (an expression). Without INCLUDE. */
  readonly columns: readonly (string | null)[]
  readonly partial: boolean
}

export interface ForeignKeyFacts {
  readonly name: string
  readonly columns: readonly string[]
  /** Qualified name of the table that is referred to. */
  readonly references: string
  readonly referencedColumns: readonly string[]
  /** ON DELETE or ON UPDATE SET DEFAULT: the columns then get their defaults. */
  readonly setsDefault: boolean
}

export interface TriggerFacts {
  readonly name: string
  readonly timing: 'before' | 'after' | 'instead'
  readonly perRow: boolean
  readonly onInsert: boolean
  readonly onUpdate: boolean
  readonly enabled: boolean
  /** Qualified name of the trigger's function. */
  readonly routine: string
}

/** An expression that Postgres works out for rows of a table, and that may look at other rows: a default, a check, a policy. */
export interface LookupFacts {
  /** For people: `the default of column n`, `the policy p`. */
  readonly what: string
  /** Qualified names of the user's functions in it that may read tables. */
  readonly functions: readonly string[]
  /** Qualified names of the tables that it reads itself. */
  readonly tables: readonly string[]
}

/** One table of the user's, found in a shard's database. System schemas and `fleetshard` are left out. */
export interface TableFacts {
  /** Schema-qualified and quoted as Postgres prints it: `public.users`, `"Odd".t`. The name in a TableRecord. */
  readonly name: string
  readonly schema: string
  readonly relation: string
  readonly kind: 'table' | 'partitioned' | 'partition' | 'foreign'
  readonly unlogged: boolean
  /** The partitioned or inherited parent; null for none. */
  readonly parent: string | null
  readonly columns: readonly ColumnFacts[]
  /** Of a partitioned table also those that single partitions have; so for triggers. */
  readonly uniques: readonly UniqueFacts[]
  readonly foreignKeys: readonly ForeignKeyFacts[]
  readonly triggers: readonly TriggerFacts[]
  readonly lookups: readonly LookupFacts[]
  /** True when rewrite rules other than those of the system lie on the table. */
  readonly hasRules: boolean
  /** The planner's estimate; null when the table was never analysed. Of a partitioned table: of all partitions. */
  readonly rowsEstimate: number | null
  /** Heap, indexes and TOAST; of a partitioned table: of all partitions. */
  readonly bytes: number
}

/** What is declared about a table, whether it exists already or is being created. */
export interface TableDeclaration {
  /** Qualified name, as in TableFacts. */
  readonly name: string
  readonly kind: TableKind
  /** Set for sharded tables, null for others. */
  readonly keyColumn: string | null
  /** Only for global tables: the shard that holds the rows; null or absent lets the caller choose. */
  readonly homeShard?: ShardId | null
  /** Accepts triggers, rules and lookups: of a table that is declared already, and is made on one more shard. */
  readonly triggersKeepKey?: boolean
}

/** A declaration that passed the rules. */
export interface CheckedDeclaration {
  readonly declaration: TableDeclaration
  /** Set for sharded tables, null for others. */
  readonly keyType: KeyType | null
}

/** What a table might be declared as, and why. */
export interface TableSuggestion {
  readonly table: string
  readonly kind: TableKind
  readonly keyColumn: string | null
  readonly keyType: KeyType | null
  /** One or two sentences for people. */
  readonly reason: string
  /** What would have to change before this declaration passes the rules; null when it passes as it is. */
  readonly obstacle: string | null
}

/** A script of schema statements, split and checked. */
export interface SchemaScript {
  /** The statements in order, without the separating semicolons. */
  readonly statements: readonly SchemaStatement[]
  /** Qualified names of the tables that the script creates, in order; partitions are left out. */
  readonly creates: readonly string[]
}

export interface SchemaStatement {
  readonly sql: string
  /** What it is, in words of SQL: `CREATE TABLE`, `CREATE INDEX`. */
  readonly kind: string
  /** Qualified names of the tables that this statement creates or changes. */
  readonly tables: readonly string[]
}
