// Copies a unit: COPY BINARY out of the source, each row looked at where it lies, its bytes handed on to the COPY of
// the target that owns it. Rows are never decoded but for their shard key, and no more of them is held than a buffer
// for each target. Format: PostgreSQL documentation, "COPY", "Binary Format".
import { toFleetError, type FleetError } from '@fleetshard/core'
import {
  backendCode,
  decodeServerError,
  frontendCode,
  messageHeaderBytes,
  protocolViolation,
  WireWriter,
  writeCopyDone,
  writeCopyFail,
  writeQuery,
} from '@fleetshard/routing/pgwire'
import { sqlError, type GroupSink, type ServerConnection } from '@fleetshard/routing/wire'
import type { JobConnection } from './connection.ts'
import type { PlacedBy, PlaceOf } from '../../reshard-engine.ts'
import { keyOfBinary } from './binary-key.ts'

/** What every binary COPY begins with: signature, no flags, no extension. */
const copyHeader = Buffer.concat([
  Buffer.from('PGCOPY\n'),
  Buffer.from([0xff]),
  Buffer.from('\r\n\0'),
  Buffer.alloc(8),
])
const copyTrailer = Buffer.from([0xff, 0xff])
/** Rows are handed on in messages of about this size. */
const chunkBytes = 128 * 1024

/** Where the shard key of a row lies, and who owns it; null when every target gets every row. */
export interface RowPlacement {
  readonly column: number
  readonly type: PlacedBy
  readonly place: PlaceOf
}

/** Rows and bytes that a copy has moved. */
export interface CopyCount {
  readonly rows: number
  readonly bytes: number
}

/**
 * Runs `copyOut` on the source and `copyIn` on every target, all in transactions of the caller's. After a failure no
 * connection of them is good for anything else than to be closed.
 * @throws FleetError of whichever server failed first
 */
export async function copyRows(
  source: JobConnection,
  targets: readonly JobConnection[],
  statements: { readonly copyOut: string; readonly copyIn: string },
  placement: RowPlacement | null,
): Promise<CopyCount> {
  const receivers = targets.map((connection) => new Receiver(connection, statements.copyIn))
  const sender = new Sender(source.wire, receivers, placement)
  for (const receiver of receivers) {
    receiver.ended.catch((error: unknown) => {
      sender.giveUp(toFleetError(error))
    })
  }
  try {
    await sender.run(statements.copyOut)
  } catch (error) {
    for (const receiver of receivers) receiver.giveUp()
    await Promise.allSettled(receivers.map(({ ended }) => ended))
    throw error
  }
  for (const receiver of receivers) receiver.finish()
  await Promise.all(receivers.map(({ ended }) => ended))
  return sender.count
}

/** The COPY of one target. */
class Receiver implements GroupSink {
  readonly #connection: ServerConnection
  readonly #told: JobConnection['told']
  readonly #outcome = Promise.withResolvers<undefined>()
  #chunk = Buffer.allocUnsafe(chunkBytes)
  #at = messageHeaderBytes
  #isOver = false
  #error: FleetError | null = null

