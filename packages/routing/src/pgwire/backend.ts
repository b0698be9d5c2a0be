// What a server says: decoders of all backend messages of protocol 3. They take the span that the splitter hands
// out, type byte included, and throw `protocol_violation` for bytes that are not such a message.
// Formats: PostgreSQL documentation, chapter 55, "Message Formats" and "Error and Notice Message Fields".
import { authenticationCode, messageHeaderBytes } from './codes.ts'
import { Cursor } from './cursor.ts'
import type { FormatCode } from './frontend.ts'
import { protocolViolation } from './violation.ts'

/** One result column. */
export interface FieldDescription {
  readonly name: string
  /** 0 when the column is not simply a table's. */
  readonly tableOid: number
  readonly columnNumber: number
  readonly typeOid: number
  /** Bytes, negative for variable width. */
  readonly typeSize: number
  readonly typeModifier: number
  readonly format: FormatCode
}

/** RowDescription. */
export function decodeRowDescription(buf: Buffer, start: number, end: number): readonly FieldDescription[] {
  const cursor = bodyOf(buf, start, end)
  const count = cursor.uint16()
  const fields: FieldDescription[] = []
  for (let index = 0; index < count; index += 1) fields.push(field(cursor))
  cursor.done()
  return fields
}

function field(cursor: Cursor): FieldDescription {
  return {
    name: cursor.cstring(),
    tableOid: cursor.uint32(),
    columnNumber: cursor.int16(),
    typeOid: cursor.uint32(),
    typeSize: cursor.int16(),
    typeModifier: cursor.int32(),
    format: cursor.int16() === 1 ? 1 : 0,
  }
}

/** ParameterDescription: type OIDs of a statement's parameters. */
export function decodeParameterDescription(buf: Buffer, start: number, end: number): readonly number[] {
  const cursor = bodyOf(buf, start, end)
  const count = cursor.uint16()
  const types: number[] = []
  for (let index = 0; index < count; index += 1) types.push(cursor.uint32())
  cursor.done()
  return types
}

/** Walks the values of DataRows without allocating; one may be reused for all rows of a connection. */
export class DataRowReader {
  #buf: Buffer = Buffer.alloc(0)
  #at = 0
  #end = 0
  #left = 0
  /** Where the value lies in the buffer; `valueEnd` is -1 for NULL. Set by `next`. */
  valueStart = 0
  valueEnd = 0

  /** Begins a row and returns its number of columns. */
  open(buf: Buffer, start: number, end: number): number {
    if (end - start < messageHeaderBytes + 2) throw protocolViolation('a message ends too early')
    this.#buf = buf
    this.#at = start + messageHeaderBytes + 2
    this.#end = end
    this.#left = ((buf[start + 5] as number) << 8) | (buf[start + 6] as number)
    return this.#left
  }

