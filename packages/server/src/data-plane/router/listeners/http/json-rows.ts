// Rows of one statement as JSON: takes DataRow messages as they come from the shard and writes `rows` of the answer.
import { FleetError } from '@fleetshard/core'
import { DataRowReader, type FieldDescription } from '@fleetshard/routing/pgwire'
import type { RowsConsumer } from '@fleetshard/routing/execute'
import { parseArrayLiteral } from '@fleetshard/routing/execute'
import { JsonBuffer } from './json-buffer.ts'
import { typeShape, type JsonForm } from '@fleetshard/routing/execute'

/** How rows are written, and how many. */
export interface RowsFormat {
  readonly rowFormat: 'object' | 'array'
  /** What stands between rows: a comma, or a line's end in front of each. */
  readonly separator: 'comma' | 'newline'
  readonly int8: 'string' | 'number'
  readonly rowsMax: number
  readonly bytesMax: number
}

interface ColumnWriter {
  /** `"name":` for objects, nothing for arrays; with the comma in front but for the first. */
  readonly prefix: Buffer
  readonly form: JsonForm
  readonly element: number | null
}

const comma = 0x2c
const newline = 0x0a
const backslash = 0x5c
const letterX = 0x78

const notHex = (): FleetError =>
  new FleetError('statement_refused', 'the session does not write bytea in hexadecimal any more', {
    hint: 'leave bytea_output as it is',
  })
const nullText = 'null'
const initialBytes = 512
const int8NumberDigitsMax = 15

/** Writers of a field list are the same each time: kept by the array's identity and the row format. */
const writersKept = {
  object: new WeakMap<readonly FieldDescription[], readonly ColumnWriter[]>(),
  array: new WeakMap<readonly FieldDescription[], readonly ColumnWriter[]>(),
}

const columnsKept = new WeakMap<readonly FieldDescription[], string>()

/** Collects rows as JSON until a limit. */
export class JsonRows implements RowsConsumer {
  readonly #format: RowsFormat
  readonly #buffer = new JsonBuffer(initialBytes)
  readonly #written: { bytes: number }
  #writers: readonly ColumnWriter[] = []
  #fields: readonly FieldDescription[] = []
  readonly #reader = new DataRowReader()
  #count = 0

  /** @param written bytes of all results of the request, which share one limit */
  constructor(format: RowsFormat, written = { bytes: 0 }) {
    this.#format = format
    this.#written = written
  }

  /** Rows written. */
  get count(): number {
    return this.#count
  }

  get buffer(): JsonBuffer {
    return this.#buffer
  }

