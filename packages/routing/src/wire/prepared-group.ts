// One execution of a prepared statement, between the connection and its caller: hides the answers to the helper's own
// Close, Parse and Describe, tells the columns, and asks for a repetition when the server held a stale statement.
import type { FleetError } from '@fleetshard/core'
import {
  backendCode,
  decodeParameterDescription,
  decodeRowDescription,
  decodeSqlstate,
  errorField,
  type FieldDescription,
} from '../pgwire/mod.ts'
import type {
  GroupSink,
  StatementDescription,
  StatementRequest,
  StatementSink,
  TransactionStatus,
} from './types.ts'

/** One statement of the server. */
export interface Prepared {
  readonly key: string
  readonly name: string
  /** Counts the uses on its connection. */
  usedAt: number
  /** Null until the server has told. */
  description: (StatementDescription & { binaryFields?: readonly FieldDescription[] }) | null
}

/** Who keeps the statements. */
export interface PreparedHost {
  /** Sends a group, first or again. @throws as `ServerConnection.submit` */
  send(group: PreparedGroup): void
  /** The next use parses anew; with `close` the server is told to drop it. */
  forget(statement: Prepared, close: boolean): void
}

/** Messages that stand before the group's own. */
interface Preamble {
  readonly closes: number
  readonly parses: boolean
}

const letterMessage = 0x4d // M
const letterRoutine = 0x52 // R
const noTypes: readonly number[] = []
const idleByte = 0x49
/** ReadyForQuery outside a transaction. */
const idleBytes = Buffer.from([0x5a, 0, 0, 0, 5, idleByte])

/** Sink of a group that uses a prepared statement. */
export class PreparedGroup implements GroupSink {
  readonly request: StatementRequest
  readonly purpose: 'execute' | 'describe'
  readonly piece?: NonNullable<GroupSink['piece']>
  readonly #host: PreparedHost
  readonly #sink: StatementSink
  #statement: Prepared | null = null
  #repeated = false
  /** Answers to own messages still to come: CloseComplete; ParseComplete; the two parts of the description. */
  #closes = 0
  #parsing = false
  #describing = false
  #paramTypes: readonly number[] = noTypes
  #bound = false
  /** An ErrorResponse kept back until it is known whether the group is sent again. */
  #staleError: Buffer | null = null

  constructor(
    host: PreparedHost,
    request: StatementRequest,
    sink: StatementSink,
    purpose: 'execute' | 'describe' = 'execute',
  ) {
    this.#host = host
    this.request = request
    this.#sink = sink
    this.purpose = purpose
    if (sink.piece !== undefined) {
      this.piece = (buf, start, end, bytesLeft) => {
        sink.piece?.(buf, start, end, bytesLeft)
      }
    }
  }

  /** True when this is the second try. */
  get repeated(): boolean {
    return this.#repeated
  }

  get statement(): Prepared | null {
    return this.#statement
  }

