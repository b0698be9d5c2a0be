// Sinks for tests: they write down what they get.
import type { FleetError } from '@fleetshard/core'
import {
  backendCode,
  DataRowReader,
  decodeCommandTag,
  decodeServerError,
  type FieldDescription,
} from '@fleetshard/routing/pgwire'
import type { StatementSink, TransactionStatus } from '@fleetshard/routing/wire'

/** What one group got. */
export interface Recorded {
  readonly columns: readonly string[] | null
  readonly rows: readonly (readonly (string | null)[])[]
  readonly tags: readonly string[]
  readonly notices: readonly string[]
  /** SQLSTATE of the ErrorResponse. */
  readonly sqlstate: string | null
  readonly status: TransactionStatus | null
  readonly lost: { readonly error: FleetError; readonly sent: boolean } | null
  /** Types of all messages, as letters. */
  readonly types: string
}

/** Records a group; `ended` resolves at its last call, and there must be only one. */
export class RecordingSink implements StatementSink {
  readonly #ended = Promise.withResolvers<Recorded>()
  readonly #reader = new DataRowReader()
  #columns: readonly string[] | null = null
  readonly #rows: (string | null)[][] = []
  readonly #tags: string[] = []
  readonly #notices: string[] = []
  #sqlstate: string | null = null
  #types = ''
  #over = false

  get ended(): Promise<Recorded> {
    return this.#ended.promise
  }

  fields(fields: readonly FieldDescription[]): void {
    this.#columns = fields.map(({ name, format }) => `${name}:${String(format)}`)
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    this.#types += String.fromCharCode(type)
    if (type === backendCode.dataRow) {
      this.#reader.open(buf, start, end)
      const values: (string | null)[] = []
      while (this.#reader.next()) values.push(this.#reader.text())
      this.#rows.push(values)
    } else if (type === backendCode.commandComplete) this.#tags.push(decodeCommandTag(buf, start, end))
    else if (type === backendCode.errorResponse) this.#sqlstate = decodeServerError(buf, start, end).code
    else if (type === backendCode.noticeResponse)
      this.#notices.push(decodeServerError(buf, start, end).message)
  }

  done(status: TransactionStatus): void {
    this.#end(status, null)
  }

  failed(error: FleetError, sent: boolean): void {
    this.#end(null, { error, sent })
  }

  #end(status: TransactionStatus | null, lost: Recorded['lost']): void {
    if (this.#over) throw new Error('a group ended twice')
    this.#over = true
    this.#ended.resolve({
      columns: this.#columns,
      rows: this.#rows,
      tags: this.#tags,
      notices: this.#notices,
      sqlstate: this.#sqlstate,
      status,
      lost,
      types: this.#types,
    })
  }
}
