// A pipelined connection to one Postgres server: groups go out together, once a turn of the event loop, and every
// answer is handed to its group as raw messages. Pools, lanes and the catalog's helpers call it; it decodes only what
// it must know itself (ReadyForQuery, ParameterStatus, fatal errors).
import { FleetError, isFleetError, toFleetError, type Clock } from '@fleetshard/core'
import {
  backendCode,
  decodeNotification,
  decodeParameterStatus,
  decodeReadyForQuery,
  decodeServerError,
  isBackendCode,
  isFatalError,
  isUnconfirmedCommit,
  MessageSplitter,
  protocolViolation,
  WireWriter,
  writeCancelRequest,
  writeTerminate,
  type MessageReceiver,
} from '../pgwire/mod.ts'
import { deadlineSignal } from './deadline.ts'
import { connectError, formatAddress, lostError, PgServerError } from './errors.ts'
import { GroupQueue } from './group-queue.ts'
import { login, LoginInbox, type LoginResult } from './login.ts'
import { openTransport, type Transport } from './transport.ts'
import type { GroupSink, ServerConnection, ServerConnectOptions, TransactionStatus } from './types.ts'

/** Groups in flight when nobody says otherwise. */
export const inFlightMaxDefault = 4096
/** Outgoing bytes when nobody says otherwise. */
export const outgoingBytesMaxDefault = 64 * 1024 * 1024
/** Above this `append` asks its caller to wait. */
const outgoingHighBytes = 1024 * 1024
/** A larger outgoing buffer is given back after its bytes are written. */
const keptBufferBytes = 256 * 1024
/** How long a server may take to close after Terminate. */
const terminateTimeoutMs = 5_000

const statuses = { I: 'idle', T: 'transaction', E: 'failed' } as const
const noBytes = Buffer.alloc(0)

/**
 * Connects and logs in. An abort or a timeout closes the socket and leaves nothing behind.
 * @throws FleetError `shard_unavailable` with the reason and a hint; the signal's reason after an abort
 */
export async function connectServer(
  options: ServerConnectOptions,
  clock: Clock,
  signal: AbortSignal,
): Promise<ServerConnection> {
  using deadline = deadlineSignal(clock, options.connectTimeoutMs, () => connectTimeout(options), signal)
  const connection = new Connection(options, clock)
  try {
    await connection.open(deadline.signal)
    return connection
  } catch (error) {
    connection.destroy(toFleetError(error))
    deadline.signal.throwIfAborted()
    if (!isFleetError(error, 'protocol_violation')) throw error
    throw connectError(options, { reason: error.message, hint: 'check host and port', cause: error })
  }
}

function connectTimeout(options: ServerConnectOptions): FleetError {
  return connectError(options, {
    reason: `timed out after ${String(options.connectTimeoutMs)} ms`,
    hint: 'check the address and whether the server is overloaded or stopped',
  })
}

class Connection implements ServerConnection, MessageReceiver {
  readonly #options: ServerConnectOptions
  readonly #clock: Clock
  readonly #splitter: MessageSplitter
  readonly #closed = Promise.withResolvers<FleetError | null>()
  readonly #groups = new GroupQueue()
  readonly #out = new WireWriter()
  readonly #inFlightMax: number
  readonly #outgoingBytesMax: number
  /** Set until the first ReadyForQuery. */
  #inbox: LoginInbox | null = new LoginInbox()
  #transport: Transport | null = null
  #login: LoginResult = { processId: 0, secretKey: noBytes, parameters: new Map(), status: 'I' }
  #status: TransactionStatus = 'idle'
  #state: 'open' | 'closing' | 'closed' = 'open'
  #headSinceMs: number | null = null
  #receivedMs = 0
  #headTookMs = 0
  #paused = false
  #flushScheduled = false
  /** Groups at the tail whose bytes lie in `#out`. */
  #unflushed = 0
  /** Set by a fatal error: the groups behind the head will never be begun. */
  #nothingBehindHead = false
  #cancelTerminateTimer: (() => void) | null = null

