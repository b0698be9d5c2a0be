// What a client says to a server: encoders of all frontend messages of protocol 3, written into a WireWriter.
// Formats: PostgreSQL documentation, chapter 55, "Message Formats".
import { FleetError } from '@fleetshard/core'
import { frontendCode, parametersMax, requestCode } from './codes.ts'
import type { WireWriter } from './writer.ts'

/** A parameter value: strings travel in text format, bytes in binary format, null as NULL. */
export type ParameterValue = string | null | Uint8Array
/** 0 text, 1 binary. */
export type FormatCode = 0 | 1
/** `S` a prepared statement, `P` a portal. */
export type ObjectKind = 'S' | 'P'

/** Bind with all that it may say. */
export interface BindMessage {
  readonly portal: string
  readonly statement: string
  readonly params: readonly ParameterValue[]
  /** None: all text. One: for all columns. Else one a column. */
  readonly resultFormats: readonly FormatCode[]
}

// Execute of the unnamed portal without a row limit, then Sync.
const executeAndSync = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0x53, 0, 0, 0, 4])
const describePortal = Buffer.from([0x44, 0, 0, 0, 6, 0x50, 0])
const sync = Buffer.from([0x53, 0, 0, 0, 4])
const flush = Buffer.from([0x48, 0, 0, 0, 4])
const terminate = Buffer.from([0x58, 0, 0, 0, 4])
const copyDone = Buffer.from([0x63, 0, 0, 0, 4])

/** StartupMessage; `parameters` hold `user`, `database` and settings. */
export function writeStartup(
  out: WireWriter,
  parameters: Readonly<Record<string, string>>,
  protocol: number = requestCode.protocol30,
): void {
  const offset = out.beginUntyped()
  out.int32(protocol)
  for (const [name, value] of Object.entries(parameters)) {
    out.cstring(name)
    out.cstring(value)
  }
  out.uint8(0)
  out.endUntyped(offset)
}

/** SSLRequest: the server answers with one byte, `S` or `N`. */
export function writeSslRequest(out: WireWriter): void {
  const offset = out.beginUntyped()
  out.int32(requestCode.ssl)
  out.endUntyped(offset)
}

/** CancelRequest, the only message of its connection. */
export function writeCancelRequest(out: WireWriter, processId: number, secretKey: Uint8Array): void {
  const offset = out.beginUntyped()
  out.int32(requestCode.cancel)
  out.int32(processId)
  out.raw(secretKey)
  out.endUntyped(offset)
}

/** PasswordMessage, cleartext or the md5 answer. */
export function writePassword(out: WireWriter, password: string): void {
  const offset = out.begin(frontendCode.password)
  out.cstring(password)
  out.end(offset)
}

/** SASLInitialResponse with the mechanism chosen. */
export function writeSaslInitial(out: WireWriter, mechanism: string, response: string): void {
  const offset = out.begin(frontendCode.password)
  out.cstring(mechanism)
  out.lengthAndUtf8(response)
  out.end(offset)
}

/** SASLResponse. */
export function writeSaslResponse(out: WireWriter, response: string): void {
  const offset = out.begin(frontendCode.password)
  out.utf8(response)
  out.end(offset)
}

/** Simple Query: one or more statements. */
export function writeQuery(out: WireWriter, text: string): void {
  const offset = out.begin(frontendCode.query)
  out.cstring(text)
  out.end(offset)
}

/** Parse; type 0 leaves a parameter's type to the server. */
export function writeParse(
  out: WireWriter,
  name: string,
  text: string,
  paramTypes: readonly number[] = [],
): void {
  checkCount(paramTypes.length)
  const offset = out.begin(frontendCode.parse)
  out.cstring(name)
  out.cstring(text)
  out.int16(paramTypes.length)
  for (const type of paramTypes) out.int32(type)
  out.end(offset)
}

/** Bind in its full form. */
export function writeBind(out: WireWriter, bind: BindMessage): void {
  checkCount(bind.params.length)
  checkCount(bind.resultFormats.length)
  const offset = out.begin(frontendCode.bind)
  out.cstring(bind.portal)
  out.cstring(bind.statement)
  writeParameters(out, bind.params)
  out.int16(bind.resultFormats.length)
  for (const format of bind.resultFormats) out.int16(format)
  out.end(offset)
}

