// What a statement does to the session, the transaction or the connection it runs on, for a listener that holds one:
// plain data, read from the parse tree once (postgres/command.ts) and cached with the other facts.
import type { Slot } from './facts.ts'

/** Modes of a transaction, as BEGIN, SET TRANSACTION and AND CHAIN give them; null where nothing is said. */
export interface TransactionModes {
  /** In lower case: `read committed`, `serializable`, … */
  readonly isolation: string | null
  readonly readOnly: boolean | null
  readonly deferrable: boolean | null
}

/** BEGIN, COMMIT and what lies between. ABORT is `rollback`, END is `commit`, START TRANSACTION is `begin`. */
export type TransactionCommand =
  /** `starts` for START TRANSACTION. */
  | { readonly kind: 'begin'; readonly starts: boolean; readonly modes: TransactionModes }
  | { readonly kind: 'commit' | 'rollback'; readonly chain: boolean }
  | { readonly kind: 'savepoint' | 'release' | 'rollback-to'; readonly name: string }
  | {
      readonly kind: 'prepare-transaction' | 'commit-prepared' | 'rollback-prepared'
      readonly gid: string
    }
  /** SET TRANSACTION, or SET SESSION CHARACTERISTICS with `session`. */
  | { readonly kind: 'set-transaction'; readonly session: boolean; readonly modes: TransactionModes }
  | { readonly kind: 'set-transaction-snapshot'; readonly snapshot: string }
  | { readonly kind: 'set-constraints' }

/** What changes or shows the state of a session. Names of settings are in lower case. */
export type SessionCommand =
  /** `values` as Postgres reads them: numbers in decimal, names and strings as text; null for TO DEFAULT and FROM CURRENT. SET ROLE is the setting `role`, SET SESSION AUTHORIZATION `session_authorization`. */
  | {
      readonly kind: 'set'
      readonly name: string
      readonly values: readonly string[] | null
      readonly local: boolean
      readonly fromCurrent: boolean
    }
  /** Null for RESET ALL. */
  | { readonly kind: 'reset'; readonly name: string | null }
  /** `all` for SHOW ALL. */
  | { readonly kind: 'show'; readonly name: string }
  | { readonly kind: 'discard'; readonly what: 'all' | 'plans' | 'sequences' | 'temp' }
  | { readonly kind: 'listen'; readonly channel: string }
  /** Null for UNLISTEN *. */
  | { readonly kind: 'unlisten'; readonly channel: string | null }
  | { readonly kind: 'notify'; readonly channel: string; readonly payload: string | null }
  | { readonly kind: 'load' }

/** Prepared statements of SQL. */
export type PreparedCommand =
  /** `text` is the inner statement. The types are as written. */
  | {
      readonly kind: 'prepare'
      readonly name: string
      readonly types: readonly string[]
      readonly text: string
    }
  /** A null where a value is not a plain literal. */
  | { readonly kind: 'execute'; readonly name: string; readonly values: readonly (Slot | null)[] }
  /** Null for DEALLOCATE ALL. */
  | { readonly kind: 'deallocate'; readonly name: string | null }

/** Cursors of SQL. */
export type CursorCommand =
  /** The facts are those of the query. */
  | { readonly kind: 'declare'; readonly name: string; readonly hold: boolean; readonly text: string }
  | { readonly kind: 'fetch' | 'move'; readonly name: string }
  /** Null for CLOSE ALL. */
  | { readonly kind: 'close'; readonly name: string | null }

/** The table of a COPY or a LOCK. */
export interface NamedTable {
  readonly schema: string | null
  readonly name: string
}

/** An option in parentheses, or of the old syntax; the value as text, null where none is given. */
export interface CommandOption {
  readonly name: string
  readonly value: string | null
}

/** What the statement is to a listener. `rows` is everything that is simply run: SELECT, INSERT, UPDATE, … */
export type Command =
  | { readonly kind: 'rows' }
  | TransactionCommand
  | SessionCommand
  | PreparedCommand
  | CursorCommand
  /** `table` is null for COPY (query); `columns` is null where none are named; `other` says server file or program. */
  | {
      readonly kind: 'copy'
      readonly table: NamedTable | null
      readonly columns: readonly string[] | null
      readonly direction: 'in' | 'out'
      readonly end: 'client' | 'file' | 'program'
      readonly options: readonly CommandOption[]
    }
  | { readonly kind: 'lock'; readonly tables: readonly NamedTable[] }
  | { readonly kind: 'call' }
  | { readonly kind: 'do' }
  /** `route` for EXPLAIN (ROUTE); `text` is the inner statement. */
  | {
      readonly kind: 'explain'
      readonly options: readonly CommandOption[]
      readonly route: boolean
      readonly text: string
    }
  /** CREATE TEMP …, SELECT INTO TEMP: an object that lives as long as the session. */
  | { readonly kind: 'temporary' }
  | { readonly kind: 'ddl' }
  /** Maintenance (VACUUM, …) and what the router does not know. */
  | { readonly kind: 'utility' }