  /** The JSON array of the columns. */
  get columns(): string {
    let json = columnsKept.get(this.#fields)
    if (json === undefined) {
      json = JSON.stringify(
        this.#fields.map(({ name, typeOid }) => ({ name, type: typeShape(typeOid).name })),
      )
      columnsKept.set(this.#fields, json)
    }
    return json
  }

  fields(fields: readonly FieldDescription[]): void {
    this.#fields = fields
    const kept = writersKept[this.#format.rowFormat]
    let writers = kept.get(fields)
    if (writers === undefined) {
      if (this.#format.rowFormat === 'object') refuseDoubleNames(fields)
      writers = fields.map((field, index) => writerOf(field, index, this.#format.rowFormat))
      kept.set(fields, writers)
    }
    this.#writers = writers
  }

  /** @throws FleetError `result_too_large` */
  row(source: Buffer, start: number, end: number): void {
    const out = this.#buffer
    const before = out.length
    if (this.#count >= this.#format.rowsMax) throw this.#tooLarge(`${String(this.#format.rowsMax)} rows`)
    if (this.#format.separator === 'newline') out.byte(newline)
    else if (this.#count > 0) out.byte(comma)
    this.#count += 1
    const object = this.#format.rowFormat === 'object'
    out.byte(object ? 0x7b : 0x5b)
    const reader = this.#reader
    reader.open(source, start, end)
    for (const writer of this.#writers) {
      if (!reader.next()) break
      out.raw(writer.prefix, 0, writer.prefix.length)
      if (reader.valueEnd < 0) out.ascii(nullText)
      else this.#value(writer, source, reader.valueStart, reader.valueEnd)
    }
    out.byte(object ? 0x7d : 0x5d)
    this.#written.bytes += out.length - before
    if (this.#written.bytes > this.#format.bytesMax)
      throw this.#tooLarge(`${String(this.#format.bytesMax)} bytes`)
  }

  /** What was written since the last call; rows that are taken count on. */
  takeBytes(): Buffer {
    const bytes = Buffer.from(this.#buffer.take())
    this.#buffer.truncate(0)
    return bytes
  }

  /** Forgets all rows: the statement is sent again. */
  reset(): void {
    this.#count = 0
    this.#written.bytes -= this.#buffer.length
    this.#buffer.truncate(0)
  }

  #value(writer: ColumnWriter, source: Buffer, start: number, end: number): void {
    const out = this.#buffer
    if (writer.element !== null) {
      this.#array(parseArrayLiteral(source.toString('utf8', start, end)), typeShape(writer.element).form)
      return
    }
    switch (writer.form) {
      case 'number':
      case 'json':
        out.raw(source, start, end)
        return
      case 'float':
        if (isFinite(source, start, end)) out.raw(source, start, end)
        else out.string(source, start, end)
        return
      case 'int8':
        if (this.#format.int8 === 'number' && end - start <= int8NumberDigitsMax) out.raw(source, start, end)
        else out.string(source, start, end)
        return
      case 'boolean':
        out.ascii(source[start] === 0x74 ? 'true' : 'false')
        return
      case 'bytea':
        if (source[start] !== backslash || source[start + 1] !== letterX) throw notHex()
        out.base64OfHex(source, start + 2, end)
        return
      case 'string':
        out.string(source, start, end)
        return
    }
  }

  #array(items: readonly unknown[], form: JsonForm): void {
    const out = this.#buffer
    out.byte(0x5b)
    for (const [index, item] of items.entries()) {
      if (index > 0) out.byte(comma)
      if (Array.isArray(item)) this.#array(item as unknown[], form)
      else if (item === null) out.ascii(nullText)
      else out.text(this.#elementOf(item as string, form))
    }
    out.byte(0x5d)
  }

  /** The JSON text of an element of an array. */
  #elementOf(text: string, form: JsonForm): string {
    switch (form) {
      case 'number':
      case 'json':
        return text
      case 'float':
        return /^-?\d/.test(text) ? text : JSON.stringify(text)
      case 'int8':
        return this.#format.int8 === 'number' && text.length <= int8NumberDigitsMax
          ? text
          : JSON.stringify(text)
      case 'boolean':
        return text === 't' ? 'true' : 'false'
      case 'bytea':
        return JSON.stringify(Buffer.from(text.slice(2), 'hex').toString('base64'))
      case 'string':
        return JSON.stringify(text)
    }
  }

  #tooLarge(limit: string): FleetError {
    return new FleetError('result_too_large', `the result has more than ${limit}`, {
      hint: 'add a LIMIT, read in pages by key, or raise options.max_rows or options.max_bytes',
    })
  }
}

function writerOf(field: FieldDescription, index: number, rowFormat: RowsFormat['rowFormat']): ColumnWriter {
  const shape = typeShape(field.typeOid)
  const separator = index === 0 ? '' : ','
  const prefix = rowFormat === 'object' ? `${separator}${JSON.stringify(field.name)}:` : separator
  return { prefix: Buffer.from(prefix), form: shape.form, element: shape.element }
}

/** @throws FleetError `statement_refused` */
function refuseDoubleNames(fields: readonly FieldDescription[]): void {
  const names = new Set<string>()
  for (const { name } of fields) {
    if (names.has(name)) {
      throw new FleetError(
        'statement_refused',
        `two columns of the result are named ${JSON.stringify(name)}`,
        {
          hint: 'give them aliases, or send options.row_format "array"',
        },
      )
    }
    names.add(name)
  }
}

/** Finite floats begin with a digit, or a sign and a digit; NaN and Infinity with a letter. */
function isFinite(source: Buffer, start: number, end: number): boolean {
  const first = source[start]!
  const digit = first === 0x2d && end - start > 1 ? source[start + 1]! : first
  return digit >= 0x30 && digit <= 0x39
}
