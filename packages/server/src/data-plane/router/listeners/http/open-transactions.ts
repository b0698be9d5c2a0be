// The transactions that clients of this router hold open: found by ids that nobody can guess, in bounded number,
// waited for when the router stops.
import { randomBytes } from 'node:crypto'
import { FleetError, isFleetError, type Principal, type SessionToken, type ShardMap } from '@fleetshard/core'
import type { HeldTransaction } from '@fleetshard/routing/execute'

/** One open transaction. */
export interface OpenTransaction {
  readonly id: string
  readonly held: HeldTransaction
  readonly keyspace: string
  /** Who has begun it: nobody else may use it. */
  readonly principal: Principal
  /** Of its begin; null when its client wants none. */
  readonly token: SessionToken | null
  /** The keyspace's map as it is now. */
  readonly map: () => ShardMap
}

const idBytes = 18

/** All of one router. */
export class OpenTransactions {
  readonly #byId = new Map<string, OpenTransaction>()
  readonly #max: number
  /** Begins under way, which count as well. */
  #beginning = 0
  readonly #changed = new Set<() => void>()

  constructor(max: number) {
    this.#max = max
  }

  /** Those that could still be committed. */
  get size(): number {
    let open = 0
    for (const { held } of this.#byId.values()) if (held.isOpen) open += 1
    return open
  }

  /**
   * Takes a transaction in. It is forgotten when it has ended.
   * @throws FleetError `overloaded` before anything was begun; what `begin` throws
   */
  async add(
    begin: () => Promise<HeldTransaction>,
    of: Pick<OpenTransaction, 'keyspace' | 'principal' | 'token' | 'map'>,
  ): Promise<OpenTransaction> {
    if (this.#byId.size + this.#beginning >= this.#max) {
      throw new FleetError('overloaded', `${String(this.#byId.size)} transactions are open on this router`, {
        hint: 'end transactions that are not needed any more; they also end by themselves when idle',
      })
    }
    this.#beginning += 1
    try {
      const held = await begin()
      const transaction = { ...of, held, id: `tx_${randomBytes(idBytes).toString('base64url')}` }
      this.#byId.set(transaction.id, transaction)
      void held.ended.then(() => {
        this.#byId.delete(transaction.id)
      })
      void held.closed.then(() => {
        this.#tell()
      })
      return transaction
    } finally {
      this.#beginning -= 1
    }
  }

  /** @throws FleetError `transaction_not_found` */
  get(id: string, { kind, subject }: Principal): OpenTransaction {
    const found = this.#byId.get(id)
    if (found?.principal.kind === kind && found.principal.subject === subject) return found
    throw notFound()
  }

  /** Resolves when none is open any more. */
  async drained(): Promise<void> {
    while (this.size > 0) {
      await new Promise<void>((resolve) => this.#changed.add(resolve))
    }
  }

  /** Rolls back all that wait for a request; those at work end with their requests. */
  giveUp(): void {
    for (const { held } of this.#byId.values()) void held.giveUp()
  }

  #tell(): void {
    for (const resolve of this.#changed) resolve()
    this.#changed.clear()
  }
}

/** Of a transaction that this router does not know nobody can say here how it ended. */
const notFound = (): FleetError =>
  new FleetError('transaction_not_found', 'this router has no open transaction with that id', {
    hint: 'it was ended, timed out and was rolled back, or was begun on another router: begin a new one',
    facts: { outcome: 'unknown' },
  })

/** The same for one that ended while its request was on the way. */
export const orNotFound = (error: unknown): unknown =>
  isFleetError(error, 'transaction_not_found') ? notFound() : error