/** Describe of a statement or a portal. */
export function writeDescribe(out: WireWriter, kind: ObjectKind, name: string): void {
  writeObject(out, frontendCode.describe, kind, name)
}

/** Close of a statement or a portal; closing what does not exist is no error. */
export function writeClose(out: WireWriter, kind: ObjectKind, name: string): void {
  writeObject(out, frontendCode.close, kind, name)
}

function writeObject(out: WireWriter, code: number, kind: ObjectKind, name: string): void {
  const offset = out.begin(code)
  out.uint8(kind.charCodeAt(0))
  out.cstring(name)
  out.end(offset)
}

/** Execute; `rowsMax` 0 means all rows. */
export function writeExecute(out: WireWriter, portal: string, rowsMax = 0): void {
  const offset = out.begin(frontendCode.execute)
  out.cstring(portal)
  out.int32(rowsMax)
  out.end(offset)
}

export function writeSync(out: WireWriter): void {
  out.raw(sync)
}

export function writeFlush(out: WireWriter): void {
  out.raw(flush)
}

export function writeTerminate(out: WireWriter): void {
  out.raw(terminate)
}

/** CopyData: any bytes, rows need not be aligned to messages. */
export function writeCopyData(out: WireWriter, bytes: Uint8Array): void {
  const offset = out.begin(frontendCode.copyData)
  out.raw(bytes)
  out.end(offset)
}

export function writeCopyDone(out: WireWriter): void {
  out.raw(copyDone)
}

/** CopyFail: the server answers the COPY with an error that quotes `reason`. */
export function writeCopyFail(out: WireWriter, reason: string): void {
  const offset = out.begin(frontendCode.copyFail)
  out.cstring(reason)
  out.end(offset)
}

/** One execution through the unnamed portal, all in one go. */
export interface ExtendedGroup {
  readonly statement: string
  /** With a text, Parse comes first. */
  readonly parse?: { readonly text: string; readonly paramTypes: readonly number[] }
  readonly params: readonly ParameterValue[]
  /** For all columns. */
  readonly resultFormat: FormatCode
  /** Whether the portal is described before it runs. */
  readonly describe: boolean
}

/** [Parse] + Bind + [Describe] + Execute + Sync. */
export function writeExtendedGroup(out: WireWriter, group: ExtendedGroup): void {
  if (group.parse !== undefined) writeParse(out, group.statement, group.parse.text, group.parse.paramTypes)
  writeUnnamedBind(out, group.statement, group.params, group.resultFormat)
  if (group.describe) out.raw(describePortal)
  out.raw(executeAndSync)
}

/** Bind of the unnamed portal with one format for all columns: the common case, without an object. */
export function writeUnnamedBind(
  out: WireWriter,
  statement: string,
  params: readonly ParameterValue[],
  resultFormat: FormatCode,
): void {
  checkCount(params.length)
  const offset = out.begin(frontendCode.bind)
  out.uint8(0)
  out.cstring(statement)
  writeParameters(out, params)
  out.int16(resultFormat)
  if (resultFormat === 1) out.int16(1)
  out.end(offset)
}

/** Execute of the unnamed portal without a limit, and Sync. */
export function writeExecuteAndSync(out: WireWriter): void {
  out.raw(executeAndSync)
}

/** Formats and values as Bind has them: no format codes when all is text, else one for each. */
function writeParameters(out: WireWriter, params: readonly ParameterValue[]): void {
  const count = params.length
  if (params.some(isBinary)) {
    out.int16(count)
    for (const value of params) out.int16(isBinary(value) ? 1 : 0)
  } else out.int16(0)
  out.int16(count)
  for (const value of params) {
    if (value === null) out.int32(-1)
    else if (typeof value === 'string') out.lengthAndUtf8(value)
    else {
      out.int32(value.length)
      out.raw(value)
    }
  }
}

function isBinary(value: ParameterValue): boolean {
  return value !== null && typeof value !== 'string'
}

function checkCount(count: number): void {
  if (count <= parametersMax) return
  throw new FleetError(
    'invalid_request',
    `${String(count)} parameters; the protocol allows ${String(parametersMax)}`,
    {
      hint: 'send several values as one array parameter',
    },
  )
}
