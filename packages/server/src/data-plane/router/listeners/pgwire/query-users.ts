// Users as the shards' own databases know them: their SCRAM verifiers, asked for by a query on a shard's primary.
import { FleetError, type Clock, type ShardMap, type ShardRecord } from '@fleetshard/core'
import { Cancellation, type ShardAccess } from '@fleetshard/routing/execute'
import { query } from '@fleetshard/routing/wire'
import { demandOf, type LoginDemand, type WireUsers } from './users.ts'

/** What asking needs. */
export interface QueryUsersParts {
  readonly clock: Clock
  /** One parameter, the user; the first column of the first row is the verifier. */
  readonly text: string
  /** @throws FleetError `not_found` */
  readonly map: (keyspace: string) => ShardMap
  readonly access: (shard: ShardRecord) => ShardAccess
}

/** Logins come in bursts: an answer serves those of that time. */
const keptMs = 2_000
const keptMax = 1_000

/** Users who may log in to the databases of a keyspace. */
export class QueryUsers implements WireUsers {
  readonly #parts: QueryUsersParts
  readonly #kept = new Map<string, { readonly demand: Promise<LoginDemand>; readonly atMs: number }>()

  constructor(parts: QueryUsersParts) {
    this.#parts = parts
  }

  demand(user: string, keyspace: string, signal: AbortSignal): Promise<LoginDemand> {
    signal.throwIfAborted()
    const key = JSON.stringify([keyspace, user])
    const nowMs = this.#parts.clock.monotonic()
    const kept = this.#kept.get(key)
    if (kept !== undefined && nowMs - kept.atMs < keptMs) return kept.demand
    if (this.#kept.size >= keptMax) this.#kept.clear()
    const demand = this.#ask(user, keyspace)
    this.#kept.set(key, { demand, atMs: nowMs })
    demand.catch(() => this.#kept.delete(key))
    return demand
  }

  async #ask(user: string, keyspace: string): Promise<LoginDemand> {
    const map = this.#parts.map(keyspace)
    const [shard] = map.owners
    if (shard === undefined) {
      throw new FleetError('no_shard', `keyspace ${keyspace} has no active shard`, {
        hint: 'create one: fleetshard shard create',
      })
    }
    const { pool } = this.#parts.access(shard).primary()
    const session = await pool.borrow(new Cancellation())
    try {
      const { rows } = await query(session.connection, this.#parts.text, [user], { rowsMax: 1 })
      return demandOf(rows[0]?.[0])
    } finally {
      pool.giveBack(session)
    }
  }
}
