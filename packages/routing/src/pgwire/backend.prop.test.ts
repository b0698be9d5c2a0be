import { isFleetError } from '@fleetshard/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as backend from './backend.ts'
import { backendCode } from './codes.ts'
import { MessageSplitter } from './framing.ts'
import {
  commandComplete,
  dataRow,
  errorResponse,
  message,
  readyForQuery,
  rowDescription,
  wireField,
  wireText,
} from './testing.ts'

/** The message at an odd place of a larger buffer, as it lies in a chunk. */
function at<T>(bytes: Buffer, decode: (buf: Buffer, start: number, end: number) => T): T {
  const buf = Buffer.concat([Buffer.from([1, 2, 3]), bytes, Buffer.from([0xff, 0, 0xff])])
  return decode(buf, 3, 3 + bytes.length)
}

describe('a decoder reads what a server wrote', () => {
  it('RowDescription', () => {
    fc.assert(
      fc.property(fc.array(wireField, { maxLength: 20 }), (fields) => {
        expect(at(rowDescription(fields), backend.decodeRowDescription)).toEqual(fields)
      }),
    )
  })

  it('DataRow, value by value', () => {
    const reader = new backend.DataRowReader()
    fc.assert(
      fc.property(fc.array(fc.option(wireText), { maxLength: 40 }), (values) => {
        const seen = at(dataRow(values), (buf, start, end) => {
          expect(reader.open(buf, start, end)).toBe(values.length)
          const texts: (string | null)[] = []
          while (reader.next()) texts.push(reader.text())
          return texts
        })
        expect(seen).toEqual(values)
      }),
    )
  })

  it('error fields, each in its place', () => {
    const letters = 'VCMDHPpqWstcdnFLR'
    const names = [
      'severity',
      'code',
      'message',
      'detail',
      'hint',
      'position',
      'internalPosition',
      'internalQuery',
      'where',
      'schema',
      'table',
      'column',
      'dataType',
      'constraint',
      'file',
      'line',
      'routine',
    ]
    fc.assert(
      fc.property(
        fc.array(wireText, { minLength: 17, maxLength: 17 }),
        fc.nat(999_999_999),
        (texts, number) => {
          const fields: Record<string, string> = { S: 'FEHLER' }
          const expected: Record<string, string | number> = {}
          for (const [index, letter] of letters.split('').entries()) {
            const numeric = 'PpL'.includes(letter)
            const name = names[index] as string
            fields[letter] = numeric ? String(number) : `${texts[index] as string}x`
            expected[name] = numeric ? number : `${texts[index] as string}x`
          }
          const bytes = errorResponse(fields)
          expect(at(bytes, backend.decodeServerError)).toEqual(expected)
          expect(at(bytes, backend.decodeSqlstate)).toBe(expected['code'])
        },
      ),
    )
  })

  it('an error without the untranslated severity, and with fields of later versions', () => {
    const bytes = errorResponse({ S: 'FATAL', C: '57P01', M: 'bye', '?': 'new' })
    expect(at(bytes, backend.decodeServerError)).toEqual({ severity: 'FATAL', code: '57P01', message: 'bye' })
    expect(at(errorResponse({ S: 'SCHLIMM', V: 'FATAL', C: '57P01', M: 'bye' }), backend.isFatalError)).toBe(
      true,
    )
    expect(at(errorResponse({ S: 'FEHLER', V: 'ERROR', C: '42601', M: 'FATAL' }), backend.isFatalError)).toBe(
      false,
    )
  })

  it.each([
    ['INSERT 0 12', 12],
    ['SELECT 0', 0],
    ['UPDATE 4294967296', 4_294_967_296],
    ['COPY 10', 10],
    ['CREATE TABLE', null],
    ['BEGIN', null],
    ['', null],
    ['7', null],
  ])('the row count of %j', (tag, count) => {
    expect(at(commandComplete(tag), backend.decodeRowCount)).toBe(count)
    expect(at(commandComplete(tag), backend.decodeCommandTag)).toBe(tag)
  })

  it('keys of 4 and of 256 bytes, and refuses others', () => {
    for (const length of [4, 32, 256]) {
      const key = Buffer.alloc(length, 7)
      const bytes = message(backendCode.backendKeyData, (out) => {
        out.int32(4711)
        out.raw(key)
      })
      expect(at(bytes, backend.decodeBackendKeyData)).toEqual({ processId: 4711, secretKey: key })
    }
    for (const length of [0, 3, 257]) {
      const bytes = message(backendCode.backendKeyData, (out) => {
        out.int32(1)
        out.raw(new Uint8Array(length))
      })
      expect(() => at(bytes, backend.decodeBackendKeyData)).toThrow(/cancel key/)
    }
  })

  it('states, settings, notifications, parameter types, copy responses, version negotiation', () => {
    for (const status of ['I', 'T', 'E'] as const)
      expect(at(readyForQuery(status), backend.decodeReadyForQuery)).toBe(status)
    fc.assert(
      fc.property(
        wireText,
        wireText,
        fc.integer(),
        fc.array(fc.nat(0xffffffff)),
        (first, second, number, oids) => {
          const status = message(backendCode.parameterStatus, (out) => {
            out.cstring(first)
            out.cstring(second)
          })
          expect(at(status, backend.decodeParameterStatus)).toEqual({ name: first, value: second })
          const notification = message(backendCode.notificationResponse, (out) => {
            out.int32(number)
            out.cstring(first)
            out.cstring(second)
          })
          expect(at(notification, backend.decodeNotification)).toEqual({
            processId: number,
            channel: first,
            payload: second,
          })
          const types = message(backendCode.parameterDescription, (out) => {
            out.int16(oids.length)
            for (const oid of oids) out.int32(oid)
          })
          expect(at(types, backend.decodeParameterDescription)).toEqual(oids)
          const copy = message(backendCode.copyInResponse, (out) => {
            out.uint8(1)
            out.int16(2)
            out.int16(0)
            out.int16(1)
          })
          expect(at(copy, backend.decodeCopyResponse)).toEqual({ format: 1, columnFormats: [0, 1] })
          const negotiation = message(backendCode.negotiateProtocolVersion, (out) => {
            out.int32(196_609)
            out.int32(2)
            out.cstring(first)
            out.cstring(second)
          })
          expect(at(negotiation, backend.decodeNegotiateVersion)).toEqual({
            minor: 1,
            unknownOptions: [first, second],
          })
        },
      ),
    )
  })

  it('requests for authentication', () => {
    const request = (code: number, ...parts: readonly string[]): backend.AuthenticationRequest =>
      at(
        message(backendCode.authentication, (out) => {
          out.int32(code)
          for (const part of parts) out.raw(Buffer.from(part))
        }),
        backend.decodeAuthentication,
      )
    expect(request(0)).toEqual({ kind: 'ok' })
    expect(request(3)).toEqual({ kind: 'cleartext' })
    expect(request(5, 'salt')).toEqual({ kind: 'md5', salt: Buffer.from('salt') })
    expect(request(10, 'SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0')).toEqual({
      kind: 'sasl',
      mechanisms: ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'],
    })
    expect(request(11, 'r=x')).toEqual({ kind: 'sasl-continue', text: 'r=x' })
    expect(request(12, 'v=x')).toEqual({ kind: 'sasl-final', text: 'v=x' })
    expect(request(7)).toEqual({ kind: 'unsupported', code: 7 })
    expect(() => request(5, 'sal')).toThrow(/too early/)
    expect(() => request(10, 'SCRAM-SHA-256')).toThrow(/without its end/)
  })
})

