// After a crash a primary shows commits that it had written and no replica has. Where commits must not be seen before a
// replica has them, the first connection to a primary that may have started anew makes a commit of its own, which is
// confirmed only after all that came before it.
import { FleetError, isFleetError } from '@fleetshard/core'
import type { ServerConnection } from '../wire/mod.ts'
import { query } from '../wire/mod.ts'

/** How long the request to end the wait may take. */
const cancelMsMax = 1_000

interface Witness {
  readonly connection: ServerConnection
  /** When that server started, in its own words. */
  readonly startedAt: string
}

/** Connections to one primary that are known to show confirmed commits only. */
export class RestartProof {
  readonly #witnesses = new Set<Witness>()

  /**
   * Resolves when what the connection shows is confirmed; at once when another one that was good is still open: no
   * server survives its own restart with connections. What it waits for is bounded by the signal.
   * @throws FleetError `shard_unavailable` when the wait was cut short or the server takes no commits, the signal's reason
   */
  async prove(connection: ServerConnection, signal: AbortSignal): Promise<void> {
    const startedAt = await start(connection, signal)
    if (!this.#isWitnessed(startedAt)) await confirm(connection, signal)
    const witness = { connection, startedAt }
    this.#witnesses.add(witness)
    void connection.closed.then(() => this.#witnesses.delete(witness))
  }

  #isWitnessed(startedAt: string): boolean {
    for (const witness of this.#witnesses) {
      if (witness.connection.state !== 'closed' && witness.startedAt === startedAt) return true
    }
    return false
  }
}

async function start(connection: ServerConnection, signal: AbortSignal): Promise<string> {
  const { rows } = await query(connection, 'select pg_catalog.pg_postmaster_start_time()', [], { signal })
  return rows[0]?.[0] ?? ''
}

/** Lanes only read: what is written here is no row. */
async function confirm(connection: ServerConnection, signal: AbortSignal): Promise<void> {
  const statements = [
    'begin read write',
    "select pg_catalog.pg_logical_emit_message(true, 'fleetshard', 'restart')",
    'commit',
  ]
  try {
    await Promise.all(statements.map((text) => query(connection, text, [], { signal })))
  } catch (error) {
    // A backend that waits for replicas does not notice that nobody waits for it: one more would stay with each attempt.
    await connection.cancel({ timeoutMs: cancelMsMax }).catch(() => undefined)
    if (!isFleetError(error, 'sql_error')) throw error
    // One that came back as a replica, or is about to lead: no answer to the statement of a client.
    throw new FleetError('shard_unavailable', `the primary cannot commit: ${error.message}`, { cause: error })
  }
}
