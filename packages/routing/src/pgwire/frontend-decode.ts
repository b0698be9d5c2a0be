// Decoders of what a client says: for whoever plays the server, and for tests of the encoders.
import { frontendCode, messageHeaderBytes, requestCode, startupHeaderBytes } from './codes.ts'
import { Cursor } from './cursor.ts'
import type { FormatCode, ObjectKind } from './frontend.ts'
import { protocolViolation } from './violation.ts'

/** Largest number of parameters in a startup message. */
const startupParametersMax = 256

/** A message without a type byte, which opens a connection. */
export type StartupRequest =
  | {
      readonly kind: 'startup'
      readonly major: number
      readonly minor: number
      readonly parameters: ReadonlyMap<string, string>
    }
  | { readonly kind: 'ssl' }
  | { readonly kind: 'gss-encryption' }
  | { readonly kind: 'cancel'; readonly processId: number; readonly secretKey: Uint8Array }

/** A message with a type byte. Values are copies. */
export type FrontendMessage =
  | {
      readonly kind: 'parse'
      readonly name: string
      readonly text: string
      readonly paramTypes: readonly number[]
    }
  | {
      readonly kind: 'bind'
      readonly portal: string
      readonly statement: string
      readonly paramFormats: readonly FormatCode[]
      readonly params: readonly (Uint8Array | null)[]
      readonly resultFormats: readonly FormatCode[]
    }
  | { readonly kind: 'describe' | 'close'; readonly object: ObjectKind; readonly name: string }
  | { readonly kind: 'execute'; readonly portal: string; readonly rowsMax: number }
  | { readonly kind: 'query'; readonly text: string }
  | { readonly kind: 'password' | 'copy-data'; readonly body: Uint8Array }
  | { readonly kind: 'copy-fail'; readonly reason: string }
  | { readonly kind: 'copy-done' | 'flush' | 'sync' | 'terminate' }

/**
 * A startup message, an encryption request or a cancel request in `buf[start, end)`.
 * @throws FleetError `protocol_violation`
 */
export function decodeStartupRequest(buf: Buffer, start: number, end: number): StartupRequest {
  const cursor = new Cursor(buf, start + startupHeaderBytes, end)
  const code = cursor.int32()
  switch (code) {
    case requestCode.ssl:
      cursor.done()
      return { kind: 'ssl' }
    case requestCode.gssEncryption:
      cursor.done()
      return { kind: 'gss-encryption' }
    case requestCode.cancel:
      return { kind: 'cancel', processId: cursor.int32(), secretKey: cursor.rest() }
    default:
      return {
        kind: 'startup',
        major: code >> 16,
        minor: code & 0xffff,
        parameters: startupParameters(cursor),
      }
  }
}

function startupParameters(cursor: Cursor): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>()
  for (let name = cursor.cstring(); name !== ''; name = cursor.cstring()) {
    if (parameters.size >= startupParametersMax) throw protocolViolation('too many startup parameters')
    parameters.set(name, cursor.cstring())
  }
  cursor.done()
  return parameters
}

/**
 * Any message with a type byte in `buf[start, end)`.
 * @throws FleetError `protocol_violation`
 */
export function decodeFrontend(type: number, buf: Buffer, start: number, end: number): FrontendMessage {
  const cursor = new Cursor(buf, start + messageHeaderBytes, end)
  const message = decodeBody(type, cursor)
  cursor.done()
  return message
}

// eslint-disable-next-line complexity -- one flat case a message
function decodeBody(type: number, cursor: Cursor): FrontendMessage {
  switch (type) {
    case frontendCode.parse:
      return { kind: 'parse', name: cursor.cstring(), text: cursor.cstring(), paramTypes: typeOids(cursor) }
    case frontendCode.bind:
      return decodeBind(cursor)
    case frontendCode.describe:
      return { kind: 'describe', object: objectKind(cursor), name: cursor.cstring() }
    case frontendCode.close:
      return { kind: 'close', object: objectKind(cursor), name: cursor.cstring() }
    case frontendCode.execute:
      return { kind: 'execute', portal: cursor.cstring(), rowsMax: cursor.int32() }
    case frontendCode.query:
      return { kind: 'query', text: cursor.cstring() }
    case frontendCode.password:
      return { kind: 'password', body: cursor.rest() }
    case frontendCode.copyData:
      return { kind: 'copy-data', body: cursor.rest() }
    case frontendCode.copyFail:
      return { kind: 'copy-fail', reason: cursor.cstring() }
    case frontendCode.copyDone:
      return { kind: 'copy-done' }
    case frontendCode.flush:
      return { kind: 'flush' }
    case frontendCode.sync:
      return { kind: 'sync' }
    case frontendCode.terminate:
      return { kind: 'terminate' }
    default:
      throw protocolViolation(`a message of the unknown type ${String(type)}`)
  }
}

function typeOids(cursor: Cursor): readonly number[] {
  return list(cursor, 4, () => cursor.uint32())
}

function decodeBind(cursor: Cursor): FrontendMessage {
  return {
    kind: 'bind',
    portal: cursor.cstring(),
    statement: cursor.cstring(),
    paramFormats: list(cursor, 2, () => formatCode(cursor)),
    params: list(cursor, 4, () => parameter(cursor)),
    resultFormats: list(cursor, 2, () => formatCode(cursor)),
  }
}

/** A 16-bit count, then that many items of at least `itemBytes`, so that a count alone costs no memory. */
function list<T>(cursor: Cursor, itemBytes: number, item: () => T): readonly T[] {
  const count = cursor.uint16()
  if (count * itemBytes > cursor.left) throw protocolViolation('a message ends too early')
  return Array.from({ length: count }, item)
}

function parameter(cursor: Cursor): Uint8Array | null {
  const length = cursor.int32()
  if (length < -1) throw protocolViolation(`a parameter claims ${String(length)} bytes`)
  return length === -1 ? null : cursor.bytes(length)
}

function formatCode(cursor: Cursor): FormatCode {
  const code = cursor.int16()
  if (code === 0 || code === 1) return code
  throw protocolViolation(`${String(code)} is not a format`)
}

function objectKind(cursor: Cursor): ObjectKind {
  const kind = String.fromCharCode(cursor.uint8())
  if (kind === 'S' || kind === 'P') return kind
  throw protocolViolation('neither a statement nor a portal')
}
