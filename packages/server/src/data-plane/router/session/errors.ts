// Errors of a session: what a server has said in its very bytes, what ends the session, and how a client is told.
import { FleetError, isFleetError, toFleetError } from '@fleetshard/core'
import { writeThrown } from '../listeners/pgwire/errors.ts'
import { built } from './group-items.ts'

/** A server's ErrorResponse that the client has not been told yet. */
export class SaidByServer extends Error {
  override readonly name = 'SaidByServer'
  readonly bytes: Buffer
  readonly sqlstate: string

  constructor(bytes: Buffer, sqlstate: string) {
    super('a server refused a statement')
    this.bytes = bytes
    this.sqlstate = sqlstate
  }
}

/** The connection that had the state of the session is gone, or of no use: the client has to connect again. */
export class SessionLost extends Error {
  override readonly name = 'SessionLost'
  readonly error: FleetError

  /** @param error what the client is told, when it is not that the shard has gone */
  constructor(message: string, error?: FleetError) {
    super(message)
    this.error = error ?? new FleetError('shard_unavailable', message, { sqlstate: '57P01' })
  }
}

/** Errors after which the session cannot go on; null for others. */
export function fatalOf(thrown: unknown): FleetError | null {
  if (thrown instanceof SessionLost) return thrown.error
  // The keys of this session are of no use any more: a new login shows those that are.
  return isFleetError(thrown, 'login_refused') ? thrown : null
}

/** The error as the client is told. */
export function refusalOf(thrown: unknown): { readonly bytes: Buffer; readonly sqlstate: string } {
  if (thrown instanceof SaidByServer) return thrown
  const bytes = built((out) => {
    writeThrown(out, thrown)
  })
  return { bytes, sqlstate: toFleetError(thrown).sqlstate }
}
