// From an open socket to the first ReadyForQuery: startup message, authentication, first settings. Off the hot path,
// so it works on copies of messages, one after the other.
import { randomBytes } from 'node:crypto'
import { assertNever } from '@fleetshard/core'
import {
  backendCode,
  decodeAuthentication,
  decodeBackendKeyData,
  decodeParameterStatus,
  decodeReadyForQuery,
  decodeServerError,
  md5Password,
  protocolViolation,
  ScramClient,
  scramMechanism,
  serverEndPoint,
  WireWriter,
  writePassword,
  writeSaslInitial,
  writeSaslResponse,
  writeStartup,
  type AuthenticationRequest,
  type ScramKeys,
} from '../pgwire/mod.ts'
import { connectError, refusalOf } from './errors.ts'
import type { Transport } from './transport.ts'
import type { ServerConnectOptions } from './types.ts'

/** More messages than this before ReadyForQuery are no login. */
const loginMessagesMax = 1000

/** A copy of one message. */
export interface CopiedMessage {
  readonly type: number
  readonly bytes: Buffer
}

/** The messages that come while logging in, to be awaited one by one. */
export class LoginInbox {
  readonly #messages: CopiedMessage[] = []
  #taken = 0
  #failure: Error | null = null
  #wake: (() => void) | null = null

  push(type: number, buf: Buffer, start: number, end: number): void {
    if (this.#messages.length >= loginMessagesMax)
      throw protocolViolation('too many messages before ReadyForQuery')
    this.#messages.push({ type, bytes: Buffer.from(buf.subarray(start, end)) })
    this.#wake?.()
  }

  /** Whoever waits, and will wait, gets this error once the messages are used up. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#wake?.()
  }

  /** Ends with the connection: its close calls `fail`. */
  async next(): Promise<CopiedMessage> {
    for (;;) {
      const message = this.#messages[this.#taken]
      if (message !== undefined) {
        this.#taken += 1
        return message
      }
      if (this.#failure !== null) throw this.#failure
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** What came after the last message taken. */
  rest(): readonly CopiedMessage[] {
    return this.#messages.slice(this.#taken)
  }
}

/** What the server told in the course of the login. */
export interface LoginResult {
  readonly processId: number
  readonly secretKey: Uint8Array
  readonly parameters: Map<string, string>
  readonly status: 'I' | 'T' | 'E'
}

/**
 * Logs in.
 * @throws FleetError `shard_unavailable` with a hint; `protocol_violation`; what the inbox fails with
 */
export async function login(
  transport: Transport,
  inbox: LoginInbox,
  options: ServerConnectOptions,
): Promise<LoginResult> {
  const exchange = new Authentication(transport, inbox, options)
  send(transport, (out) => {
    writeStartup(out, {
      ...options.startupSettings,
      user: options.user,
      database: options.database,
      application_name: options.applicationName,
      client_encoding: 'UTF8',
    })
  })
  await exchange.run()
  return settings(inbox, options)
}

function send(transport: Transport, encode: (out: WireWriter) => void): void {
  const out = new WireWriter()
  encode(out)
  transport.socket.write(out.bytes())
}

/** The answer to the next message, with refusals already thrown. */
async function nextOf(inbox: LoginInbox, options: ServerConnectOptions): Promise<CopiedMessage> {
  for (;;) {
    const message = await inbox.next()
    if (message.type === backendCode.errorResponse) {
      throw connectError(options, refusalOf(decodeServerError(message.bytes, 0, message.bytes.length)))
    }
    const passing =
      message.type === backendCode.noticeResponse || message.type === backendCode.negotiateProtocolVersion
    if (!passing) return message
  }
}

/** The exchange up to AuthenticationOk. */
class Authentication {
  readonly #transport: Transport
  readonly #inbox: LoginInbox
  readonly #options: ServerConnectOptions

  constructor(transport: Transport, inbox: LoginInbox, options: ServerConnectOptions) {
    this.#transport = transport
    this.#inbox = inbox
    this.#options = options
  }

  async run(): Promise<void> {
    const request = await this.#next()
    switch (request.kind) {
      case 'ok':
        return
      case 'cleartext':
        this.#cleartext()
        break
      case 'md5':
        this.#send(md5Password(this.#options.user, this.#password(), request.salt))
        break
      case 'sasl':
        await this.#scram(request.mechanisms)
        break
      case 'sasl-continue':
      case 'sasl-final':
        throw protocolViolation('the login is out of step')
      case 'unsupported':
        throw this.#refused(
          `the server asks for the login method ${String(request.code)}, which is not supported`,
          'use scram-sha-256 in pg_hba.conf for this user',
        )
      default:
        assertNever(request)
    }
    if ((await this.#next()).kind !== 'ok') throw protocolViolation('the login is out of step')
  }

  #cleartext(): void {
    const { encrypted, local } = this.#transport
    if (!encrypted && !local) {
      throw this.#refused(
        'the server asks for the password in clear text over a connection without TLS',
        'use TLS for this node, or scram-sha-256 in pg_hba.conf',
      )
    }
    this.#send(this.#password())
  }

  async #scram(mechanisms: readonly string[]): Promise<void> {
    const certificate = this.#transport.certificate
    const wantsBinding = certificate !== null && mechanisms.includes(scramMechanism.plus)
    const channelBinding = wantsBinding ? serverEndPoint(certificate) : null
    if (channelBinding === null && !mechanisms.includes(scramMechanism.plain)) {
      throw this.#refused(
        `the server offers the login methods ${mechanisms.join(', ')} only`,
        'use scram-sha-256 in pg_hba.conf for this user',
      )
    }
    const scram = new ScramClient({
      password: this.#secret(),
      nonce: randomBytes(24).toString('base64'),
      channelBinding,
    })
    send(this.#transport, (out) => {
      writeSaslInitial(out, scram.mechanism, scram.first())
    })
    const answer = await scram.answer(await this.#saslText('sasl-continue'))
    send(this.#transport, (out) => {
      writeSaslResponse(out, answer)
    })
    if (!scram.verify(await this.#saslText('sasl-final'))) {
      throw this.#refused(
        'the server could not prove that it knows the password',
        'check who answers at that address',
      )
    }
  }

