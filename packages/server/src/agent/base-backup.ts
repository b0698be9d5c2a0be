// A base backup over the replication protocol: the stream of one archive, read from a walsender with backpressure.
// Framing of Postgres 15 and later: one CopyOut whose messages begin with n (archive), d (content), p (progress) or
// m (manifest). Source: the Postgres manual, "Streaming Replication Protocol", BASE_BACKUP.
import type { Client, Connection, Submittable } from 'pg'
import { escapeIdentifier, escapeLiteral } from 'pg'

/** Received and not yet taken; beyond this the socket is paused. */
const bufferedBytesMax = 4 * 1024 * 1024

/** The part of pg's connection that is used; its types leave `stream` out in places. */
interface PausableConnection {
  query(text: string): void
  readonly stream: { pause(): void; resume(): void }
}

/** Chunks between the socket's callbacks and who takes them; pauses the socket when they pile up. */
class ChunkQueue implements AsyncIterable<Buffer> {
  #chunks: Buffer[] = []
  #bytes = 0
  #end: { readonly error: Error | null } | null = null
  #wake: (() => void) | null = null
  #source: PausableConnection['stream'] | null = null

  push(chunk: Buffer, source: PausableConnection['stream']): void {
    if (this.#end !== null) return
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes > bufferedBytesMax && this.#source === null) {
      this.#source = source
      source.pause()
    }
    this.#wake?.()
  }

  /** No more chunks will come; with an error, the taker gets it after those that came. */
  close(error: Error | null): void {
    this.#end ??= { error }
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      const taken = this.#chunks
      this.#chunks = []
      yield* taken
      if (this.#chunks.length > 0) continue
      if (this.#end !== null) {
        if (this.#end.error !== null) throw this.#end.error
        return
      }
      this.#source?.resume()
      this.#source = null
      this.#bytes = 0
      await new Promise<void>((resolve) => (this.#wake = resolve))
      this.#wake = null
    }
  }
}

/** The command as pg runs it; pg calls these methods. */
class BaseBackupQuery implements Submittable {
  readonly chunks = new ChunkQueue()
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  submit(connection: Connection): void {
    ;(connection as unknown as PausableConnection).query(this.#text)
  }

  handleCopyData(message: { readonly chunk: Buffer }, connection: PausableConnection): void {
    const { chunk } = message
    switch (chunk[0]) {
      case 0x64: // d: content; copied, because the parser uses its memory again
        this.chunks.push(Buffer.from(chunk.subarray(1)), connection.stream)
        return
      case 0x6e: // n: a new archive: its name, then the path of its tablespace, empty for the main one
        if (archivePath(chunk) !== '') {
          this.chunks.close(new Error('the server has tablespaces, which cannot be cloned'))
        }
        return
      default: // p: progress
    }
  }

  handleError(error: Error): void {
    this.chunks.close(error)
  }

  handleReadyForQuery(): void {
    this.chunks.close(null)
  }

  handleRowDescription(): void {
    // start position, tablespaces and end position come as rows; the server keeps what a replica needs in a slot
  }

  handleDataRow(): void {
    // see handleRowDescription
  }

  handleCommandComplete(): void {
    // several come; ReadyForQuery is the end
  }
}

function archivePath(message: Buffer): string {
  const nameEnd = message.indexOf(0, 1)
  return message.toString('utf8', nameEnd + 1, message.indexOf(0, nameEnd + 1))
}

/**
 * The archive of the whole data folder without its WAL, in chunks. The client must be a walsender
 * (`replication: 'true'`) and is busy until the end.
 */
export function baseBackup(client: Client, label: string): AsyncIterable<Buffer> {
  const query = new BaseBackupQuery(
    `BASE_BACKUP (LABEL ${escapeLiteral(label)}, CHECKPOINT 'fast', WAL false, WAIT false, MANIFEST 'no')`,
  )
  client.query(query)
  client.once('end', () => {
    query.chunks.close(new Error('the connection ended during the base backup'))
  })
  return query.chunks
}

/** Makes the slot anew, so that it keeps WAL from now on. */
export async function renewSlot(client: Client, slot: string): Promise<void> {
  const name = escapeIdentifier(slot)
  const create = `CREATE_REPLICATION_SLOT ${name} PHYSICAL RESERVE_WAL`
  try {
    await client.query(create)
  } catch (error) {
    if ((error as { code?: string }).code !== '42710') throw error // duplicate_object
    await client.query(`DROP_REPLICATION_SLOT ${name}`)
    await client.query(create)
  }
}
