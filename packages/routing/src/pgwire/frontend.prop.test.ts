import { isFleetError } from '@fleetshard/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parametersMax, requestCode } from './codes.ts'
import { MessageSplitter } from './framing.ts'
import * as frontend from './frontend.ts'
import {
  decodeFrontend,
  decodeStartupRequest,
  type FrontendMessage,
  type StartupRequest,
} from './frontend-decode.ts'
import { wireText } from './testing.ts'
import { WireWriter } from './writer.ts'

/** Everything that one writer call wrote, decoded again. */
function decoded(write: (out: WireWriter) => void): FrontendMessage[] {
  const out = new WireWriter()
  write(out)
  const messages: FrontendMessage[] = []
  const splitter = new MessageSplitter({
    acceptsPieces: () => false,
    message: (type, buf, start, end) => messages.push(decodeFrontend(type, buf, start, end)),
    piece: () => {
      throw new Error('no pieces were accepted')
    },
  })
  splitter.feed(out.bytes())
  expect(splitter.heldBytes).toBe(0)
  return messages
}

function decodedStartup(write: (out: WireWriter) => void): StartupRequest {
  const out = new WireWriter()
  write(out)
  const bytes = out.bytes()
  expect(bytes.readInt32BE(0)).toBe(bytes.length)
  return decodeStartupRequest(bytes, 0, bytes.length)
}

const oids = fc.array(fc.nat(0xffffffff), { maxLength: 20 })
const value = fc.oneof(wireText, fc.constant(null), fc.uint8Array({ maxLength: 100 }))
const formats = fc.array(fc.constantFrom(0 as const, 1 as const), { maxLength: 5 })

/** Values as a decoder sees them: bytes and nulls. */
const asBytes = (params: readonly frontend.ParameterValue[]): (Buffer | null)[] =>
  params.map((param) => (param === null ? null : Buffer.from(param as string)))
const asFormats = (params: readonly frontend.ParameterValue[]): number[] =>
  params.some((param) => param instanceof Uint8Array)
    ? params.map((param) => (param instanceof Uint8Array ? 1 : 0))
    : []

describe('what an encoder writes, a decoder reads', () => {
  it('Parse', () => {
    fc.assert(
      fc.property(wireText, wireText, oids, (name, text, paramTypes) => {
        expect(decoded((out) => frontend.writeParse(out, name, text, paramTypes))).toEqual([
          { kind: 'parse', name, text, paramTypes },
        ])
      }),
    )
  })

  it('Bind', () => {
    fc.assert(
      fc.property(
        wireText,
        wireText,
        fc.array(value, { maxLength: 12 }),
        formats,
        (portal, statement, params, resultFormats) => {
          expect(
            decoded((out) => frontend.writeBind(out, { portal, statement, params, resultFormats })),
          ).toEqual([
            {
              kind: 'bind',
              portal,
              statement,
              resultFormats,
              paramFormats: asFormats(params),
              params: asBytes(params),
            },
          ])
        },
      ),
    )
  })

  it('a whole extended group', () => {
    const group = fc.record({
      statement: wireText,
      parse: fc.option(fc.record({ text: wireText, paramTypes: oids }), { nil: undefined }),
      params: fc.array(value, { maxLength: 12 }),
      resultFormat: fc.constantFrom(0 as const, 1 as const),
      describe: fc.boolean(),
    })
    fc.assert(
      fc.property(group, ({ parse, ...rest }) => {
        const messages = decoded((out) => {
          frontend.writeExtendedGroup(out, { ...rest, ...(parse === undefined ? {} : { parse }) })
        })
        const { statement, params, resultFormat } = rest
        expect(messages).toEqual([
          ...(parse === undefined ? [] : [{ kind: 'parse', name: statement, ...parse }]),
          {
            kind: 'bind',
            portal: '',
            statement,
            paramFormats: asFormats(params),
            params: asBytes(params),
            resultFormats: resultFormat === 1 ? [1] : [],
          },
          ...(rest.describe ? [{ kind: 'describe', object: 'P', name: '' }] : []),
          { kind: 'execute', portal: '', rowsMax: 0 },
          { kind: 'sync' },
        ])
      }),
    )
  })

  it('texts of any length and alphabet', () => {
    fc.assert(
      fc.property(wireText, fc.nat(400), (unit, times) => {
        const text = unit.repeat(times)
        expect(decoded((out) => frontend.writeQuery(out, text))).toEqual([{ kind: 'query', text }])
      }),
      { numRuns: 50 },
    )
  })

  it('the small ones', () => {
    fc.assert(
      fc.property(wireText, fc.nat(0x7fffffff), fc.uint8Array({ maxLength: 200 }), (name, rowsMax, bytes) => {
        const messages = decoded((out) => {
          frontend.writeDescribe(out, 'S', name)
          frontend.writeClose(out, 'P', name)
          frontend.writeExecute(out, name, rowsMax)
          frontend.writeCopyData(out, bytes)
          frontend.writeCopyFail(out, name)
          frontend.writeSaslResponse(out, name)
          frontend.writePassword(out, name)
          frontend.writeCopyDone(out)
          frontend.writeFlush(out)
          frontend.writeSync(out)
          frontend.writeTerminate(out)
        })
        expect(messages).toEqual([
          { kind: 'describe', object: 'S', name },
          { kind: 'close', object: 'P', name },
          { kind: 'execute', portal: name, rowsMax },
          { kind: 'copy-data', body: Buffer.from(bytes) },
          { kind: 'copy-fail', reason: name },
          { kind: 'password', body: Buffer.from(name) },
          { kind: 'password', body: Buffer.from(`${name}\0`) },
          { kind: 'copy-done' },
          { kind: 'flush' },
          { kind: 'sync' },
          { kind: 'terminate' },
        ])
      }),
    )
  })

  it('the messages that open a connection', () => {
    const settings = fc.dictionary(
      wireText.filter((name) => name !== '' && name !== '__proto__'),
      wireText,
      { maxKeys: 8, noNullPrototype: true },
    )
    fc.assert(
      fc.property(
        settings,
        fc.integer(),
        fc.uint8Array({ minLength: 4, maxLength: 256 }),
        (parameters, processId, key) => {
          expect(
            decodedStartup((out) => frontend.writeStartup(out, parameters, requestCode.protocol32)),
          ).toEqual({
            kind: 'startup',
            major: 3,
            minor: 2,
            parameters: new Map(Object.entries(parameters)),
          })
          expect(decodedStartup((out) => frontend.writeCancelRequest(out, processId, key))).toEqual({
            kind: 'cancel',
            processId,
            secretKey: Buffer.from(key),
          })
        },
      ),
    )
    expect(decodedStartup(frontend.writeSslRequest)).toEqual({ kind: 'ssl' })
  })
})

