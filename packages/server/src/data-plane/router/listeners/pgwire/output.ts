// What is said to one client: collected in a buffer that is borrowed while there is something to say, written to the
// socket once a turn, and watched for clients that read slower than their answers come.
import { WireWriter } from '@fleetshard/routing/pgwire'

/** Above this the buffer is written at once. */
const flushBytes = 32 * 1024
/** A larger buffer is not kept for others. */
const keptBytesMax = 64 * 1024
/** Buffers kept for reuse. */
const keptBuffersMax = 64

/** The part of a socket that output needs. */
export interface OutputSocket {
  write(bytes: Uint8Array): boolean
  readonly writableLength: number
  readonly destroyed: boolean
  once(event: 'drain', listener: () => void): unknown
}

/** What the outputs of a listener share: the end of a turn, and buffers, so that idle ones hold none. */
export class OutputBuffers {
  readonly #free: WireWriter[] = []
  #due: ClientOutput[] = []

  take(): WireWriter {
    return this.#free.pop() ?? new WireWriter()
  }

  giveBack(writer: WireWriter): void {
    if (writer.roomBytes > keptBytesMax || this.#free.length >= keptBuffersMax) return
    writer.reset()
    this.#free.push(writer)
  }

  /** Flushes it at the end of what one read of a server, or of a client, has brought; one job for all of them. */
  flushLater(output: ClientOutput): void {
    if (this.#due.push(output) > 1) return
    queueMicrotask(() => {
      const due = this.#due
      this.#due = []
      for (const each of due) each.endTurn()
    })
  }
}

/** The way to one client. */
export class ClientOutput {
  readonly #buffers: OutputBuffers
  #socket: OutputSocket
  #writer: WireWriter | null = null
  #scheduled = false
  #isKept = false
  /** Bytes given to the socket since the connection began. */
  #flushedBytes = 0

  constructor(socket: OutputSocket, buffers: OutputBuffers) {
    this.#socket = socket
    this.#buffers = buffers
  }

  /** From now on over that socket (TLS on top of the first). Everything said before must have been flushed. */
  use(socket: OutputSocket): void {
    this.#socket = socket
  }

  /** The buffer to write whole messages into; it goes out at the end of this turn. */
  get writer(): WireWriter {
    this.#writer ??= this.#buffers.take()
    this.#schedule()
    return this.#writer
  }

  /** Copies `buf[start, end)`, as it stands, behind what was said before. */
  copy(buf: Buffer, start: number, end: number): void {
    const { writer } = this
    writer.span(buf, start, end)
    if (writer.length >= flushBytes) this.flush()
  }

  /** Bytes that the client has not taken yet. */
  get lagBytes(): number {
    return this.#socket.writableLength + (this.#writer?.length ?? 0)
  }

  /** Where the output is now, for `rewind`. */
  get position(): number {
    return this.#flushedBytes + (this.#writer?.length ?? 0)
  }

  /** Takes back what was said since `position`; false when part of it is on its way already. */
  rewind(position: number): boolean {
    if (position < this.#flushedBytes) return false
    this.#writer?.truncate(position - this.#flushedBytes)
    return true
  }

  /** What was said is not sent at the end of this turn: it may have to be taken back. */
  keep(): void {
    this.#isKept = true
  }

  /** Ends `keep`. */
  letGo(): void {
    if (!this.#isKept) return
    this.#isKept = false
    this.#schedule()
  }

  flush(): void {
    const writer = this.#writer
    if (writer === null || writer.length === 0) return
    this.#writer = null
    const bytes = writer.bytes()
    this.#flushedBytes += bytes.length
    if (this.#socket.destroyed) return
    this.#socket.write(bytes)
    // Once the kernel has all bytes their memory is free; otherwise the socket still needs it.
    if (this.#socket.writableLength === 0) this.#buffers.giveBack(writer)
  }

  /** Calls once when the client has taken all; at once when there is nothing to take. */
  whenTaken(then: () => void): void {
    this.flush()
    if (this.#socket.destroyed || this.#socket.writableLength === 0) then()
    else this.#socket.once('drain', then)
  }

  /** Called by what it shares with others, once after each turn in which something was said. */
  endTurn(): void {
    this.#scheduled = false
    if (!this.#isKept) this.flush()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#buffers.flushLater(this)
  }
}
