// The fuzz of the codec: mutated sessions go through the splitter in chunks of any size and through the decoders of
// both roles. Nothing but `protocol_violation` may be thrown, no byte may be lost or delivered twice, whatever the
// chunks, and no more may be held than was allowed.
import { FleetError } from '@fleetshard/core'
import {
  DataRowReader,
  MessageSplitter,
  decodeAuthentication,
  decodeBackendKeyData,
  decodeCommandTag,
  decodeCopyResponse,
  decodeFrontend,
  decodeNegotiateVersion,
  decodeNotification,
  decodeParameterDescription,
  decodeParameterStatus,
  decodeReadyForQuery,
  decodeRowCount,
  decodeRowDescription,
  decodeServerError,
  decodeSqlstate,
  decodeStartupRequest,
  errorField,
  isFatalError,
  pieceThresholdBytes,
} from '@fleetshard/routing/pgwire'
import type { Session } from './corpus.ts'
import { chunks, mutate } from './mutate.ts'
import { Random } from './random.ts'

/** What a run found. */
export interface PgwireCounts {
  readonly streams: number
  readonly messages: number
  /** Messages that a splitter delivered, and those that a decoder took. */
  delivered: number
  decoded: number
  /** Refusals with `protocol_violation`. */
  violations: number
}

/** A stream that was not handled as it must be; the seed and the number of the stream bring it back. */
export class FuzzFailure extends Error {
  constructor(what: string, stream: number, options?: ErrorOptions) {
    super(`stream ${String(stream)}: ${what}`, options)
    this.name = 'FuzzFailure'
  }
}

type Decode = (buf: Buffer, start: number, end: number) => unknown

const rows = new DataRowReader()
const decoders: Readonly<Record<string, Decode>> = {
  R: decodeAuthentication,
  K: decodeBackendKeyData,
  C: decodeCommandTag,
  G: decodeCopyResponse,
  H: decodeCopyResponse,
  W: decodeCopyResponse,
  v: decodeNegotiateVersion,
  A: decodeNotification,
  t: decodeParameterDescription,
  S: decodeParameterStatus,
  Z: decodeReadyForQuery,
  T: decodeRowDescription,
  E: decodeServerError,
  N: decodeServerError,
  D: walkRow,
}
/** These look at one thing and never refuse. */
const glances: readonly Decode[] = [
  decodeSqlstate,
  decodeRowCount,
  isFatalError,
  (buf, start, end) => errorField(0x4d, buf, start, end),
]

function walkRow(buf: Buffer, start: number, end: number): void {
  rows.open(buf, start, end)
  while (rows.next()) {
    rows.text()
    if (rows.valueEnd > end) throw new Error('a value reaches beyond its row')
  }
}

/** What one way of feeding a stream led to. */
interface Outcome {
  /** All bytes delivered, in order. */
  readonly bytes: Buffer
  readonly types: string
  readonly violation: boolean
}

/** The fuzz of one seed. */
export class PgwireFuzz {
  readonly counts: PgwireCounts & { streams: number; messages: number } = {
    streams: 0,
    messages: 0,
    delivered: 0,
    decoded: 0,
    violations: 0,
  }
  readonly #random: Random
  readonly #sessions: readonly Session[]
  readonly #others: readonly Buffer[]

  constructor(sessions: readonly Session[], seed: number) {
    this.#random = new Random(seed)
    this.#sessions = sessions
    this.#others = sessions.flatMap(({ fromClient, fromServer }) => [...fromClient, ...fromServer])
  }

  /** Makes one stream and feeds it. @throws FuzzFailure */
  next(): void {
    const random = this.#random
    const session = random.pick(this.#sessions)
    const client = random.chance(0.5)
    const messages = mutate(client ? session.fromClient : session.fromServer, random, this.#others)
    const stream = Buffer.concat(messages)
    this.counts.streams += 1
    this.counts.messages += messages.length
    const role = client ? 'client' : 'server'
    const startup = client && (session.login || random.chance(0.1))
    const bytesMax = random.pick([64, 1024, 64 * 1024, 1024 * 1024])
    const whole = this.#feed([stream], { role, startup, bytesMax, pieces: false })
    const parts = this.#feed(chunks(stream, random), { role, startup, bytesMax, pieces: random.chance(0.5) })
    this.#compare(stream, whole, parts)
  }

  #compare(stream: Buffer, whole: Outcome, parts: Outcome): void {
    for (const { bytes } of [whole, parts]) {
      if (!stream.subarray(0, bytes.length).equals(bytes)) this.#fail('bytes were changed, lost or doubled')
    }
    // The limit is for messages that must be collected, so that chunks may be refused where the whole was not.
    const [shorter, longer] = [parts.types, whole.types]
    if (!longer.startsWith(shorter) && !shorter.startsWith(longer))
      this.#fail('the chunks made other messages')
    if (whole.violation && !parts.violation && parts.types.length < whole.types.length)
      this.#fail('the chunks hid a violation')
  }

  #fail(what: string, cause?: unknown): never {
    throw new FuzzFailure(what, this.counts.streams, { cause })
  }

  #feed(
    parts: readonly Buffer[],
    how: { role: 'client' | 'server'; startup: boolean; bytesMax: number; pieces: boolean },
  ): Outcome {
    const delivered: Buffer[] = []
    let types = ''
    const splitter = new MessageSplitter(
      {
        message: (type, buf, start, end) => {
          delivered.push(Buffer.from(buf.subarray(start, end)))
          types += String.fromCharCode(type)
          this.#decode(how.role, type, { buf, start, end, splitter })
        },
        acceptsPieces: () => how.pieces,
        piece: (buf, start, end, bytesLeft) => {
          delivered.push(Buffer.from(buf.subarray(start, end)))
          if (bytesLeft < 0) this.#fail('a piece is longer than its message')
        },
      },
      { startup: how.startup, messageBytesMax: how.bytesMax },
    )
    let violation = false
    try {
      for (const part of parts) {
        const chunk = Buffer.from(part)
        splitter.feed(chunk)
        chunk.fill(0xaa)
        const heldMax = Math.max(how.bytesMax, pieceThresholdBytes)
        if (splitter.heldBytes > heldMax) this.#fail(`${String(splitter.heldBytes)} bytes are held`)
      }
    } catch (error) {
      if (!isViolation(error)) this.#fail('the splitter threw', error)
      violation = true
      this.counts.violations += 1
    }
    return { bytes: Buffer.concat(delivered), types, violation }
  }

  #decode(
    role: 'client' | 'server',
    type: number,
    { buf, start, end, splitter }: { buf: Buffer; start: number; end: number; splitter: MessageSplitter },
  ): void {
    this.counts.delivered += 1
    if (type === 0) {
      const request = this.#try(() => decodeStartupRequest(buf, start, end))
      if (request?.kind === 'startup') splitter.startupDone()
      return
    }
    if (role === 'client') this.#try(() => decodeFrontend(type, buf, start, end))
    else this.#try(() => decoders[String.fromCharCode(type)]?.(buf, start, end))
    for (const glance of glances) {
      try {
        glance(buf, start, end)
      } catch (error) {
        this.#fail('a glance threw', error)
      }
    }
  }

  /** A decoder may refuse; the stream goes on for the sake of the splitter. */
  #try<T>(decode: () => T): T | null {
    try {
      const value = decode()
      this.counts.decoded += 1
      return value
    } catch (error) {
      if (!isViolation(error)) this.#fail('a decoder threw', error)
      this.counts.violations += 1
      return null
    }
  }
}

function isViolation(error: unknown): boolean {
  return error instanceof FleetError && error.code === 'protocol_violation'
}
