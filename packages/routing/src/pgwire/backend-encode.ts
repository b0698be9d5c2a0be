// What a server says, written into a WireWriter: for whoever plays the server to a client. Answers of shards are
// copied as they are; these are for what a router says of its own accord.
// Formats: PostgreSQL documentation, chapter 55, "Message Formats" and "Error and Notice Message Fields".
import type { ServerErrorFields } from './backend.ts'
import { authenticationCode, backendCode } from './codes.ts'
import type { WireWriter } from './writer.ts'

/** The letters of the fields of errors and notices, in the order in which Postgres writes them. */
const letters = {
  severity: 'V',
  code: 'C',
  message: 'M',
  detail: 'D',
  hint: 'H',
  position: 'P',
  internalPosition: 'p',
  internalQuery: 'q',
  where: 'W',
  schema: 's',
  table: 't',
  column: 'c',
  dataType: 'd',
  constraint: 'n',
  file: 'F',
  line: 'L',
  routine: 'R',
} as const satisfies Record<keyof ServerErrorFields, string>

/** One column that a server makes up itself; text, of the type `text`. */
const textOid = 25

/** ErrorResponse. */
export function writeErrorResponse(out: WireWriter, said: ServerErrorFields): void {
  writeSaid(out, backendCode.errorResponse, said)
}

/** NoticeResponse. */
export function writeNoticeResponse(out: WireWriter, said: ServerErrorFields): void {
  writeSaid(out, backendCode.noticeResponse, said)
}

function writeSaid(out: WireWriter, type: number, said: ServerErrorFields): void {
  const offset = out.begin(type)
  const field = (letter: string, value: string): void => {
    out.uint8(letter.charCodeAt(0))
    // A zero would end the field early, and the rest would be read as another one.
    out.cstring(value.replaceAll('\0', ' '))
  }
  field('S', said.severity)
  for (const name of Object.keys(letters) as (keyof ServerErrorFields)[]) {
    const value = said[name]
    if (value !== undefined) field(letters[name], String(value))
  }
  out.uint8(0)
  out.end(offset)
}

/** ReadyForQuery with the state of the transaction. */
export function writeReadyForQuery(out: WireWriter, status: 'I' | 'T' | 'E'): void {
  const offset = out.begin(backendCode.readyForQuery)
  out.uint8(status.charCodeAt(0))
  out.end(offset)
}

/** CommandComplete. */
export function writeCommandComplete(out: WireWriter, tag: string): void {
  const offset = out.begin(backendCode.commandComplete)
  out.cstring(tag)
  out.end(offset)
}

/** A message without a body: ParseComplete, BindComplete, CloseComplete, NoData, EmptyQueryResponse. */
export function writeBare(out: WireWriter, type: number): void {
  out.end(out.begin(type))
}

/** ParameterStatus. */
export function writeParameterStatus(out: WireWriter, name: string, value: string): void {
  const offset = out.begin(backendCode.parameterStatus)
  out.cstring(name)
  out.cstring(value)
  out.end(offset)
}

/** BackendKeyData: 4 bytes of key in protocol 3.0, up to 256 from 3.2 on. */
export function writeBackendKeyData(out: WireWriter, processId: number, secretKey: Uint8Array): void {
  const offset = out.begin(backendCode.backendKeyData)
  out.int32(processId)
  out.raw(secretKey)
  out.end(offset)
}

/** NegotiateProtocolVersion: the newest version spoken, and options that are not known. */
export function writeNegotiateVersion(
  out: WireWriter,
  protocol: number,
  unknownOptions: readonly string[],
): void {
  const offset = out.begin(backendCode.negotiateProtocolVersion)
  out.int32(protocol)
  out.int32(unknownOptions.length)
  for (const name of unknownOptions) out.cstring(name)
  out.end(offset)
}

/** NotificationResponse. */
export function writeNotification(
  out: WireWriter,
  { processId, channel, payload }: { processId: number; channel: string; payload: string },
): void {
  const offset = out.begin(backendCode.notificationResponse)
  out.int32(processId)
  out.cstring(channel)
  out.cstring(payload)
  out.end(offset)
}

/** AuthenticationOk. */
export function writeAuthenticationOk(out: WireWriter): void {
  const offset = out.begin(backendCode.authentication)
  out.int32(authenticationCode.ok)
  out.end(offset)
}

/** AuthenticationCleartextPassword. */
export function writeAuthenticationCleartext(out: WireWriter): void {
  const offset = out.begin(backendCode.authentication)
  out.int32(authenticationCode.cleartextPassword)
  out.end(offset)
}

/** AuthenticationSASL with the mechanisms offered, the best first. */
export function writeAuthenticationSasl(out: WireWriter, mechanisms: readonly string[]): void {
  const offset = out.begin(backendCode.authentication)
  out.int32(authenticationCode.sasl)
  for (const mechanism of mechanisms) out.cstring(mechanism)
  out.uint8(0)
  out.end(offset)
}

/** AuthenticationSASLContinue or AuthenticationSASLFinal. */
export function writeAuthenticationSaslText(out: WireWriter, kind: 'continue' | 'final', text: string): void {
  const offset = out.begin(backendCode.authentication)
  out.int32(kind === 'continue' ? authenticationCode.saslContinue : authenticationCode.saslFinal)
  out.utf8(text)
  out.end(offset)
}

/** RowDescription of text columns that no table has. */
export function writeTextColumns(out: WireWriter, names: readonly string[]): void {
  const offset = out.begin(backendCode.rowDescription)
  out.int16(names.length)
  for (const name of names) {
    out.cstring(name)
    out.int32(0)
    out.int16(0)
    out.int32(textOid)
    out.int16(-1)
    out.int32(-1)
    out.int16(0)
  }
  out.end(offset)
}

/** DataRow of texts and NULLs. */
export function writeTextRow(out: WireWriter, values: readonly (string | null)[]): void {
  const offset = out.begin(backendCode.dataRow)
  out.int16(values.length)
  for (const value of values) {
    if (value === null) out.int32(-1)
    else out.lengthAndUtf8(value)
  }
  out.end(offset)
}

/** ParameterDescription of a statement that takes no parameters. */
export function writeNoParameters(out: WireWriter): void {
  const offset = out.begin(backendCode.parameterDescription)
  out.int16(0)
  out.end(offset)
}
