// Encoders of backend messages and arbitraries, for tests of both roles.
import fc from 'fast-check'
import { backendCode } from './codes.ts'
import type { FieldDescription } from './backend.ts'
import { WireWriter } from './writer.ts'

/** A whole message of any type. */
export function message(type: number, body: (out: WireWriter) => void): Buffer {
  const out = new WireWriter()
  const offset = out.begin(type)
  body(out)
  out.end(offset)
  return Buffer.from(out.bytes())
}

export function rowDescription(fields: readonly FieldDescription[]): Buffer {
  return message(backendCode.rowDescription, (out) => {
    out.int16(fields.length)
    for (const field of fields) {
      out.cstring(field.name)
      out.int32(field.tableOid)
      out.int16(field.columnNumber)
      out.int32(field.typeOid)
      out.int16(field.typeSize)
      out.int32(field.typeModifier)
      out.int16(field.format)
    }
  })
}

export function dataRow(values: readonly (string | null)[]): Buffer {
  return message(backendCode.dataRow, (out) => {
    out.int16(values.length)
    for (const value of values) {
      if (value === null) out.int32(-1)
      else out.lengthAndUtf8(value)
    }
  })
}

export function errorResponse(fields: Readonly<Record<string, string>>): Buffer {
  return message(backendCode.errorResponse, (out) => {
    for (const [letter, value] of Object.entries(fields)) {
      out.uint8(letter.charCodeAt(0))
      out.cstring(value)
    }
    out.uint8(0)
  })
}

export function commandComplete(tag: string): Buffer {
  return message(backendCode.commandComplete, (out) => {
    out.cstring(tag)
  })
}

export function readyForQuery(status: 'I' | 'T' | 'E'): Buffer {
  return message(backendCode.readyForQuery, (out) => {
    out.uint8(status.charCodeAt(0))
  })
}

/** Text as it may stand in a message: any Unicode but the zero. */
export const wireText: fc.Arbitrary<string> = fc
  .string({ unit: 'binary', maxLength: 80 })
  .map((text) => text.replaceAll('\0', '0').toWellFormed())

export const wireField: fc.Arbitrary<FieldDescription> = fc.record({
  name: wireText,
  tableOid: fc.nat(0xffffffff),
  columnNumber: fc.integer({ min: -32_768, max: 32_767 }),
  typeOid: fc.nat(0xffffffff),
  typeSize: fc.integer({ min: -32_768, max: 32_767 }),
  typeModifier: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
  format: fc.constantFrom(0 as const, 1 as const),
})
