// The statements that clients of the wire protocol have made a server connection prepare. Clients' own names are
// never used: a statement is known by its text and types, learned by a connection on first use, and closed when too
// many others were used since. What is used once only goes through the unnamed statement.
import { writeClose, writeParse, type WireWriter } from '../pgwire/mod.ts'

/** Statements of clients held by one server connection when nobody says otherwise. */
export const serverStatementsMax = 200

/** A statement as a connection is to know it. */
export interface StatementText {
  readonly text: string
  /** Type OIDs as the client gave them. */
  readonly paramTypes: readonly number[]
}

/** How a statement is named in the group at hand, and what was written before it can be used. */
export interface ServerName {
  readonly name: string
  /** True when Parse was written: one ParseComplete will come. */
  readonly parsed: boolean
  /** Closes written: one CloseComplete for each will come, before that. */
  readonly closes: number
}

/** One connection's statements. */
export class ServerStatements {
  readonly #max: number
  /** In order of use, the least recent first. */
  readonly #named = new Map<StatementText, string>()
  /** Those of before the last change of the schema. */
  #old = new Map<StatementText, string>()
  #unnamed: StatementText | null = null
  #unwanted: string[] = []
  #namesGiven = 0

  constructor(max = serverStatementsMax) {
    this.#max = max
  }

  get size(): number {
    return this.#named.size
  }

  /**
   * Writes whatever makes the statement usable. Statements are told apart by identity: the caller keeps one object
   * for one text and its types.
   * @param kind `keep` is false for a statement that is probably used once: it goes through the unnamed one. `isOld`
   * tells that who uses it has prepared it before the schema changed: it is taken as it was prepared then, so that the
   * server refuses it where its rows have another shape now.
   */
  use(
    out: WireWriter,
    statement: StatementText,
    { keep, isOld }: { keep: boolean; isOld: boolean },
  ): ServerName {
    const old = isOld ? this.#old.get(statement) : undefined
    if (old !== undefined) return { name: old, parsed: false, closes: 0 }
    const name = this.#named.get(statement)
    if (name !== undefined) {
      this.#named.delete(statement)
      this.#named.set(statement, name)
      return { name, parsed: false, closes: 0 }
    }
    const closes = this.#writeCloses(out)
    if (!keep) {
      if (this.#unnamed === statement) return { name: '', parsed: false, closes }
      this.#unnamed = statement
      writeParse(out, '', statement.text, statement.paramTypes)
      return { name: '', parsed: true, closes }
    }
    return { name: this.#learn(out, statement), parsed: true, closes }
  }

  /** The server's name for it; undefined for one that it does not know by name. */
  nameOf(statement: StatementText): string | undefined {
    return this.#named.get(statement) ?? this.#old.get(statement)
  }

  /** A group failed before that statement was surely there, or the server has lost it: it is parsed anew next time. */
  forget(statement: StatementText): void {
    if (this.#unnamed === statement) this.#unnamed = null
    for (const names of [this.#named, this.#old]) {
      const name = names.get(statement)
      if (name === undefined) continue
      names.delete(statement)
      this.#unwanted.push(name)
    }
  }

  /** Somebody else may have used the unnamed statement: to be called at the beginning of each group. */
  forgetUnnamed(): void {
    this.#unnamed = null
  }

  /** The server has dropped them all (DISCARD ALL, DEALLOCATE ALL). */
  clear(): void {
    this.#named.clear()
    this.#old.clear()
    this.#unnamed = null
    this.#unwanted = []
  }

  /** The schema has changed: the next use of each parses anew, but for those who have prepared it before. */
  renew(): void {
    this.#unwanted.push(...this.#old.values())
    this.#old = new Map(this.#named)
    this.#named.clear()
    this.#unnamed = null
  }

  #learn(out: WireWriter, statement: StatementText): string {
    this.#namesGiven += 1
    const name = `fw_${String(this.#namesGiven)}`
    writeParse(out, name, statement.text, statement.paramTypes)
    this.#named.set(statement, name)
    if (this.#named.size > this.#max) {
      const [oldest] = this.#named.keys()
      if (oldest !== undefined) this.forget(oldest)
    }
    return name
  }

  /** Closing a statement that is not there is no error. */
  #writeCloses(out: WireWriter): number {
    const unwanted = this.#unwanted
    if (unwanted.length === 0) return 0
    this.#unwanted = []
    for (const name of unwanted) writeClose(out, 'S', name)
    return unwanted.length
  }
}
