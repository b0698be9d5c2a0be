// The consumer's end of a logical replication slot: START_REPLICATION over CopyBoth, decoded as it comes, held within
// a bound, acknowledged by standby status updates. What lies unread beyond the bound stays with the server.
// Protocol: PostgreSQL documentation, chapter 55, "Streaming Replication Protocol".
import { FleetError, formatLsn, type Clock, type Lsn } from '@fleetshard/core'
import {
  backendCode,
  decodeServerError,
  frontendCode,
  messageHeaderBytes,
  protocolViolation,
  wireLengthMax,
  WireWriter,
  writeQuery,
} from '@fleetshard/routing/pgwire'
import { connectServer, sqlError, type GroupSink, type ServerConnection } from '@fleetshard/routing/wire'
import type { NodeTarget } from '../../shard-engine.ts'
import { controlLogin } from '../session.ts'
import { PgOutputDecoder } from '../pgoutput/decode.ts'
import type { PgOutputMessage } from '../pgoutput/messages.ts'

/** Decoded messages held for the consumer, by the bytes they came in; above, the server waits. */
const heldBytesMax = 8 * 1024 * 1024
/** How often the server is told where the consumer is, also while nothing comes. */
const statusEveryMs = 2_000
const connectTimeoutMs = 10_000
/** Microseconds from 1970 to 2000. */
const postgresEpochUs = 946_684_800_000_000n

const walData = 0x77 // w
const keepalive = 0x6b // k
const walHeaderBytes = 1 + 8 + 8 + 8

/** What comes out of a slot. */
export type StreamEvent =
  | { readonly kind: 'message'; readonly message: PgOutputMessage }
  /** Everything before that position has been sent. */
  | { readonly kind: 'sent'; readonly upTo: Lsn }

/** How a slot is read. */
export interface StreamOptions {
  readonly slot: string
  readonly publication: string
  /** 0 for the slot's own position. */
  readonly from: Lsn
  /** 1, or up to 4 with streamed transactions. */
  readonly protocol?: 1 | 2 | 3 | 4
  /** Large transactions come in blocks before their commit. */
  readonly streaming?: boolean
  /** Prepared transactions come at their prepare. */
  readonly twoPhase?: boolean
}

/** An open stream. */
export interface ReplicationStream extends AsyncDisposable {
  /**
   * What has come, in order; waits for something.
   * @throws FleetError `shard_unavailable` when the connection is lost, `sql_error` of the server, the signal's reason
   */
  next(signal: AbortSignal): Promise<readonly StreamEvent[]>
  /** Everything before that position is durable at the consumer: the slot need not keep it. */
  acknowledge(lsn: Lsn): void
}

/** A connection for replication commands. @throws FleetError `shard_unavailable` */
export function connectReplication(
  target: NodeTarget,
  clock: Clock,
  signal: AbortSignal,
): Promise<ServerConnection> {
  return connectServer(
    {
      ...controlLogin(target),
      // Values are told in the form that every server reads back as the same value.
      startupSettings: {
        replication: 'database',
        DateStyle: 'ISO, MDY',
        IntervalStyle: 'postgres',
        extra_float_digits: '3',
        bytea_output: 'hex',
      },
      connectTimeoutMs,
      messageBytesMax: wireLengthMax,
    },
    clock,
    signal,
  )
}

/**
 * Opens the stream of a slot.
 * @throws FleetError `shard_unavailable`, `sql_error` (no such slot, in use, invalidated)
 */
export async function openStream(
  target: NodeTarget,
  clock: Clock,
  options: StreamOptions,
  signal: AbortSignal,
): Promise<ReplicationStream> {
  const connection = await connectReplication(target, clock, signal)
  const stream = new Stream(connection, clock)
  try {
    await stream.start(startCommand(options))
    return stream
  } catch (error) {
    await stream[Symbol.asyncDispose]()
    throw error
  }
}

function startCommand(options: StreamOptions): string {
  const { slot, publication, from, protocol = 1, streaming = false, twoPhase = false } = options
  const settings = [
    `proto_version '${String(protocol)}'`,
    `publication_names '"${publication.replaceAll('"', '""').replaceAll("'", "''")}"'`,
    `messages 'true'`,
    ...(streaming ? [`streaming '${protocol === 4 ? 'parallel' : 'on'}'`] : []),
    ...(twoPhase ? [`two_phase 'on'`] : []),
  ]
  const name = slot.replaceAll('"', '""')
  return `START_REPLICATION SLOT "${name}" LOGICAL ${formatLsn(from)} (${settings.join(', ')})`
}

