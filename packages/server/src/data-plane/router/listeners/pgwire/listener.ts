// The router's Postgres listener: accepts clients within bounds, leads them to their sessions, and ends them in an
// orderly way when the router stops.
import { randomBytes } from 'node:crypto'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { FleetError, type Clock, type Principal } from '@fleetshard/core'
import type { ScramKeys } from '@fleetshard/routing/pgwire'
import { addressOf, type Logger } from '../../../../runtime/mod.ts'
import { RateLimit, type Authenticator } from '../../../../security/mod.ts'
import { AttemptLimit, cancelBounds, loginBounds } from './attempt-limit.ts'
import { CancelKeys, type CancelKey, type Cancellable } from './cancel-keys.ts'
import { ClientConnection, type ClientReceiver } from './client-connection.ts'
import { Entrance } from './entrance.ts'
import { writeThrown } from './errors.ts'
import type { LoggedIn } from './login.ts'
import { OutputBuffers } from './output.ts'
import type { StartupClaim } from './startup-parameters.ts'
import { createEncryption, type WireTls } from './tls.ts'
import type { WireUsers } from './users.ts'

/** Bounds of the listener; the composition root takes them from the configuration. */
export interface WireLimits {
  readonly connectionsMax: number
  readonly connectionsPerAddressMax: number
  readonly loginTimeoutMs: number
  readonly messageBytesMax: number
  /** Failed logins of one address, beyond which it has to wait; 0 for no limit. */
  readonly failuresPerMinute: number
}

/** A client that has logged in. */
export interface EnteredClient {
  readonly connection: ClientConnection
  readonly claim: StartupClaim
  readonly user: string
  /** Null where nothing had to be proved. */
  readonly keys: ScramKeys | null
  /** Of a token that was sent as password; null for users of the databases. */
  readonly principal: Principal | null
  /** `127.0.0.1:50312`. */
  readonly address: string
  /** The same without the port. */
  readonly host: string
  readonly key: CancelKey
}

/** The session of a client as the listener sees it. */
export interface WireClientSession extends ClientReceiver, Cancellable {
  /** Greets the client and begins to serve it. */
  start(): void
  /** Ends the session as soon as it is outside a transaction; at once with `now`. */
  shutDown(error: FleetError, now: boolean): void
}

/** What the listener stands on. */
export interface WireListenerParts {
  readonly log: Logger
  readonly clock: Clock
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly limits: WireLimits
  readonly users: WireUsers
  readonly authenticator: Authenticator
  /** Null where there is no certificate. */
  readonly tls: WireTls | null
  readonly openSession: (client: EnteredClient) => WireClientSession
}

interface Client {
  readonly address: string
  readonly host: string
  readonly entrance: Entrance
  session: WireClientSession | null
}

/** Sockets that wait in the kernel to be accepted. */
const backlog = 4_096
/** Connections above the limit that are still told why they are not wanted; more are cut off. */
const refusedMax = 100
const keepAliveDelayMs = 60_000
const seedBytes = 32

/** Listens on one port. */
export class WireListener implements AsyncDisposable {
  readonly #parts: WireListenerParts
  readonly #server: Server
  readonly #clients = new Map<ClientConnection, Client>()
  readonly #byAddress = new Map<string, number>()
  readonly #buffers = new OutputBuffers()
  readonly #unknownSeed = randomBytes(seedBytes)
  readonly #cancelKeys = new CancelKeys(randomBytes)
  readonly #cancels: AttemptLimit
  readonly #failures: AttemptLimit
  readonly #failuresOfAddress: RateLimit
  readonly #encrypt: ReturnType<typeof createEncryption> | null
  #stopping: FleetError | null = null
  #whenEmpty: (() => void) | null = null

