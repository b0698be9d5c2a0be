// A client of PostgreSQL that knows nothing but the protocol: it sends the bytes it is told, and hands back each
// message of the server as it came. Scripts, comparisons and the fuzzers' recordings stand on it.
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import {
  MessageSplitter,
  ScramClient,
  WireWriter,
  backendCode,
  decodeAuthentication,
  decodeBackendKeyData,
  md5Password,
  requestCode,
  writeCancelRequest,
  writePassword,
  writeSaslInitial,
  writeSaslResponse,
  writeStartup,
  type AuthenticationRequest,
} from '@fleetshard/routing/pgwire'

/** Where and as whom to log in. */
export interface Target {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
}

/** One message of a server. `letter` is its type, or `!` without bytes for the end of the connection. */
export interface Received {
  readonly letter: string
  /** The whole message from its type byte on. */
  readonly bytes: Buffer
}

/** Sees all bytes of a connection. */
export interface Tap {
  client(bytes: Buffer): void
  server(bytes: Buffer): void
}

/** How a connection is opened. */
export interface OpenOptions {
  /** Settings besides `user` and `database`. */
  readonly parameters?: Readonly<Record<string, string>>
  readonly protocol?: number
  readonly tap?: Tap
}

/** The end of a connection among what was received. */
export const connectionEnd = '!'
/** No answer of a test takes longer. */
const answerMsMax = 8_000

/** `postgres://user:password@host:port/database` in parts. */
export function targetOf(url: string): Target {
  const { hostname, port, username, password, pathname } = new URL(url)
  return {
    host: hostname,
    port: Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
  }
}

/** Bytes of messages written with the codec. */
export function written(write: (out: WireWriter) => void): Buffer {
  const out = new WireWriter()
  write(out)
  return Buffer.from(out.bytes())
}

/** A connection, logged in or not. */
export class RawConnection implements AsyncDisposable {
  readonly #socket: Socket
  readonly #tap: Tap | undefined
  readonly #splitter: MessageSplitter
  #arrived: Received[] = []
  #isEnded = false
  #wake: () => void = () => undefined
  #key: { readonly processId: number; readonly secretKey: Uint8Array } | null = null

  private constructor(socket: Socket, tap: Tap | undefined) {
    this.#socket = socket
    this.#tap = tap
    this.#splitter = new MessageSplitter({
      message: (type, buf, start, end) => {
        this.#take(String.fromCharCode(type), Buffer.from(buf.subarray(start, end)))
      },
      acceptsPieces: () => false,
      piece: () => undefined,
    })
    socket.setNoDelay(true)
    socket.on('data', (chunk) => {
      tap?.server(Buffer.from(chunk))
      this.#splitter.feed(chunk)
    })
    socket.on('error', () => undefined)
    socket.on('close', () => {
      this.#take(connectionEnd, Buffer.alloc(0))
    })
  }

  /** Connects, and says nothing yet. */
  static dial({ host, port }: Pick<Target, 'host' | 'port'>, tap?: Tap): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, host)
      socket.once('error', reject)
      socket.once('connect', () => {
        resolve(new RawConnection(socket, tap))
      })
    })
  }

  /** Connects and logs in; also returns all that the server said until its first ReadyForQuery, or until its end. */
  static async open(
    target: Target,
    options: OpenOptions = {},
  ): Promise<{ connection: RawConnection; greeting: readonly Received[] }> {
    const connection = await RawConnection.dial(target, options.tap)
    const { parameters, protocol } = options
    connection.send(
      written((out) => {
        writeStartup(
          out,
          { user: target.user, database: target.database, ...parameters },
          protocol ?? requestCode.protocol30,
        )
      }),
    )
    return { connection, greeting: await connection.#logIn(target) }
  }

  /** What the server gave to cancel with. */
  get cancelKey(): { readonly processId: number; readonly secretKey: Uint8Array } {
    if (this.#key === null) throw new Error('the server gave no cancel key')
    return this.#key
  }

  send(bytes: Buffer): void {
    this.#tap?.client(bytes)
    this.#socket.write(bytes)
  }

  /** Closes our half. */
  end(): void {
    this.#socket.end()
  }

  /** Goes away without a word. */
  reset(): void {
    this.#socket.resetAndDestroy()
  }

  /** What comes until `enough` is true of it, the connection ends or has ended, or time is up; the rest is kept for later. */
  async read(
    enough: (received: readonly Received[]) => boolean,
    withinMs = answerMsMax,
  ): Promise<readonly Received[]> {
    const taken: Received[] = []
    const deadline = performance.now() + withinMs
    while (!enough(taken) && taken.at(-1)?.letter !== connectionEnd) {
      const next = this.#arrived.shift()
      if (next !== undefined) taken.push(next)
      else if (this.#isEnded) break
      else if (!(await this.#more(deadline - performance.now()))) break
    }
    return taken
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.destroyed) return
    const closed = new Promise((resolve) => this.#socket.once('close', resolve))
    this.#socket.destroy()
    await closed
  }

  #take(letter: string, bytes: Buffer): void {
    this.#arrived.push({ letter, bytes })
    if (letter === connectionEnd) this.#isEnded = true
    this.#wake()
  }

  #more(waitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const late = setTimeout(
        () => {
          resolve(false)
        },
        Math.max(0, waitMs),
      )
      this.#wake = () => {
        clearTimeout(late)
        this.#wake = () => undefined
        resolve(true)
      }
    })
  }

  async #logIn(target: Target): Promise<readonly Received[]> {
    const greeting: Received[] = []
    let scram: ScramClient | null = null
    for (;;) {
      const [message] = await this.read((received) => received.length > 0)
      if (message === undefined) throw new Error('the server is silent at login')
      greeting.push(message)
      const { letter, bytes } = message
      if (letter === 'Z' || letter === connectionEnd) return greeting
      if (letter === 'K') this.#key = decodeBackendKeyData(bytes, 0, bytes.length)
      if (bytes[0] !== backendCode.authentication) continue
      const request = decodeAuthentication(bytes, 0, bytes.length)
      if (request.kind === 'sasl') {
        scram = new ScramClient({
          password: target.password,
          nonce: randomBytes(18).toString('base64'),
          channelBinding: null,
        })
      }
      const reply = await authenticationReply(request, target, scram)
      if (reply !== null) this.send(reply)
    }
  }
}

async function authenticationReply(
  request: AuthenticationRequest,
  { user, password }: Target,
  scram: ScramClient | null,
): Promise<Buffer | null> {
  switch (request.kind) {
    case 'cleartext':
      return written((out) => {
        writePassword(out, password)
      })
    case 'md5':
      return written((out) => {
        writePassword(out, md5Password(user, password, request.salt))
      })
    case 'sasl': {
      if (scram === null) return null
      return written((out) => {
        writeSaslInitial(out, scram.mechanism, scram.first())
      })
    }
    case 'sasl-continue': {
      const answer = (await scram?.answer(request.text)) ?? ''
      return written((out) => {
        writeSaslResponse(out, answer)
      })
    }
    case 'sasl-final':
      if (scram?.verify(request.text) !== true) throw new Error('the server does not know the password')
      return null
    case 'ok':
      return null
    case 'unsupported':
      throw new Error(`the server asks for authentication ${String(request.code)}`)
  }
}

/** Sends a CancelRequest on a connection of its own and waits until the server has closed it. */
export async function cancel(target: Target, of: RawConnection): Promise<void> {
  await using connection = await RawConnection.dial(target)
  connection.send(
    written((out) => {
      writeCancelRequest(out, of.cancelKey.processId, of.cancelKey.secretKey)
    }),
  )
  await connection.read(() => false)
}