  /** The group went out, using that statement. */
  begin(statement: Prepared, preamble: Preamble): void {
    this.#statement = statement
    this.#closes = preamble.closes
    this.#parsing = preamble.parses
    this.#describing = preamble.parses
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    switch (type) {
      case backendCode.dataRow:
        break
      case backendCode.bindComplete:
        this.#onBound()
        break
      case backendCode.errorResponse:
        if (this.#isStale(buf, start, end)) return
        break
      case backendCode.readyForQuery:
        if (this.#staleError !== null && this.#endsStale(buf, start)) return
        break
      default:
        if (this.#isOwn(type, buf, start, end)) return
    }
    this.#sink.message(type, buf, start, end)
  }

  done(status: TransactionStatus): void {
    const error = this.#staleError
    if (error === null) {
      this.#sink.done(status)
      return
    }
    this.#staleError = null
    this.#repeated = true
    try {
      this.#host.send(this)
    } catch {
      // The connection takes no more: the first answer stands.
      this.#sink.message(backendCode.errorResponse, error, 0, error.length)
      this.#sink.message(backendCode.readyForQuery, idleBytes, 0, idleBytes.length)
      this.#sink.done(status)
    }
  }

  failed(error: FleetError, sent: boolean): void {
    this.#sink.failed(error, sent)
  }

  /** Answers to the helper's own messages; they all come before BindComplete. */
  #isOwn(type: number, buf: Buffer, start: number, end: number): boolean {
    if (type === backendCode.closeComplete && this.#closes > 0) {
      this.#closes -= 1
      return true
    }
    if (type === backendCode.parseComplete && this.#parsing) {
      this.#parsing = false
      return true
    }
    if (!this.#describing) return false
    if (type === backendCode.parameterDescription) {
      this.#paramTypes = decodeParameterDescription(buf, start, end)
      return true
    }
    if (type !== backendCode.rowDescription && type !== backendCode.noData) return false
    const fields = type === backendCode.noData ? null : decodeRowDescription(buf, start, end)
    this.#describing = false
    if (this.#statement !== null) this.#statement.description = { paramTypes: this.#paramTypes, fields }
    return true
  }

  /** Bind worked: from here on the caller sees the answer, and nothing is sent again. */
  #onBound(): void {
    this.#bound = true
    const description = this.#statement?.description ?? null
    if (description === null || description.fields === null) return
    this.#sink.fields(this.request.resultFormat === 'binary' ? binaryFields(description) : description.fields)
  }

  /** Looks whether the error tells of a stale statement; such an error is kept back as long as a new try may help. */
  #isStale(buf: Buffer, start: number, end: number): boolean {
    const statement = this.#statement
    if (statement === null || this.#bound) return false
    if (this.#describing) {
      this.#host.forget(statement, !this.#parsing)
      return this.#isUnfit(buf, start, end)
    }
    const cause = staleCause(statement, buf, start, end)
    if (cause === null) return false
    this.#host.forget(statement, cause === 'changed')
    if (this.#repeated || this.request.retryStale === false) return false
    this.#staleError = Buffer.from(buf.subarray(start, end))
    return true
  }

  /** What was parsed for once by the types of earlier, in vain, is sent as it is. */
  #isUnfit(buf: Buffer, start: number, end: number): boolean {
    const { sentOnce, retryStale = true } = this.request
    if (sentOnce === undefined || this.#repeated || !retryStale) return false
    if (!decodeSqlstate(buf, start, end).startsWith('42')) return false
    this.#staleError = Buffer.from(buf.subarray(start, end))
    return true
  }

  /**
   * At the end of a group with a stale statement. Outside a transaction nothing has happened, and the group goes out
   * again; inside one, the transaction has failed, and the error is the caller's.
   */
  #endsStale(buf: Buffer, start: number): boolean {
    if (buf[start + 5] === idleByte) return true
    const error = this.#staleError as Buffer
    this.#staleError = null
    this.#sink.message(backendCode.errorResponse, error, 0, error.length)
    return false
  }
}

/**
 * What an error before BindComplete tells of a statement parsed earlier. `lost`: the server does not know the name (it
 * was deallocated, or its Parse failed in an earlier group); told from a user's own 26000 by the name. `changed`: the
 * schema is not what it was ("cached plan must not change result type", told by the function that says so; or names
 * and types that do not fit any more). Missing privileges are no change of the schema.
 */
function staleCause(statement: Prepared, buf: Buffer, start: number, end: number): 'lost' | 'changed' | null {
  const code = decodeSqlstate(buf, start, end)
  if (code === '26000') {
    return errorField(letterMessage, buf, start, end).includes(`"${statement.name}"`) ? 'lost' : null
  }
  if (code.startsWith('42') && code !== '42501') return 'changed'
  if (code !== '0A000') return null
  return errorField(letterRoutine, buf, start, end) === 'RevalidateCachedQuery' ? 'changed' : null
}

/** The description of a statement says text, whatever its portals will have. */
function binaryFields(description: NonNullable<Prepared['description']>): readonly FieldDescription[] {
  description.binaryFields ??= (description.fields ?? []).map((field) => ({ ...field, format: 1 }))
  return description.binaryFields
}