  async #saslText(kind: 'sasl-continue' | 'sasl-final'): Promise<string> {
    const request = await this.#next()
    if (request.kind !== kind) throw protocolViolation('the login is out of step')
    return request.text
  }

  async #next(): Promise<AuthenticationRequest> {
    const { type, bytes } = await nextOf(this.#inbox, this.#options)
    if (type !== backendCode.authentication) throw protocolViolation('the login is out of step')
    return decodeAuthentication(bytes, 0, bytes.length)
  }

  #send(password: string): void {
    send(this.#transport, (out) => {
      writePassword(out, password)
    })
  }

  #password(): string {
    const secret = this.#secret()
    if (typeof secret === 'string') return secret
    throw this.#refused(
      'the server asks for the password itself, and only SCRAM keys are known',
      'use scram-sha-256 in pg_hba.conf for this user',
    )
  }

  #secret(): string | ScramKeys {
    const { password } = this.#options
    if (password === null) {
      throw this.#refused('the server asks for a password and none is known', "set the node's secretRef")
    }
    return password
  }

  #refused(reason: string, hint: string): Error {
    return connectError(this.#options, { reason, hint, retryable: false })
  }
}

/** From AuthenticationOk to ReadyForQuery. */
async function settings(inbox: LoginInbox, options: ServerConnectOptions): Promise<LoginResult> {
  const parameters = new Map<string, string>()
  let key: { processId: number; secretKey: Uint8Array } = { processId: 0, secretKey: new Uint8Array(4) }
  for (;;) {
    const { type, bytes } = await nextOf(inbox, options)
    if (type === backendCode.parameterStatus) {
      const status = decodeParameterStatus(bytes, 0, bytes.length)
      parameters.set(status.name, status.value)
    } else if (type === backendCode.backendKeyData) key = decodeBackendKeyData(bytes, 0, bytes.length)
    else if (type === backendCode.readyForQuery) {
      return { ...key, parameters, status: decodeReadyForQuery(bytes, 0, bytes.length) }
    } else throw protocolViolation('the login is out of step')
  }
}
