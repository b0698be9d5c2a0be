// The statements that clients prepare, one object for one text and its types, so that server connections can tell them
// apart by identity, whatever names the clients gave them.
import type { KnownStatement } from '@fleetshard/routing/plan'
import type { StatementText } from '@fleetshard/routing/wire'

/** A statement of clients. */
export interface WireStatement extends StatementText {
  /** What the grammar says of it; null until it was asked. */
  known: KnownStatement | null
  /** The text with its values left out, for the statistics; null until it was wanted. */
  fingerprint: string | null
  /** It may change what names of statements and portals stand for, by its first word. */
  readonly changesNames: boolean
  /** What it is depends on what names stand for when it is parsed, by its words. */
  readonly readsNames: boolean
  /** How often it was bound. */
  uses: number
  /** Types of its parameters as a server has told them, and under which tables and settings. */
  described: { readonly under: object; readonly settings: string; readonly types: readonly number[] } | null
}

/** Memory for texts. */
const bytesMaxDefault = 32 * 1024 * 1024
/** Rough bytes of an entry beside its text. */
const entryBytes = 500
/** Longer texts are not kept: they are rarely sent twice. */
const keptTextMax = 64 * 1024

/** All statements of all clients of a router. */
export class WireStatements {
  /** Counts the changes of tables that this router has seen. */
  generation = 0
  readonly #bytesMax: number
  readonly #known = new Map<string, { readonly statement: WireStatement; used: boolean }>()
  #bytes = 0

  constructor(bytesMax = bytesMaxDefault) {
    this.#bytesMax = bytesMax
  }

  get(text: string, paramTypes: readonly number[]): WireStatement {
    const key = paramTypes.length === 0 ? text : `${paramTypes.join(',')}\0${text}`
    const entry = this.#known.get(key)
    if (entry !== undefined) {
      entry.used = true
      return entry.statement
    }
    const changesNames = naming.test(text)
    const statement: WireStatement = {
      text,
      paramTypes,
      known: null,
      changesNames,
      readsNames: changesNames && executing.test(text),
      fingerprint: null,
      uses: 0,
      described: null,
    }
    if (text.length > keptTextMax) return statement
    this.#known.set(key, { statement, used: false })
    this.#bytes += sizeOf(key)
    this.#evict()
    return statement
  }

  /** Second chance: an entry used since the last pass goes to the back of the line instead of out. */
  #evict(): void {
    for (const [key, entry] of this.#known) {
      if (this.#bytes <= this.#bytesMax) return
      this.#known.delete(key)
      if (entry.used) {
        entry.used = false
        this.#known.set(key, entry)
      } else this.#bytes -= sizeOf(key)
    }
  }
}

/** Commands of SQL about statements and cursors, and ends of transactions, behind blanks and comments. */
const naming =
  /^(?:[\s;]|--[^\n]*\n|\/\*[^*]*\*+(?:[^/*][^*]*\*+)*\/)*(?:prepare|execute|explain|create|deallocate|discard|declare|close|commit|end|rollback|abort)\b/i

/** EXECUTE, alone or within EXPLAIN and CREATE TABLE AS. */
const executing = /\bexecute\b/i

const sizeOf = (key: string): number => key.length * 2 + entryBytes
