// An answer as a stream of lines: the columns, a JSON array for each row, the end. Rows go out as they come; a client
// that reads slowly holds the server connection back, so that nothing piles up here.
import type { ServerResponse } from 'node:http'
import type { Problem } from '@fleetshard/core'
import type { FieldDescription } from '@fleetshard/routing/pgwire'
import type { RowsConsumer, RowsFlow, RowsPlace } from '@fleetshard/routing/execute'
import { JsonRows, type RowsFormat } from './json-rows.ts'

/** Content type of a stream of lines. */
export const linesType = 'application/x-ndjson'

/** What a stream stands on. */
export interface StreamParts {
  readonly response: ServerResponse
  readonly format: Omit<RowsFormat, 'rowFormat' | 'separator'>
  /** The client reads slower than rows come; the returned function is called when it has caught up. */
  readonly onWaiting: () => () => void
  /** The first line goes out. */
  readonly onFirstLine: () => void
}

/** What the last line tells. */
export interface StreamEnd {
  readonly rowCount: number
  readonly latencyMs: string
  /** Further fields as JSON, with a comma in front. */
  readonly more: string
}

/** Takes rows and writes lines. */
export class StreamRows implements RowsConsumer {
  readonly #parts: StreamParts
  readonly #rows: JsonRows
  #flow: RowsFlow | null = null
  #place: RowsPlace | null = null
  #begun = false
  #scheduled = false
  #waiting = false

  constructor(parts: StreamParts) {
    this.#parts = parts
    this.#rows = new JsonRows({ ...parts.format, rowFormat: 'array', separator: 'newline' })
  }

  /** True once something has gone out: the status is told, and rows can't be taken back. */
  get isFinal(): boolean {
    return this.#begun
  }

  placed(place: RowsPlace): void {
    this.#place = place
  }

  attach(flow: RowsFlow): void {
    this.#flow = flow
  }

  fields(fields: readonly FieldDescription[]): void {
    this.#rows.fields(fields)
  }

  row(buf: Buffer, start: number, end: number): void {
    this.#rows.row(buf, start, end)
    if (this.#scheduled) return
    // Once for all rows that one read from the server has brought.
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#flush()
    })
  }

  reset(): void {
    this.#rows.reset()
  }

  /** The last line after all rows. */
  end({ rowCount, latencyMs, more }: StreamEnd): void {
    this.#close(`{"end":{"row_count":${String(rowCount)},"latency_ms":${latencyMs}${more}}}`)
  }

  /** The last line after an error, once rows have gone out. */
  fail(problem: Problem): void {
    this.#close(JSON.stringify({ error: problem }))
  }

  #close(line: string): void {
    const { response } = this.#parts
    // A client that is gone gets nothing more.
    if (response.destroyed) return
    this.#begin()
    response.write(this.#rows.takeBytes())
    response.end(`\n${line}\n`)
  }

  #begin(): void {
    if (this.#begun) return
    this.#begun = true
    this.#parts.onFirstLine()
    const { response } = this.#parts
    response.writeHead(200, { 'content-type': linesType })
    const { shard = '', node = '', epoch = 0 } = this.#place ?? {}
    const place = `"shard_id":${JSON.stringify(shard)},"node":${JSON.stringify(node)},"epoch":${String(epoch)}`
    response.write(`{${place},"columns":${this.#rows.columns}}`)
  }

  #flush(): void {
    const { response, onWaiting } = this.#parts
    if (response.destroyed || response.writableEnded) return
    this.#begin()
    const goesOn = response.write(this.#rows.takeBytes())
    if (goesOn || this.#waiting) return
    this.#waiting = true
    this.#flow?.pause()
    const caughtUp = onWaiting()
    const stop = (): void => {
      response.off('drain', stop)
      response.off('close', stop)
      this.#waiting = false
      caughtUp()
      this.#flow?.resume()
    }
    response.on('drain', stop)
    response.on('close', stop)
  }
}