class Stream implements ReplicationStream, GroupSink {
  readonly #connection: ServerConnection
  readonly #clock: Clock
  readonly #decoder = new PgOutputDecoder()
  readonly #started = Promise.withResolvers<undefined>()
  #events: StreamEvent[] = []
  #heldBytes = 0
  #wake: (() => void) | null = null
  #failure: FleetError | null = null
  /** What the server said before it ended the command; where it ended the connection, that tells more. */
  #refusal: FleetError | null = null
  #acknowledged = 0n as Lsn
  #stopTimer: () => void = () => undefined

  constructor(connection: ServerConnection, clock: Clock) {
    this.#connection = connection
    this.#clock = clock
  }

  async start(command: string): Promise<void> {
    this.#connection.submitWith((out) => {
      writeQuery(out, command)
    }, this)
    await this.#started.promise
    this.#scheduleStatus()
  }

  async next(signal: AbortSignal): Promise<readonly StreamEvent[]> {
    for (;;) {
      signal.throwIfAborted()
      const events = this.#events
      if (events.length > 0) {
        this.#events = []
        this.#heldBytes = 0
        if (this.#connection.paused) this.#connection.resume()
        return events
      }
      if (this.#failure !== null) throw this.#failure
      await this.#something(signal)
    }
  }

  acknowledge(lsn: Lsn): void {
    if (lsn > this.#acknowledged) this.#acknowledged = lsn
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopTimer()
    if (this.#failure === null && this.#acknowledged > 0n) this.#sendStatus()
    await this.#connection.drained()
    this.#connection.destroy(new FleetError('canceled', 'the stream was closed'))
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    if (type === backendCode.copyData) this.#take(buf, start + messageHeaderBytes, end)
    else if (type === backendCode.copyBothResponse) this.#started.resolve(undefined)
    else if (type === backendCode.errorResponse) this.#refusal = sqlError(decodeServerError(buf, start, end))
  }

  done(): void {
    this.#fail(this.#refusal ?? new FleetError('shard_unavailable', 'the server ended the stream'))
  }

  failed(error: FleetError): void {
    this.#fail(error)
  }

  #take(buf: Buffer, start: number, end: number): void {
    try {
      const type = buf[start]
      if (type === walData && end - start > walHeaderBytes) {
        const message = this.#decoder.decode(buf, start + walHeaderBytes, end)
        this.#push({ kind: 'message', message }, end - start)
      } else if (type === keepalive && end - start === 18) {
        this.#push({ kind: 'sent', upTo: buf.readBigUInt64BE(start + 1) as Lsn }, 0)
        if (buf[end - 1] === 1) this.#sendStatus()
      } else throw protocolViolation('a message of replication that is none')
    } catch (error) {
      // A sink must not throw.
      const cause = error instanceof FleetError ? error : protocolViolation('a change cannot be read')
      this.#fail(cause)
      this.#connection.destroy(cause)
    }
  }

  #push(event: StreamEvent, bytes: number): void {
    const last = this.#events.at(-1)
    if (event.kind === 'sent' && last?.kind === 'sent') this.#events.pop()
    this.#events.push(event)
    this.#heldBytes += bytes
    if (this.#heldBytes > heldBytesMax && !this.#connection.paused) this.#connection.pause()
    this.#wake?.()
  }

  #fail(error: FleetError): void {
    this.#failure ??= error
    this.#started.reject(error)
    // Nobody may be waiting for the start any more.
    this.#started.promise.catch(() => undefined)
    this.#wake?.()
  }

  #something(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const onAbort = (): void => {
        finish()
      }
      const finish = (): void => {
        this.#wake = null
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      this.#wake = finish
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  #scheduleStatus(): void {
    this.#stopTimer = this.#clock.after(statusEveryMs, () => {
      if (this.#failure !== null) return
      this.#sendStatus()
      this.#scheduleStatus()
    })
  }

  /** StandbyStatusUpdate: written, flushed and applied are one position here. */
  #sendStatus(): void {
    if (this.#connection.state !== 'open') return
    const out = new WireWriter()
    const at = out.begin(frontendCode.copyData)
    const body = Buffer.alloc(34)
    body[0] = 0x72 // r
    for (const offset of [1, 9, 17]) body.writeBigUInt64BE(this.#acknowledged, offset)
    body.writeBigInt64BE(BigInt(Math.round(this.#clock.now() * 1000)) - postgresEpochUs, 25)
    out.raw(body)
    out.end(at)
    this.#connection.append(out.bytes())
  }
}