describe('an encoder refuses', () => {
  const refused = (write: (out: WireWriter) => void): unknown => {
    try {
      write(new WireWriter())
      return null
    } catch (error) {
      return error
    }
  }

  it('a zero byte in a text that ends with one', () => {
    expect(
      isFleetError(
        refused((out) => frontend.writeQuery(out, 'select 1\0; drop table t')),
        'invalid_request',
      ),
    ).toBe(true)
    expect(
      isFleetError(
        refused((out) => frontend.writeStartup(out, { user: 'a\0database' })),
        'invalid_request',
      ),
    ).toBe(true)
  })

  it('more parameters than the count can tell', () => {
    const params = Array.from({ length: parametersMax + 1 }, () => null)
    const error = refused((out) => frontend.writeUnnamedBind(out, '', params, 0))
    expect(isFleetError(error, 'invalid_request')).toBe(true)
    expect(refused((out) => frontend.writeUnnamedBind(out, '', params.slice(1), 0))).toBeNull()
  })
})

describe('a decoder of a client survives', () => {
  it('20,000 mutated messages: it answers or says protocol_violation', () => {
    const out = new WireWriter()
    frontend.writeParse(out, 'name', 'select $1', [23, 25])
    frontend.writeBind(out, {
      portal: 'p',
      statement: 's',
      params: ['a', null, new Uint8Array(9)],
      resultFormats: [0, 1],
    })
    frontend.writeDescribe(out, 'S', 's')
    frontend.writeExecute(out, 'p', 5)
    const stream = Buffer.from(out.bytes())
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(stream.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        (changes) => {
          const mutated = Buffer.from(stream)
          for (const [at, byte] of changes) mutated[at] = byte
          try {
            const splitter = new MessageSplitter({
              acceptsPieces: () => false,
              message: (type, buf, start, end) => void decodeFrontend(type, buf, start, end),
              piece: () => undefined,
            })
            splitter.feed(mutated)
            decodeStartupRequest(mutated, 0, mutated.length)
          } catch (error) {
            if (!isFleetError(error, 'protocol_violation')) throw error
          }
        },
      ),
      { numRuns: 20_000 },
    )
  })
})
