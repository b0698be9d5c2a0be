// Where a session stands in its transaction, before and after a shard is known for it. Immutable settings make it
// simple to go back to what held before.
import type { FleetError } from '@fleetshard/core'
import type { SessionSettings } from '@fleetshard/routing/execute'
import type { OwnSettings } from './variables.ts'

/** What a rollback gives back. Immutable. */
export interface Kept {
  /** Of the servers. */
  readonly settings: SessionSettings
  /** Of the router. */
  readonly own: OwnSettings
}

/**
 * How far a transaction is bound. `none`: no server knows of it yet. `soft`: it has begun on a server that happened to
 * be at hand, and has done nothing there that could not be done again elsewhere. `hard`: it belongs to that shard.
 */
export type TransactionPin = 'none' | 'soft' | 'hard'

interface Savepoint {
  readonly name: string
  readonly kept: Kept
}

/** A transaction of a client. */
export class OpenTransaction {
  /** The statement that begins it on a server. */
  readonly begin: string
  /** False for one that the router has put around a pipeline; it ends with the pipeline. */
  readonly isClients: boolean
  /** What was done in it so far, to be done again on another server as long as it is bound softly. */
  readonly prologue: string[] = []
  pin: TransactionPin = 'none'
  /** Something in it has set by which names tables are found, if only for the transaction itself. */
  hasOwnPath = false
  /** Why it has failed, where no server knows of it (any more). */
  failure: FleetError | null = null
  /** The settings after a rollback. */
  readonly before: Kept
  readonly #savepoints: Savepoint[] = []

  constructor(begin: string, before: Kept, isClients = true) {
    this.begin = begin
    this.before = before
    this.isClients = isClients
  }

  /** The settings once it has failed: a server gives back at once what was set since the last savepoint. */
  get afterFailure(): Kept {
    return this.#savepoints.at(-1)?.kept ?? this.before
  }

  save(name: string, kept: Kept): void {
    this.#savepoints.push({ name, kept })
  }

  release(name: string): void {
    const index = this.#savepoints.findLastIndex((savepoint) => savepoint.name === name)
    if (index >= 0) this.#savepoints.splice(index)
  }

  /** The settings at that savepoint, which stays; null when there is none of that name. */
  rollbackTo(name: string): Kept | null {
    const index = this.#savepoints.findLastIndex((savepoint) => savepoint.name === name)
    if (index < 0) return null
    this.#savepoints.splice(index + 1)
    return this.#savepoints[index]?.kept ?? null
  }
}

const isolations = /repeatable|serializable/i

/** True where all queries of the transaction see the rows as they were at the first one. */
export function keepsSnapshot({
  transaction,
  settings,
}: {
  readonly transaction: OpenTransaction | null
  readonly settings: SessionSettings
}): boolean {
  const isolation = settings.get('default_transaction_isolation') ?? ''
  return [isolation, transaction?.begin ?? '', ...(transaction?.prologue ?? [])].some((text) =>
    isolations.test(text),
  )
}
