// The settings that a client has given its session, so that any server connection can be brought to the same state:
// the statements that set them, by name. Immutable; equal ones share a key.

/** Settings under which a connection must not be shared: they would lift what keeps a lane from writing or waiting. */
const notInLanes = new Set([
  'default_transaction_read_only',
  'transaction_read_only',
  'lock_timeout',
  'session_authorization',
])
/** Longest key that may still name a set of lanes. */
const laneKeyMax = 2_000

/** Settings of one session beyond those that every connection is opened with. */
export class SessionSettings {
  readonly #statements: ReadonlyMap<string, string>
  /** The same for the same settings; empty for none. */
  readonly key: string
  /** False when a connection with these settings must be used by one client at a time. */
  readonly mayShareLane: boolean

  constructor(statements: ReadonlyMap<string, string>) {
    this.#statements = statements
    this.key = [...statements]
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([, statement]) => statement)
      .join(';')
    this.mayShareLane =
      this.key.length <= laneKeyMax && [...statements.keys()].every((name) => !notInLanes.has(name))
  }

  get(name: string): string | undefined {
    return this.#statements.get(name)
  }

  /** With one more, set by that statement (without semicolon). */
  with(name: string, statement: string): SessionSettings {
    if (this.#statements.get(name) === statement) return this
    return new SessionSettings(new Map(this.#statements).set(name, statement))
  }

  without(name: string): SessionSettings {
    if (!this.#statements.has(name)) return this
    const statements = new Map(this.#statements)
    statements.delete(name)
    return new SessionSettings(statements)
  }

  /** What brings a connection that has `from` to these settings; empty when there is nothing to do. */
  changesFrom(from: SessionSettings): string {
    if (from.key === this.key) return ''
    // The role comes last: under it others might not be allowed to be set.
    const role = this.#statements.get('role')
    const others = [...this.#statements].filter(([name]) => name !== 'role').map(([, statement]) => statement)
    const begin = from.key === '' ? [] : ['reset role', 'reset all']
    return [...begin, ...others, ...(role === undefined ? [] : [role])].join(';\n')
  }
}

/** None. */
export const noSettings = new SessionSettings(new Map())