type Decoder = (buf: Buffer, start: number, end: number) => unknown

function readRow(buf: Buffer, start: number, end: number): void {
  const reader = new backend.DataRowReader()
  reader.open(buf, start, end)
  while (reader.next()) reader.text()
}

const decoders: Readonly<Record<number, Decoder>> = {
  [backendCode.rowDescription]: backend.decodeRowDescription,
  [backendCode.dataRow]: readRow,
  [backendCode.commandComplete]: backend.decodeCommandTag,
  [backendCode.errorResponse]: backend.decodeServerError,
  [backendCode.noticeResponse]: backend.decodeServerError,
  [backendCode.readyForQuery]: backend.decodeReadyForQuery,
  [backendCode.authentication]: backend.decodeAuthentication,
  [backendCode.backendKeyData]: backend.decodeBackendKeyData,
  [backendCode.parameterStatus]: backend.decodeParameterStatus,
  [backendCode.parameterDescription]: backend.decodeParameterDescription,
  [backendCode.copyOutResponse]: backend.decodeCopyResponse,
  [backendCode.negotiateProtocolVersion]: backend.decodeNegotiateVersion,
  [backendCode.notificationResponse]: backend.decodeNotification,
}

describe('a decoder of a server survives', () => {
  it('20,000 mutated streams: every message is read or is a protocol_violation, and nothing reads past its end', () => {
    const field = {
      name: 'a',
      tableOid: 1,
      columnNumber: 1,
      typeOid: 25,
      typeSize: -1,
      typeModifier: -1,
      format: 0 as const,
    }
    const stream = Buffer.concat([
      rowDescription([field, field]),
      dataRow(['value', null]),
      dataRow(['', 'ä']),
      commandComplete('SELECT 2'),
      errorResponse({ S: 'ERROR', V: 'ERROR', C: '23505', M: 'duplicate', P: '12' }),
      readyForQuery('I'),
    ])
    let read = 0
    let refused = 0
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(stream.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 200 }),
        (changes, size) => {
          const mutated = Buffer.from(stream)
          for (const [index, byte] of changes) mutated[index] = byte
          try {
            const splitter = new MessageSplitter({
              acceptsPieces: () => false,
              message: (type, buf, start, end) => {
                decoders[type]?.(buf, start, end)
                backend.decodeRowCount(buf, start, end)
                backend.decodeSqlstate(buf, start, end)
                read += 1
              },
              piece: () => undefined,
            })
            for (let from = 0; from < mutated.length; from += size) {
              splitter.feed(mutated, from, Math.min(from + size, mutated.length))
            }
          } catch (error) {
            if (!isFleetError(error, 'protocol_violation')) throw error
            refused += 1
          }
        },
      ),
      { numRuns: 20_000 },
    )
    // Both must happen, or the mutations prove nothing.
    expect(read).toBeGreaterThan(20_000)
    expect(refused).toBeGreaterThan(2_000)
  })
})
