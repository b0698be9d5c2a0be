// Errors that a session has in the very bytes in which a server has said them.

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

/** The connection that had the state of the session is gone: the client has to connect again. */
export class SessionLost extends Error {
  override readonly name = 'SessionLost'
}
