// A client of the Postgres port made of the codec alone, for tests of the protocol itself.
import { connect, type Socket } from 'node:net'
import { systemClock } from '../../../../runtime/mod.ts'
import {
  decodeCommandTag,
  decodeReadyForQuery,
  decodeServerError,
  DataRowReader,
  MessageSplitter,
  requestCode,
  WireWriter,
  writeQuery,
  writeStartup,
  type ServerErrorFields,
} from '@fleetshard/routing/pgwire'

/** One message of the router. */
export interface RawMessage {
  /** The type byte as a letter. */
  readonly type: string
  readonly bytes: Buffer
}

/** A socket with the messages that came over it. */
export class RawClient implements AsyncDisposable {
  readonly socket: Socket
  readonly messages: RawMessage[] = []
  #taken = 0
  #isClosed = false
  #wake: () => void = () => undefined

  constructor(port: number, options: { readonly halfOpen?: boolean } = {}) {
    this.socket = connect({ host: '127.0.0.1', port, allowHalfOpen: options.halfOpen === true })
    const splitter = new MessageSplitter({
      message: (type, buf, start, end) => {
        this.messages.push({ type: String.fromCharCode(type), bytes: Buffer.from(buf.subarray(start, end)) })
        this.#wake()
      },
      acceptsPieces: () => false,
      piece: () => undefined,
    })
    this.socket.on('data', (chunk) => {
      try {
        splitter.feed(chunk as Buffer)
      } catch {
        // An answer in plain bytes, or of another protocol.
        splitter.stop()
      }
    })
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => {
      this.#isClosed = true
      this.#wake()
    })
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Connects and logs in where nothing has to be proved; resolves at the first ReadyForQuery. */
  static async open(
    port: number,
    parameters: Readonly<Record<string, string>> = {},
    protocol: number = requestCode.protocol30,
  ): Promise<RawClient> {
    const client = new RawClient(port)
    client.send((out) => {
      writeStartup(out, { user: 'app', database: 'app', ...parameters }, protocol)
    })
    await client.until('Z')
    return client
  }

  send(write: (out: WireWriter) => void): void {
    const out = new WireWriter()
    write(out)
    this.socket.write(Buffer.from(out.bytes()))
  }

  /** The messages up to the next one of that type. @throws when the connection ends before */
  async until(type: string): Promise<RawMessage[]> {
    for (;;) {
      const at = this.messages.findIndex((message, index) => index >= this.#taken && message.type === type)
      if (at >= 0) {
        const messages = this.messages.slice(this.#taken, at + 1)
        this.#taken = at + 1
        return messages
      }
      if (this.#isClosed) {
        const said = this.messages.slice(this.#taken).map(({ type: letter }) => letter)
        throw new Error(`the connection ended before ${type}; it brought ${said.join('')}`)
      }
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  /** Resolves when the kernel has taken all that was sent. */
  async sent(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.socket.write('', () => {
        resolve()
      })
    })
  }

  /** Resolves when the router has closed the connection. */
  async closed(): Promise<void> {
    while (!this.#isClosed) {
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  /** Resolves when the router has forgotten the connection: what is still written to it is answered by a reset. */
  async cutOff(): Promise<void> {
    while (!this.#isClosed) {
      this.socket.write('x')
      await systemClock.sleep(20)
    }
  }

  /** A simple Query with all of its answer. */
  query(text: string): Promise<RawMessage[]> {
    this.send((out) => {
      writeQuery(out, text)
    })
    return this.until('Z')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
    await this.closed()
  }
}

/** The types of the messages, without those that may come at any time. */
export const typesOf = (messages: readonly RawMessage[]): string =>
  messages
    .map(({ type }) => type)
    .filter((type) => type !== 'S' && type !== 'N' && type !== 'K')
    .join('')

/** The first error among them. */
export function errorOf(messages: readonly RawMessage[]): ServerErrorFields | null {
  const error = messages.find(({ type }) => type === 'E')
  return error === undefined ? null : decodeServerError(error.bytes, 0, error.bytes.length)
}

/** The rows as text. */
export function rowsOf(messages: readonly RawMessage[]): (string | null)[][] {
  const reader = new DataRowReader()
  return messages
    .filter(({ type }) => type === 'D')
    .map(({ bytes }) => {
      reader.open(bytes, 0, bytes.length)
      const values: (string | null)[] = []
      while (reader.next()) values.push(reader.text())
      return values
    })
}

/** The tags of completed commands. */
export const tagsOf = (messages: readonly RawMessage[]): string[] =>
  messages.filter(({ type }) => type === 'C').map(({ bytes }) => decodeCommandTag(bytes, 0, bytes.length))

/** The state of the last ReadyForQuery. */
export function statusOf(messages: readonly RawMessage[]): 'I' | 'T' | 'E' {
  const ready = messages.findLast(({ type }) => type === 'Z')
  if (ready === undefined) throw new Error('there is no ReadyForQuery')
  return decodeReadyForQuery(ready.bytes, 0, ready.bytes.length)
}
