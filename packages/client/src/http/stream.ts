// Rows as they come over HTTP: one JSON value a line, the head first, the end or an error last.
import { FleetError, fromProblem, type Clock } from '@fleetshard/core'
import { numberAt, objectOf, parseJson, textOrNullAt, type JsonObject } from '../json-reader.ts'
import type { Column, Row, RowBatch } from '../statement.ts'
import { columnsOf, rowMaker } from './values.ts'

/** Longest line accepted, characters: a row may hold large values. */
const lineCharsMax = 256 * 1024 * 1024

/** Reads whole lines from a body, piece by piece, each within a time. */
export class LineReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #decoder = new TextDecoder()
  readonly #clock: Clock
  readonly #silentMsMax: number
  #parts: string[] = []
  #chars = 0

  /** @param parts.silentMsMax how long the router may send nothing */
  constructor(
    body: ReadableStream<Uint8Array>,
    parts: { readonly clock: Clock; readonly silentMsMax: number },
  ) {
    this.#reader = body.getReader()
    this.#clock = parts.clock
    this.#silentMsMax = parts.silentMsMax
  }

  /** The lines that have come meanwhile, at least one; null at the end. @throws FleetError `server_unreachable` */
  async next(): Promise<string[] | null> {
    for (;;) {
      const { value, done } = await this.#read()
      if (done) {
        if (this.#chars > 0) throw brokenOff()
        return null
      }
      const lines = this.#cut(this.#decoder.decode(value, { stream: true }))
      if (lines.length > 0) return lines
    }
  }

  async close(): Promise<void> {
    await this.#reader.cancel().catch(() => undefined)
  }

  async #read(): Promise<ReadableStreamReadResult<Uint8Array>> {
    const late = Promise.withResolvers<never>()
    const stop = this.#clock.after(this.#silentMsMax, () => {
      late.reject(
        new FleetError('deadline_exceeded', `the router sent nothing for ${String(this.#silentMsMax)} ms`),
      )
    })
    try {
      return await Promise.race([this.#reader.read(), late.promise])
    } catch (error) {
      throw error instanceof FleetError ? error : brokenOff(error)
    } finally {
      stop()
    }
  }

  #cut(text: string): string[] {
    const lines = text.split('\n')
    const rest = lines.pop() ?? ''
    if (lines.length > 0) {
      lines[0] = this.#parts.join('') + (lines[0] ?? '')
      this.#parts = []
      this.#chars = 0
    }
    this.#parts.push(rest)
    this.#chars += rest.length
    if (this.#chars > lineCharsMax) throw new FleetError('result_too_large', 'a row is too large')
    return lines
  }
}

const brokenOff = (cause?: unknown): FleetError =>
  new FleetError('server_unreachable', 'the router broke the stream off', {
    hint: 'read again',
    facts: { outcome: 'unknown' },
    ...(cause === undefined ? {} : { cause }),
  })

/** What the last line tells. */
export interface StreamEnd {
  readonly sessionToken: string | null
}

/** The rows of a stream, in the batches that they came in. The first batch may be empty: it tells the epoch. */
export async function* readRows(
  lines: LineReader,
  ended: (end: StreamEnd) => void,
): AsyncGenerator<RowBatch<Row>, void, void> {
  let head: Head | null = null
  for (let chunk = await lines.next(); chunk !== null; chunk = await lines.next()) {
    const rows: Row[] = []
    for (const line of chunk) {
      const value = parseJson(line)
      if (head === null) head = headOf(objectOf(value, 'head'))
      else if (Array.isArray(value)) rows.push(head.make(value as readonly unknown[]))
      else {
        yield { epoch: head.epoch, columns: head.columns, rows }
        ended(endOf(objectOf(value, 'end')))
        return
      }
    }
    if (head !== null) yield { epoch: head.epoch, columns: head.columns, rows }
  }
  throw brokenOff()
}

interface Head {
  readonly epoch: number
  readonly columns: readonly Column[]
  readonly make: (values: readonly unknown[]) => Row
}

function headOf(head: JsonObject): Head {
  if ('error' in head) throw problemIn(head)
  const columns = columnsOf(head)
  return { epoch: numberAt(head, 'epoch'), columns, make: rowMaker(columns) }
}

/** @throws FleetError that the line tells */
function endOf(line: JsonObject): StreamEnd {
  if ('error' in line) throw problemIn(line)
  return { sessionToken: textOrNullAt(objectOf(line['end'], 'end'), 'session_token') }
}

function problemIn(line: JsonObject): FleetError {
  const problem = objectOf(line['error'], 'error')
  return fromProblem(typeof problem['status'] === 'number' ? problem['status'] : 500, problem)
}
