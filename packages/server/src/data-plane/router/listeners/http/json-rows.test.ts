import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { FieldDescription } from '@fleetshard/routing/pgwire'
import { JsonBuffer } from './json-buffer.ts'
import { JsonRows, type RowsFormat } from './json-rows.ts'

const format: RowsFormat = {
  rowFormat: 'object',
  separator: 'comma',
  int8: 'string',
  rowsMax: 100,
  bytesMax: 10_000,
}

const field = (name: string, typeOid: number): FieldDescription => ({
  name,
  typeOid,
  tableOid: 0,
  columnNumber: 0,
  typeSize: -1,
  typeModifier: -1,
  format: 0,
})

/** A DataRow message with these values in text format. */
function dataRow(values: readonly (string | null)[]): Buffer {
  const parts = values.flatMap((value) => {
    const length = Buffer.alloc(4)
    const bytes = Buffer.from(value ?? '')
    length.writeInt32BE(value === null ? -1 : bytes.length)
    return [length, bytes]
  })
  const head = Buffer.alloc(7)
  const body = Buffer.concat(parts)
  head.write('D')
  head.writeInt32BE(6 + body.length, 1)
  head.writeInt16BE(values.length, 5)
  return Buffer.concat([head, body])
}

function write(
  fields: readonly FieldDescription[],
  rows: readonly (readonly (string | null)[])[],
  as: Partial<RowsFormat> = {},
): unknown {
  const json = new JsonRows({ ...format, ...as })
  json.fields(fields)
  for (const row of rows.map(dataRow)) json.row(row, 0, row.length)
  return JSON.parse(`[${json.buffer.take().toString()}]`)
}

describe('JSON strings', () => {
  it('are those of JSON.stringify, byte for byte in meaning', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const buffer = new JsonBuffer(1)
        const bytes = Buffer.from(text)
        buffer.string(bytes, 0, bytes.length)
        expect(JSON.parse(buffer.take().toString())).toBe(bytes.toString())
      }),
    )
  })
})

describe('rows', () => {
  it('carry each type in its form', () => {
    const cases: [number, string, unknown][] = [
      [23, '-7', -7],
      [20, '9223372036854775807', '9223372036854775807'],
      [1700, '1.50', '1.50'],
      [701, '1e+20', 1e20],
      [701, 'NaN', 'NaN'],
      [701, '-Infinity', '-Infinity'],
      [16, 't', true],
      [16, 'f', false],
      [25, 'a"\\\n\u0001é😀', 'a"\\\n\u0001é😀'],
      [3802, '{"a": [1, null]}', { a: [1, null] }],
      [17, '\\x00ff', 'AP8='],
      [1184, '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00'],
      [1007, '{1,NULL,{2}}', [1, null, [2]]],
      [1016, '{1}', ['1']],
      [1000, '{t,f}', [true, false]],
      [3807, '{"{\\"a\\": 12345678901234567890.5}"}', [{ a: Number('12345678901234567890.5') }]],
      [1001, '{"\\\\x00ff"}', ['AP8=']],
      [1022, '{NaN,1.5}', ['NaN', 1.5]],
      [99_999, 'custom', 'custom'],
    ]
    for (const [oid, text, value] of cases) {
      expect(write([field('v', oid)], [[text], [null]])).toEqual([{ v: value }, { v: null }])
    }
  })

  it('give int8 as numbers where asked and where they fit', () => {
    const rows = [['42'], ['9007199254740993']]
    expect(write([field('v', 20)], rows, { int8: 'number' })).toEqual([{ v: 42 }, { v: '9007199254740993' }])
  })

  it('refuse two columns of one name as objects, and take them as arrays', () => {
    const fields = [field('a', 23), field('a', 23)]
    expect(() => write(fields, [])).toThrow(/two columns/)
    expect(write(fields, [['1', '2']], { rowFormat: 'array' })).toEqual([[1, 2]])
  })

  it('stop at the limits, and begin anew after a reset', () => {
    expect(() => write([field('v', 25)], [['a'], ['b']], { rowsMax: 1 })).toThrow(/more than 1 rows/)
    expect(() => write([field('v', 25)], [['a'.repeat(50)]], { bytesMax: 20 })).toThrow(/more than 20 bytes/)
    const json = new JsonRows(format)
    json.fields([field('v', 23)])
    const row = dataRow(['1'])
    json.row(row, 0, row.length)
    json.reset()
    expect(json.buffer.length).toBe(0)
    expect(json.columns).toBe('[{"name":"v","type":"int4"}]')
  })
})