  constructor(connection: JobConnection, statement: string) {
    this.#connection = connection.wire
    this.#told = (error) => connection.told(error)
    this.#connection.submitWith((out) => {
      writeQuery(out, statement)
    }, this)
    this.#at += copyHeader.copy(this.#chunk, this.#at)
  }

  /** Resolves when the target has taken all rows, rejects when it failed. */
  get ended(): Promise<undefined> {
    return this.#outcome.promise
  }

  /** Takes a row; false when the target lags and `drained` should be waited for. */
  row(buf: Buffer, start: number, end: number): boolean {
    if (this.#isOver) return true
    let isKeepingUp = true
    if (this.#at + end - start > this.#chunk.length) {
      isKeepingUp = this.#flush()
      // A row that is larger than a chunk makes one of its own.
      const bytes = end - start + messageHeaderBytes
      if (bytes > this.#chunk.length) this.#chunk = Buffer.allocUnsafe(bytes)
    }
    this.#at += buf.copy(this.#chunk, this.#at, start, end)
    return isKeepingUp
  }

  drained(): Promise<void> {
    return this.#connection.drained()
  }

  finish(): void {
    this.row(copyTrailer, 0, copyTrailer.length)
    this.#flush()
    if (!this.#isOver) this.#send(writeCopyDone)
  }

  giveUp(): void {
    if (this.#isOver) return
    this.#send((out) => {
      writeCopyFail(out, 'the copy was given up')
    })
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    if (type !== backendCode.errorResponse) return
    // The server drops what still comes of the copy, and needs no end of it.
    this.#isOver = true
    this.#error ??= this.#told(sqlError(decodeServerError(buf, start, end)))
  }

  done(): void {
    this.#isOver = true
    if (this.#error === null) this.#outcome.resolve(undefined)
    else this.#outcome.reject(this.#error)
  }

  failed(error: FleetError): void {
    this.#isOver = true
    this.#outcome.reject(error)
  }

  #flush(): boolean {
    if (this.#isOver || this.#at === messageHeaderBytes) return true
    this.#chunk[0] = frontendCode.copyData
    this.#chunk.writeInt32BE(this.#at - 1, 1)
    const isKeepingUp = this.#connection.append(this.#chunk.subarray(0, this.#at))
    this.#at = messageHeaderBytes
    return isKeepingUp
  }

  #send(write: (out: WireWriter) => void): void {
    const out = new WireWriter()
    write(out)
    this.#connection.append(out.bytes())
  }
}

/** The COPY of the source. */
class Sender implements GroupSink {
  readonly #connection: ServerConnection
  readonly #receivers: readonly Receiver[]
  readonly #placement: RowPlacement | null
  readonly #outcome = Promise.withResolvers<undefined>()
  #isBegun = false
  #rows = 0
  #bytes = 0
  #error: FleetError | null = null
  #lagging = 0

  constructor(connection: ServerConnection, receivers: readonly Receiver[], placement: RowPlacement | null) {
    this.#connection = connection
    this.#receivers = receivers
    this.#placement = placement
  }

  get count(): CopyCount {
    return { rows: this.#rows, bytes: this.#bytes }
  }

  async run(statement: string): Promise<void> {
    this.#connection.submitWith((out) => {
      writeQuery(out, statement)
    }, this)
    await this.#outcome.promise
  }

  giveUp(error: FleetError): void {
    this.#error ??= error
    this.#connection.destroy(error)
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    if (type === backendCode.errorResponse) this.#error ??= sqlError(decodeServerError(buf, start, end))
    if (type !== backendCode.copyData || this.#error !== null) return
    try {
      this.#take(buf, start + messageHeaderBytes, end)
    } catch (error) {
      this.giveUp(toFleetError(error))
    }
  }

  done(): void {
    if (this.#error === null) this.#outcome.resolve(undefined)
    else this.#outcome.reject(this.#error)
  }

  failed(error: FleetError): void {
    this.#outcome.reject(this.#error ?? error)
  }

  /** Postgres sends each row in a message of its own, the header with the first. */
  #take(buf: Buffer, from: number, end: number): void {
    let at = from
    if (!this.#isBegun) {
      if (end - at < copyHeader.length) throw protocolViolation('a copy without its header')
      at += copyHeader.length + buf.readInt32BE(at + copyHeader.length - 4)
      this.#isBegun = true
    }
    while (at < end) {
      const columns = at + 2 <= end ? buf.readInt16BE(at) : 0
      if (columns === -1) return
      at = this.#row(buf, at, end, columns)
    }
  }

  /** Finds the end of the row and the key in it, and hands it on. Returns where the next one begins. */
  #row(buf: Buffer, start: number, end: number, columns: number): number {
    const keyColumn = this.#placement?.column ?? -1
    let at = start + 2
    let keyStart = -1
    let keyEnd = -1
    for (let column = 0; column < columns; column += 1) {
      if (at + 4 > end) throw protocolViolation('a row ends too early')
      const length = buf.readInt32BE(at)
      at += 4
      if (column === keyColumn && length >= 0) [keyStart, keyEnd] = [at, at + length]
      if (length > 0) at += length
      if (at > end) throw protocolViolation('a row ends too early')
    }
    const key = keyStart === -1 ? null : buf.subarray(keyStart, keyEnd)
    if (!this.#handOn(buf, start, at, key)) return at
    this.#rows += 1
    this.#bytes += at - start
    return at
  }

  /** False for a row that stays where it is. */
  #handOn(buf: Buffer, start: number, end: number, key: Buffer | null): boolean {
    const placement = this.#placement
    if (placement === null) {
      for (const receiver of this.#receivers) this.#give(receiver, buf, start, end)
      return true
    }
    // NULL has no place as a key, which keyOfBinary says.
    const places = placement.place(keyOfBinary(key, placement.type))
    for (const index of places) {
      const receiver = this.#receivers[index]
      if (receiver !== undefined) this.#give(receiver, buf, start, end)
    }
    return places.length > 0
  }

  #give(receiver: Receiver, buf: Buffer, start: number, end: number): void {
    if (receiver.row(buf, start, end)) return
    this.#lagging += 1
    this.#connection.pause()
    void receiver.drained().then(() => {
      this.#lagging -= 1
      if (this.#lagging === 0) this.#connection.resume()
    })
  }
}
