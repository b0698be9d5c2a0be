// Scripts for connections: what is sent, and which messages a server must answer with. Cases are lists of steps.
import {
  type WireWriter,
  frontendCode,
  writeBind,
  writeClose,
  writeCopyData,
  writeCopyDone,
  writeCopyFail,
  writeDescribe,
  writeExecute,
  writeFlush,
  writeParse,
  writeQuery,
  writeSync,
  type BindMessage,
  type ObjectKind,
} from '@fleetshard/routing/pgwire'
import { written } from './connection.ts'

/** One thing that a script does. Sessions are opened when they are first used; 0 is the usual one. */
export type Step =
  | {
      readonly kind: 'say'
      readonly session: number
      readonly bytes: Buffer
      /**
       * Letters of the messages that must come, as a regular expression: `1 2 T D+ C Z`. Blanks don't count; `!` is
       * the end of the connection. Empty: nothing is read yet.
       */
      readonly answer: string
    }
  /** Waits until the server executes a statement with that text in it. */
  | { readonly kind: 'until-running'; readonly text: string }
  | { readonly kind: 'cancel'; readonly session: number }

/** A script with a name. */
export interface WireCase {
  readonly name: string
  readonly steps: readonly Step[]
  /** Startup parameters of its sessions. */
  readonly parameters?: Readonly<Record<string, string>>
}

/** Sends the messages, reads the answer. */
export function say(messages: readonly Buffer[] | Buffer, answer: string, session = 0): Step {
  const bytes = Buffer.isBuffer(messages) ? messages : Buffer.concat(messages)
  return { kind: 'say', session, bytes, answer }
}

/** Simple query in one step. */
export const ask = (text: string, answer: string, session = 0): Step => say(query(text), answer, session)

export const query = (text: string): Buffer => written((out) => writeQuery(out, text))
export const parse = (name: string, text: string, types: readonly number[] = []): Buffer =>
  written((out) => writeParse(out, name, text, types))
export const bind = (parts: Partial<BindMessage> = {}): Buffer =>
  written((out) => writeBind(out, { portal: '', statement: '', params: [], resultFormats: [], ...parts }))
export const describe = (kind: ObjectKind, name = ''): Buffer =>
  written((out) => writeDescribe(out, kind, name))
export const execute = (portal = '', rowsMax = 0): Buffer =>
  written((out) => writeExecute(out, portal, rowsMax))
export const close = (kind: ObjectKind, name = ''): Buffer => written((out) => writeClose(out, kind, name))
export const sync = written(writeSync)
export const flush = written(writeFlush)
export const copyDone = written(writeCopyDone)
export const copyData = (bytes: string | Uint8Array): Buffer =>
  written((out) => writeCopyData(out, Buffer.from(bytes)))
export const copyFail = (reason: string): Buffer => written((out) => writeCopyFail(out, reason))

/** Any message, also a wrong one. */
export function message(letter: string, body: (out: WireWriter) => void = () => undefined): Buffer {
  return written((out) => {
    const offset = out.begin(letter.charCodeAt(0))
    body(out)
    out.end(offset)
  })
}

/** FunctionCall, by which drivers of C and Java read and write large objects. */
export function functionCall(oid: number, args: readonly string[]): Buffer {
  return message(String.fromCharCode(frontendCode.functionCall), (out) => {
    out.int32(oid)
    out.int16(0)
    out.int16(args.length)
    for (const arg of args) out.lengthAndUtf8(arg)
    out.int16(0)
  })
}

/** Parse, Bind, Describe, Execute, Sync through unnamed objects. */
export function extended(
  text: string,
  params: BindMessage['params'] = [],
  types: readonly number[] = [],
): Buffer {
  return Buffer.concat([parse('', text, types), bind({ params }), describe('P'), execute(), sync])
}
