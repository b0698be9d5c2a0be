// The way of a client from its first byte to its session: encryption, cancel requests, the startup message, the login.
// Whatever goes wrong here ends the connection with a FATAL error, as Postgres does.
import type { Socket } from 'node:net'
import { FleetError, toFleetError, type Clock } from '@fleetshard/core'
import {
  decodeStartupRequest,
  frontendCode,
  isStartupSize,
  messageHeaderBytes,
  protocolViolation,
  requestCode,
  writeNegotiateVersion,
} from '@fleetshard/routing/pgwire'
import type { AttemptLimit } from './attempt-limit.ts'
import type { CancelKeys } from './cancel-keys.ts'
import type { ClientConnection, ClientReceiver } from './client-connection.ts'
import { writeThrown } from './errors.ts'
import { logIn, type LoggedIn, type LoginParts } from './login.ts'
import { readStartup, type StartupClaim } from './startup-parameters.ts'

/** What entering needs beside the client. */
export interface EntranceParts {
  readonly clock: Clock
  readonly login: LoginParts
  /** Where the client is. */
  readonly address: string
  readonly cancelKeys: CancelKeys
  /** Of the client's address. */
  readonly cancels: AttemptLimit
  readonly host: string
  /** Encrypts a server's end of a socket; null where there is no certificate. */
  readonly encrypt: ((socket: Socket, options: { readonly direct: boolean }) => Socket) | null
  /** Whoever is not encrypted is not let in. */
  readonly isTlsRequired: boolean
  readonly loginTimeoutMs: number
  /** Why the client is not let in at all, once it has said that it wants to log in; null for welcome. */
  readonly refusal: () => FleetError | null
  /** The login is done. */
  readonly entered: (client: { readonly claim: StartupClaim; readonly who: LoggedIn }) => void
}

type Stage =
  | { readonly kind: 'opening' }
  | { readonly kind: 'login'; readonly abort: AbortController; take: ((body: Buffer) => void) | null }
  | { readonly kind: 'over' }

/** Requests for encryption that one connection may make before its startup message. */
const requestsMax = 2

/** Receives the messages of one client until its session does. */
export class Entrance implements ClientReceiver {
  readonly #parts: EntranceParts
  readonly #connection: ClientConnection
  #stage: Stage = { kind: 'opening' }
  #requests = 0
  readonly #stopTimer: () => void

  constructor(parts: EntranceParts, connection: ClientConnection) {
    this.#parts = parts
    this.#connection = connection
    this.#stopTimer = parts.clock.after(parts.loginTimeoutMs, () => {
      this.#refuse(new FleetError('deadline_exceeded', 'the login was not finished in time'))
    })
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    try {
      const stage = this.#stage
      if (stage.kind === 'opening') this.#opening(buf, start, end)
      else if (stage.kind === 'login') this.#loginMessage(stage, type, buf.subarray(start, end))
    } catch (error) {
      this.#refuse(toFleetError(error))
    }
  }

  acceptsPieces(): boolean {
    return false
  }

  piece(): void {
    // Nothing here is accepted in pieces.
  }

  broken(error: FleetError): void {
    if (!isStartupSize(error)) {
      this.#refuse(error)
      return
    }
    // Of another protocol, or of a client that ends what it has not yet begun: it does not wait for an answer.
    this.#leave()
    this.#connection.end()
  }

  gone(): void {
    this.#leave()
  }

  /** Ends a connection that has not yet a session. */
  shutDown(error: FleetError): void {
    this.#refuse(error)
  }

  #opening(buf: Buffer, start: number, end: number): void {
    const request = decodeStartupRequest(buf, start, end)
    switch (request.kind) {
      case 'ssl':
        this.#encrypt()
        return
      case 'gss-encryption':
        this.#count()
        this.#answer('N')
        return
      case 'cancel':
        this.#cancel(request)
        this.#leave()
        this.#connection.end()
        return
      case 'startup':
        this.#startUp(readStartup(request))
    }
  }

  /** Nobody is told what came of it. */
  #cancel({ processId, secretKey }: { readonly processId: number; readonly secretKey: Uint8Array }): void {
    const { cancelKeys, cancels, host } = this.#parts
    if (!cancels.take(host)) return
    if (cancelKeys.cancel(processId, secretKey)) cancels.giveBack(host)
    else cancels.wrong += 1
  }

  #count(): void {
    this.#requests += 1
    if (this.#requests > requestsMax) throw protocolViolation('too many requests for encryption')
  }

  #answer(byte: 'S' | 'N'): void {
    const { output } = this.#connection
    output.writer.uint8(byte.charCodeAt(0))
    output.flush()
  }

  #encrypt(): void {
    this.#count()
    const { encrypt } = this.#parts
    if (encrypt === null || this.#connection.isEncrypted) {
      this.#answer('N')
      return
    }
    this.#answer('S')
    this.#connection.wrapSocket((socket) => encrypt(socket, { direct: false }))
  }

  #startUp(claim: StartupClaim): void {
    const refusal = this.#parts.refusal()
    if (refusal !== null) throw refusal
    if (this.#parts.isTlsRequired && !this.#connection.isEncrypted) throw plaintextRefused()
    const { output } = this.#connection
    this.#connection.startupDone()
    if (claim.negotiate !== null) {
      const granted = requestCode.protocol30 + claim.protocol.minor
      writeNegotiateVersion(output.writer, granted, claim.negotiate.unknownOptions)
    }
    const stage = { kind: 'login' as const, abort: new AbortController(), take: null }
    this.#stage = stage
    this.#connection.hold()
    this.#logIn(claim, stage).then(
      (who) => {
        if (this.#stage !== stage) return
        this.#leave()
        this.#parts.entered({ claim, who })
      },
      (error: unknown) => {
        if (this.#stage === stage) this.#refuse(toFleetError(error))
      },
    )
  }

  #logIn(claim: StartupClaim, stage: Extract<Stage, { kind: 'login' }>): Promise<LoggedIn> {
    const messages = {
      next: () =>
        new Promise<Buffer>((resolve) => {
          stage.take = resolve
          this.#connection.release()
        }),
    }
    const { user, database: keyspace } = claim
    const { output } = this.#connection
    const { address, host } = this.#parts
    const { isEncrypted } = this.#connection
    const who = { user, host, keyspace, signal: stage.abort.signal, address, isEncrypted }
    return logIn(this.#parts.login, who, { output, messages })
  }

  #loginMessage(stage: Extract<Stage, { kind: 'login' }>, type: number, message: Buffer): void {
    if (type === frontendCode.terminate) {
      this.#leave()
      this.#connection.end()
      return
    }
    const { take } = stage
    if (type !== frontendCode.password || take === null) {
      throw protocolViolation('expected a message of the login')
    }
    stage.take = null
    this.#connection.hold()
    take(Buffer.from(message.subarray(messageHeaderBytes)))
  }

  #refuse(error: FleetError): void {
    if (this.#stage.kind === 'over') return
    this.#leave()
    if (this.#connection.isGone) return
    writeThrown(this.#connection.output.writer, error, 'FATAL')
    this.#connection.end()
  }

  #leave(): void {
    const stage = this.#stage
    this.#stage = { kind: 'over' }
    this.#stopTimer()
    if (stage.kind === 'login') stage.abort.abort(new FleetError('canceled', 'the login is over'))
  }
}

/** Before anything is asked: a password that is sent in spite of it is the client's own doing. */
const plaintextRefused = (): FleetError =>
  new FleetError('login_refused', 'this port is for connections under TLS only', {
    sqlstate: '28000',
    hint: 'connect with sslmode=verify-full, or at least sslmode=require',
  })