  constructor(parts: WireListenerParts) {
    this.#parts = parts
    this.#cancels = new AttemptLimit(parts.clock, cancelBounds)
    this.#failures = new AttemptLimit(parts.clock, loginBounds)
    this.#failuresOfAddress = failuresLimit(parts.clock, parts.limits.failuresPerMinute)
    this.#encrypt = parts.tls === null ? null : createEncryption(parts.tls)
    this.#server = createServer({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveDelayMs,
      pauseOnConnect: true,
    })
    this.#server.on('connection', (socket) => {
      this.#accept(socket)
    })
  }

  /** Where it listens. */
  get address(): { readonly host: string; readonly port: number } {
    const address = this.#server.address() as AddressInfo | null
    if (address === null) throw new FleetError('internal', 'the router does not listen yet')
    return { host: address.address, port: address.port }
  }

  /** What was wrong, and what was not looked at, since the start. */
  get attempts(): Readonly<Record<'cancel' | 'login', Pick<AttemptLimit, 'wrong' | 'ignored'>>> {
    return { cancel: this.#cancels, login: this.#failures }
  }

  /** Connections of clients, those that have not yet logged in among them. */
  get connections(): number {
    return this.#clients.size
  }

  /** Idempotent. @throws the error of listen, `EADDRINUSE` among them */
  async listen(): Promise<void> {
    if (this.#server.listening) return
    const { host, port } = this.#parts
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host, port, backlog }, () => {
        this.#server.off('error', reject)
        this.#server.on('error', (error) => {
          this.#parts.log.warn({ err: error }, 'the Postgres listener had an error')
        })
        resolve()
      })
    })
  }

  /** Takes nobody new and ends those outside a transaction; the others when theirs ends, or after that time. */
  async drain(withinMs: number): Promise<void> {
    const error = (this.#stopping ??= new FleetError(
      'shutting_down',
      'terminating connection due to administrator command',
      { hint: 'the router is stopping: connect again' },
    ))
    this.#server.close()
    for (const client of this.#clients.values()) this.#shutDown(client, error, false)
    if (this.#clients.size === 0) return
    const empty = Promise.withResolvers<undefined>()
    this.#whenEmpty = () => {
      empty.resolve(undefined)
    }
    const stop = this.#parts.clock.after(withinMs, () => {
      for (const client of this.#clients.values()) this.#shutDown(client, error, true)
    })
    const stopHard = this.#parts.clock.after(withinMs * 2 + 1_000, () => {
      for (const connection of this.#clients.keys()) connection.destroy()
    })
    await empty.promise
    stop()
    stopHard()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close()
    for (const connection of this.#clients.keys()) connection.destroy()
    await Promise.resolve()
  }

  #shutDown({ session, entrance }: Client, error: FleetError, now: boolean): void {
    if (session === null) entrance.shutDown(error)
    else session.shutDown(error, now)
  }

  #accept(accepted: Socket): void {
    const { limits, clock, users, authenticator } = this.#parts
    const host = accepted.remoteAddress
    if (host === undefined || this.#clients.size >= limits.connectionsMax + refusedMax) {
      accepted.destroy()
      return
    }
    const fromThere = (this.#byAddress.get(host) ?? 0) + 1
    this.#byAddress.set(host, fromThere)
    const refusal = this.#refusal(fromThere)
    const encrypt = this.#encrypt
    const connection = new ClientConnection({
      clock,
      accepted,
      buffers: this.#buffers,
      messageBytesMax: limits.messageBytesMax,
      directTls: encrypt === null ? null : (plain) => encrypt(plain, { direct: true }),
    })
    const { socket } = connection
    const entrance = new Entrance(
      {
        clock,
        login: {
          users,
          authenticator,
          unknownSeed: this.#unknownSeed,
          random: randomBytes,
          failures: this.#failures,
          failuresOfAddress: this.#failuresOfAddress,
        },
        address: addressOf({ socket }),
        cancelKeys: this.#cancelKeys,
        cancels: this.#cancels,
        host,
        encrypt,
        isTlsRequired: this.#parts.tls?.isRequired ?? false,
        loginTimeoutMs: limits.loginTimeoutMs,
        refusal: () => this.#stopping ?? refusal,
        entered: (entered) => {
          this.#enter(connection, entered)
        },
      },
      connection,
    )
    const address = `${host}:${String(socket.remotePort ?? 0)}`
    this.#clients.set(connection, { address, host, entrance, session: null })
    socket.once('close', () => {
      this.#forget(connection, host)
    })
    connection.receiveBy(entrance)
  }

  #refusal(fromThere: number): FleetError | null {
    const { connectionsMax, connectionsPerAddressMax } = this.#parts.limits
    if (this.#clients.size >= connectionsMax) {
      return new FleetError('overloaded', 'sorry, too many clients already', {
        hint: `router.wire-connections-max is ${String(connectionsMax)}`,
      })
    }
    if (fromThere <= connectionsPerAddressMax) return null
    return new FleetError('overloaded', 'too many connections from this address', {
      hint: `router.wire-connections-per-address is ${String(connectionsPerAddressMax)}`,
    })
  }

  #enter(
    connection: ClientConnection,
    { claim, who }: { readonly claim: StartupClaim; readonly who: LoggedIn },
  ): void {
    const client = this.#clients.get(connection)
    if (client === undefined) return
    const target: Cancellable = { cancel: () => client.session?.cancel() }
    const key = this.#cancelKeys.give(target, claim.protocol)
    connection.socket.once('close', () => {
      this.#cancelKeys.forget(key)
    })
    let session: WireClientSession
    try {
      session = this.#parts.openSession({
        connection,
        claim,
        ...who,
        address: client.address,
        host: client.host,
        key,
      })
    } catch (error) {
      writeThrown(connection.output.writer, error, 'FATAL')
      connection.end()
      return
    }
    client.session = session
    connection.loggedIn()
    connection.receiveBy(session)
    session.start()
    if (this.#stopping !== null) session.shutDown(this.#stopping, false)
  }

  #forget(connection: ClientConnection, host: string): void {
    if (!this.#clients.delete(connection)) return
    const left = (this.#byAddress.get(host) ?? 1) - 1
    if (left === 0) this.#byAddress.delete(host)
    else this.#byAddress.set(host, left)
    if (this.#clients.size === 0) this.#whenEmpty?.()
  }
}

const failuresLimit = (clock: Clock, perMinute: number): RateLimit =>
  new RateLimit({
    clock,
    perSecond: perMinute / 60,
    burst: perMinute,
    what: (host) => `failed logins from ${host}`,
    hint: `router.wire-failures-per-minute is ${String(perMinute)}: wait, then use the right password`,
  })