  /** Goes to the next value; false after the last. */
  next(): boolean {
    const at = this.#at
    if (this.#left === 0) {
      if (at !== this.#end) throw protocolViolation('bytes too many in a row')
      return false
    }
    if (at + 4 > this.#end) throw protocolViolation('a row ends too early')
    this.#left -= 1
    const buf = this.#buf
    const length =
      ((buf[at] as number) << 24) |
      ((buf[at + 1] as number) << 16) |
      ((buf[at + 2] as number) << 8) |
      (buf[at + 3] as number)
    this.valueStart = at + 4
    if (length === -1) {
      this.#at = at + 4
      this.valueEnd = -1
      return true
    }
    if (length < 0 || length > this.#end - at - 4) throw protocolViolation('a row ends too early')
    this.valueEnd = at + 4 + length
    this.#at = this.valueEnd
    return true
  }

  /** The value at hand as UTF-8 text, null for NULL. */
  text(): string | null {
    return this.valueEnd === -1 ? null : this.#buf.toString('utf8', this.valueStart, this.valueEnd)
  }
}

/** The tag of CommandComplete: `INSERT 0 1`, `SELECT 5`, `CREATE TABLE`. */
export function decodeCommandTag(buf: Buffer, start: number, end: number): string {
  const cursor = bodyOf(buf, start, end)
  const tag = cursor.cstring()
  cursor.done()
  return tag
}

/** Rows that a CommandComplete tells of (its last word, when that is a number); null when it has none. */
export function decodeRowCount(buf: Buffer, start: number, end: number): number | null {
  let at = end - 2
  let count = 0
  let scale = 1
  const first = start + messageHeaderBytes
  for (; at >= first; at -= 1) {
    const digit = (buf[at] as number) - 0x30
    if (digit < 0 || digit > 9) break
    count += digit * scale
    scale *= 10
  }
  return at >= first && scale > 1 && buf[at] === 0x20 ? count : null
}

/** All fields of an ErrorResponse or NoticeResponse; those the server left out are undefined. */
export interface ServerErrorFields {
  /** Never translated: ERROR, FATAL, PANIC, WARNING, NOTICE, … */
  readonly severity: string
  /** SQLSTATE. */
  readonly code: string
  readonly message: string
  readonly detail?: string
  readonly hint?: string
  /** In characters from 1 in the statement. */
  readonly position?: number
  readonly internalPosition?: number
  readonly internalQuery?: string
  readonly where?: string
  readonly schema?: string
  readonly table?: string
  readonly column?: string
  readonly dataType?: string
  readonly constraint?: string
  readonly file?: string
  readonly line?: number
  readonly routine?: string
}

const textFields: Readonly<Record<string, keyof ServerErrorFields>> = {
  V: 'severity',
  C: 'code',
  M: 'message',
  D: 'detail',
  H: 'hint',
  q: 'internalQuery',
  W: 'where',
  s: 'schema',
  t: 'table',
  c: 'column',
  d: 'dataType',
  n: 'constraint',
  F: 'file',
  R: 'routine',
}
const numberFields: Readonly<Record<string, keyof ServerErrorFields>> = {
  P: 'position',
  p: 'internalPosition',
  L: 'line',
}

/** ErrorResponse and NoticeResponse. Fields of unknown kind are passed over, as the protocol asks. */
export function decodeServerError(buf: Buffer, start: number, end: number): ServerErrorFields {
  const cursor = bodyOf(buf, start, end)
  const fields: Record<string, string | number> = { severity: '', code: 'XX000', message: '' }
  let localized = 'ERROR'
  for (let kind = cursor.uint8(); kind !== 0; kind = cursor.uint8()) {
    const letter = String.fromCharCode(kind)
    const value = cursor.cstring()
    if (letter === 'S') localized = value
    const textField = textFields[letter]
    const numberField = numberFields[letter]
    if (textField !== undefined) fields[textField] = value
    else if (numberField !== undefined && /^\d{1,9}$/.test(value)) fields[numberField] = Number(value)
  }
  cursor.done()
  // Servers before 9.6 send the localized severity only.
  if (fields['severity'] === '') fields['severity'] = localized
  return fields as unknown as ServerErrorFields
}

/** One field of an ErrorResponse, by the code of its letter, without decoding the rest; empty when it is missing. */
export function errorField(letter: number, buf: Buffer, start: number, end: number): string {
  let at = start + messageHeaderBytes
  while (at < end && buf[at] !== 0) {
    const zero = buf.indexOf(0, at + 1)
    if (zero === -1 || zero >= end) break
    if (buf[at] === letter) return buf.toString('utf8', at + 1, zero)
    at = zero + 1
  }
  return ''
}

/** The SQLSTATE of an ErrorResponse. */
export function decodeSqlstate(buf: Buffer, start: number, end: number): string {
  return errorField(0x43, buf, start, end)
}

const routineLetter = 0x52

/**
 * True for the warning that a commit's wait for replicas was cut short: what follows looks like success, and nobody but
 * the primary has it. Known by the function that says it, whatever its text and SQLSTATE (01000 after a cancel, 57P01
 * after a stop): src/backend/replication/syncrep.c.
 */
export function isUnconfirmedCommit(buf: Buffer, start: number, end: number): boolean {
  return errorField(routineLetter, buf, start, end) === 'SyncRepWaitForLSN'
}

/** True for an ErrorResponse after which the server ends the connection: severity FATAL or PANIC. */
export function isFatalError(buf: Buffer, start: number, end: number): boolean {
  const severity = errorField(0x56, buf, start, end)
  return severity === 'FATAL' || severity === 'PANIC'
}

/** ParameterStatus. */
export function decodeParameterStatus(
  buf: Buffer,
  start: number,
  end: number,
): { name: string; value: string } {
  const cursor = bodyOf(buf, start, end)
  const status = { name: cursor.cstring(), value: cursor.cstring() }
  cursor.done()
  return status
}

/** BackendKeyData; the key has 4 bytes in protocol 3.0, up to 256 from 3.2 on. */
export function decodeBackendKeyData(
  buf: Buffer,
  start: number,
  end: number,
): { processId: number; secretKey: Uint8Array } {
  const cursor = bodyOf(buf, start, end)
  const processId = cursor.int32()
  if (cursor.left < 4 || cursor.left > 256) throw protocolViolation('a cancel key of an impossible size')
  return { processId, secretKey: cursor.rest() }
}

/** State byte of ReadyForQuery: `I`, `T` or `E`. */
export function decodeReadyForQuery(buf: Buffer, start: number, end: number): 'I' | 'T' | 'E' {
  if (end - start === messageHeaderBytes + 1) {
    const state = buf[start + messageHeaderBytes]
    if (state === 0x49) return 'I'
    if (state === 0x54) return 'T'
    if (state === 0x45) return 'E'
  }
  throw protocolViolation('ReadyForQuery with an unknown state')
}

/** NotificationResponse. */
export function decodeNotification(
  buf: Buffer,
  start: number,
  end: number,
): { processId: number; channel: string; payload: string } {
  const cursor = bodyOf(buf, start, end)
  const notification = { processId: cursor.int32(), channel: cursor.cstring(), payload: cursor.cstring() }
  cursor.done()
  return notification
}

/** What the server wants for authentication. */
export type AuthenticationRequest =
  | { readonly kind: 'ok' }
  | { readonly kind: 'cleartext' }
  | { readonly kind: 'md5'; readonly salt: Uint8Array }
  | { readonly kind: 'sasl'; readonly mechanisms: readonly string[] }
  | { readonly kind: 'sasl-continue' | 'sasl-final'; readonly text: string }
  /** Kerberos, GSSAPI, SSPI and what may come. */
  | { readonly kind: 'unsupported'; readonly code: number }

/** Authentication*. */
export function decodeAuthentication(buf: Buffer, start: number, end: number): AuthenticationRequest {
  const cursor = bodyOf(buf, start, end)
  const code = cursor.int32()
  switch (code) {
    case authenticationCode.ok:
      return { kind: 'ok' }
    case authenticationCode.cleartextPassword:
      return { kind: 'cleartext' }
    case authenticationCode.md5Password:
      return { kind: 'md5', salt: cursor.bytes(4) }
    case authenticationCode.sasl:
      return { kind: 'sasl', mechanisms: saslMechanisms(cursor) }
    case authenticationCode.saslContinue:
      return { kind: 'sasl-continue', text: cursor.rest().toString('utf8') }
    case authenticationCode.saslFinal:
      return { kind: 'sasl-final', text: cursor.rest().toString('utf8') }
    default:
      return { kind: 'unsupported', code }
  }
}

function saslMechanisms(cursor: Cursor): readonly string[] {
  const mechanisms: string[] = []
  for (let name = cursor.cstring(); name !== ''; name = cursor.cstring()) mechanisms.push(name)
  cursor.done()
  return mechanisms
}

/** CopyInResponse, CopyOutResponse, CopyBothResponse. */
export interface CopyResponse {
  readonly format: FormatCode
  readonly columnFormats: readonly FormatCode[]
}

/** Body of the three Copy responses. */
export function decodeCopyResponse(buf: Buffer, start: number, end: number): CopyResponse {
  const cursor = bodyOf(buf, start, end)
  const format = cursor.uint8() === 1 ? 1 : 0
  const count = cursor.uint16()
  const columnFormats: FormatCode[] = []
  for (let index = 0; index < count; index += 1) columnFormats.push(cursor.int16() === 1 ? 1 : 0)
  cursor.done()
  return { format, columnFormats }
}

/** NegotiateProtocolVersion: the newest minor version that the server speaks, and options that it does not know. */
export function decodeNegotiateVersion(
  buf: Buffer,
  start: number,
  end: number,
): { minor: number; unknownOptions: readonly string[] } {
  const cursor = bodyOf(buf, start, end)
  const minor = cursor.int32() & 0xffff
  const count = cursor.uint32()
  if (count > cursor.left) throw protocolViolation('a message ends too early')
  const unknownOptions = Array.from({ length: count }, () => cursor.cstring())
  cursor.done()
  return { minor, unknownOptions }
}

function bodyOf(buf: Buffer, start: number, end: number): Cursor {
  return new Cursor(buf, start + messageHeaderBytes, end)
}