  constructor(options: ServerConnectOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    this.#inFlightMax = options.inFlightMax ?? inFlightMaxDefault
    this.#outgoingBytesMax = options.outgoingBytesMax ?? outgoingBytesMaxDefault
    this.#splitter = new MessageSplitter(
      this,
      options.messageBytesMax === undefined ? {} : { messageBytesMax: options.messageBytesMax },
    )
  }

  get processId(): number {
    return this.#login.processId
  }
  get secretKey(): Uint8Array {
    return this.#login.secretKey
  }
  get parameters(): ReadonlyMap<string, string> {
    return this.#login.parameters
  }
  get transactionStatus(): TransactionStatus {
    return this.#status
  }
  get state(): 'open' | 'closing' | 'closed' {
    return this.#state
  }
  get inFlight(): number {
    return this.#groups.length
  }
  get headSinceMs(): number | null {
    return this.#headSinceMs
  }
  get receivedMs(): number {
    return this.#receivedMs
  }
  get headTookMs(): number {
    return this.#headTookMs
  }
  get paused(): boolean {
    return this.#paused
  }
  get incomingBytes(): number {
    return this.#splitter.heldBytes
  }
  get outgoingBytes(): number {
    return this.#out.length + (this.#transport?.socket.writableLength ?? 0)
  }
  get closed(): Promise<FleetError | null> {
    return this.#closed.promise
  }

  async open(signal: AbortSignal): Promise<void> {
    const transport = await openTransport(this.#options, (buf, length) => this.#receive(buf, length), signal)
    this.#transport = transport
    const inbox = this.#inbox as LoginInbox
    const onAbort = (): void => {
      inbox.fail(signal.reason as Error)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    transport.socket.once('close', () => this.#onSocketClose())
    transport.socket.once('error', (error) => {
      this.#lose(lostError(this.#options, error.message, error))
    })
    try {
      this.#login = await login(transport, inbox, this.#options)
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
    this.#status = statuses[this.#login.status]
    this.#inbox = null
    for (const { type, bytes } of inbox.rest()) this.message(type, bytes, 0, bytes.length)
  }

  submit(bytes: Uint8Array, sink: GroupSink): void {
    if (!this.#mayTake(sink, bytes.length)) return
    this.#out.raw(bytes)
    this.#take(sink)
    this.#scheduleFlush()
  }

  submitWith(encode: (out: WireWriter) => void, sink: GroupSink): void {
    if (this.#encode(encode, sink)) this.#scheduleFlush()
  }

  submitNow(encode: (out: WireWriter) => void, sink: GroupSink): void {
    if (this.#encode(encode, sink)) this.#flush()
  }

  /** False on a connection that is gone. */
  #encode(encode: (out: WireWriter) => void, sink: GroupSink): boolean {
    if (!this.#mayTake(sink, 0)) return false
    const before = this.#out.length
    try {
      encode(this.#out)
    } catch (error) {
      this.#out.truncate(before)
      throw error
    }
    this.#take(sink)
    return true
  }

  append(bytes: Uint8Array): boolean {
    if (this.#state === 'closed') return true
    if (this.#groups.length === 0)
      throw new FleetError('internal', 'the group to append to is already answered')
    this.#checkOutgoing(bytes.length)
    this.#out.raw(bytes)
    this.#scheduleFlush()
    return this.outgoingBytes < outgoingHighBytes
  }

  async drained(): Promise<void> {
    this.#flush()
    const socket = this.#transport?.socket
    if (this.#state === 'closed' || socket === undefined || socket.writableLength === 0) return
    await new Promise<void>((resolve) => {
      socket.write(noBytes, () => {
        resolve()
      })
    })
  }

  pause(): void {
    this.#paused = true
    this.#transport?.socket.pause()
  }

  resume(): void {
    this.#paused = false
    this.#transport?.socket.resume()
  }

  async cancel(options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<void> {
    using deadline = deadlineSignal(this.#clock, options.timeoutMs, cancelTimeout, options.signal)
    const { processId, secretKey } = this
    const { socket } = await openTransport(this.#options, ignoreBytes, deadline.signal)
    const gone = Promise.withResolvers<void>()
    const onAbort = (): void => {
      gone.reject(deadline.signal.reason as Error)
    }
    deadline.signal.addEventListener('abort', onAbort, { once: true })
    try {
      socket.once('close', () => {
        gone.resolve()
      })
      const out = new WireWriter()
      writeCancelRequest(out, processId, secretKey)
      // The server signals the backend, then closes: its close tells that the request was taken.
      socket.write(out.bytes())
      socket.resume()
      await gone.promise
    } finally {
      deadline.signal.removeEventListener('abort', onAbort)
      socket.destroy()
    }
  }

  async close(): Promise<void> {
    if (this.#state === 'open') {
      this.#state = 'closing'
      if (this.#groups.length === 0) this.#terminate()
    }
    await this.#closed.promise
  }

  destroy(reason: FleetError): void {
    this.#lose(reason)
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    if (this.#inbox !== null) {
      this.#inbox.push(type, buf, start, end)
      return
    }
    const head = this.#groups.head
    switch (type) {
      case backendCode.dataRow:
        break
      case backendCode.readyForQuery:
        this.#finishHead(buf, start, end)
        return
      case backendCode.parameterStatus:
        this.#onParameter(buf, start, end)
        break
      case backendCode.notificationResponse:
        this.#options.onNotification?.(decodeNotification(buf, start, end))
        return
      case backendCode.errorResponse:
        if (isFatalError(buf, start, end)) {
          this.#onFatal(buf, start, end)
          return
        }
        break
      case backendCode.noticeResponse:
        if (!isUnconfirmedCommit(buf, start, end)) break
        // To whoever asked it is as if the answer had been lost: it may survive this server, or not.
        this.#lose(lostError(this.#options, 'its commit was not confirmed by a replica'))
        return
      default:
        if (head === undefined || !isAnswer(type))
          throw protocolViolation(`unexpected message ${String(type)}`)
    }
    if (head !== undefined) head.message(type, buf, start, end)
    else if (type === backendCode.dataRow) throw protocolViolation('a row that nobody asked for')
  }

  acceptsPieces(type: number): boolean {
    if (type !== backendCode.dataRow && type !== backendCode.copyData) return false
    return this.#inbox === null && this.#groups.head?.piece !== undefined
  }

  piece(buf: Buffer, start: number, end: number, bytesLeft: number): void {
    this.#groups.head?.piece?.(buf, start, end, bytesLeft)
  }

  #receive(buf: Buffer, length: number): void {
    if (this.#state === 'closed') return
    this.#receivedMs = this.#clock.monotonic()
    try {
      this.#splitter.feed(buf, 0, length)
    } catch (error) {
      this.#onBrokenStream(error)
    }
  }

  #onBrokenStream(error: unknown): void {
    if (this.#inbox !== null) this.#inbox.fail(toFleetError(error))
    else if (isFleetError(error, 'protocol_violation')) {
      this.#lose(lostError(this.#options, `the server broke the protocol: ${error.message}`, error))
    } else {
      this.#lose(new FleetError('internal', 'the receiver of an answer failed', { cause: error }))
    }
  }

  #finishHead(buf: Buffer, start: number, end: number): void {
    this.#status = statuses[decodeReadyForQuery(buf, start, end)]
    const head = this.#groups.head
    if (head === undefined || this.#groups.length === this.#unflushed) {
      throw protocolViolation('ReadyForQuery without a question')
    }
    head.message(backendCode.readyForQuery, buf, start, end)
    // The sink may have destroyed the connection; it had its last call then.
    if (this.#state === 'closed') return
    this.#groups.shift()
    this.#headTookMs = this.#receivedMs - (this.#headSinceMs ?? this.#receivedMs)
    this.#headSinceMs = this.#groups.length === this.#unflushed ? null : this.#receivedMs
    head.done(this.#status)
    if (this.#state === 'closing' && this.#groups.length === 0) this.#terminate()
  }

  #onParameter(buf: Buffer, start: number, end: number): void {
    const { name, value } = decodeParameterStatus(buf, start, end)
    this.#login.parameters.set(name, value)
  }

  /** The server ends the connection after an error of severity FATAL, and runs nothing that stands behind it. */
  #onFatal(buf: Buffer, start: number, end: number): void {
    const said = new PgServerError(decodeServerError(buf, start, end))
    this.#nothingBehindHead = true
    this.#groups.head?.message(backendCode.errorResponse, buf, start, end)
    this.#lose(lostError(this.#options, said.message, said))
  }

  /** Whether a group may go out; on a connection that is gone its sink is told, but not before `submit` returns. */
  #mayTake(sink: GroupSink, bytes: number): boolean {
    if (this.#state !== 'open') {
      queueMicrotask(() => {
        sink.failed(lostError(this.#options, 'it is closed'), false)
      })
      return false
    }
    if (this.#groups.length >= this.#inFlightMax) {
      throw new FleetError(
        'overloaded',
        `${String(this.#inFlightMax)} groups are in flight on one connection`,
      )
    }
    this.#checkOutgoing(bytes)
    return true
  }

  #checkOutgoing(bytes: number): void {
    if (this.outgoingBytes + bytes <= this.#outgoingBytesMax) return
    throw new FleetError(
      'overloaded',
      `${formatAddress(this.#options)} takes no more bytes for the time being`,
    )
  }

  #take(sink: GroupSink): void {
    this.#groups.push(sink)
    this.#unflushed += 1
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    // After the poll phase: what many client sockets brought in one turn goes out in one write.
    setImmediate(() => {
      this.#flushScheduled = false
      this.#flush()
    })
  }

  #flush(): void {
    if (this.#headSinceMs === null && this.#groups.length > 0) this.#headSinceMs = this.#clock.monotonic()
    this.#unflushed = 0
    const socket = this.#transport?.socket
    if (this.#state === 'closed' || socket === undefined || this.#out.length === 0) return
    socket.write(this.#out.bytes())
    // Once the kernel has all bytes their memory is free; otherwise the socket still needs it.
    if (socket.writableLength === 0 && this.#out.roomBytes <= keptBufferBytes) this.#out.reset()
    else this.#out.detach()
  }

  #terminate(): void {
    writeTerminate(this.#out)
    this.#flush()
    const socket = this.#transport?.socket
    socket?.end()
    // The end of the stream is seen only by a socket that reads.
    socket?.resume()
    this.#cancelTerminateTimer = this.#clock.after(terminateTimeoutMs, () => socket?.destroy())
  }

  #onSocketClose(): void {
    if (this.#state === 'closing' && this.#groups.length === 0) this.#lose(null)
    else this.#lose(lostError(this.#options, 'the server closed it'))
  }

  /** The end, whatever led to it; the first reason counts. */
  #lose(reason: FleetError | null): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#headSinceMs = null
    this.#cancelTerminateTimer?.()
    this.#splitter.stop()
    this.#transport?.socket.destroy()
    this.#inbox?.fail(reason ?? lostError(this.#options, 'it is closed'))
    this.#closed.resolve(reason)
    this.#failGroups(reason ?? lostError(this.#options, 'it is closed'))
  }

  #failGroups(reason: FleetError): void {
    let sent = this.#groups.length - this.#unflushed
    if (this.#nothingBehindHead) sent = Math.min(sent, 1)
    const defects: unknown[] = []
    for (let sink = this.#groups.shift(); sink !== undefined; sink = this.#groups.shift()) {
      try {
        sink.failed(reason, sent > 0)
      } catch (error) {
        defects.push(error)
      }
      sent -= 1
    }
    // All groups are told before a defect of one of them comes to light.
    if (defects.length > 0) throw defects[0]
  }
}

/** False for what no server says after the login: the stream is out of step then. */
function isAnswer(type: number): boolean {
  return (
    isBackendCode(type) &&
    type !== backendCode.authentication &&
    type !== backendCode.negotiateProtocolVersion
  )
}

function cancelTimeout(): FleetError {
  return new FleetError('deadline_exceeded', 'the server did not take the request to cancel in time')
}

function ignoreBytes(): void {
  // A server answers a CancelRequest by closing.
}
